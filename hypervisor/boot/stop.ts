import { Hart, HartRequest, HartState } from "../hart";
import { leaveAddressSpace } from "../memory/fence";
import { SIE, TIME } from "../riscv/csr";
import { cas64, csrRead, csrWrite, loadAcquire32, pause } from "../riscv/hw";
import { Root } from "../root";
import { sendRequest } from "../vm/hart-messages";
import { firmwareStopHart } from "./firmware";

/**
 * Bringing all harts to a stand at the end of the machine: a reset, a power-off or a panic.
 */

/** Seconds that the others get: they finish at most one batch of work, but emulated harts share few real ones. */
const PATIENCE_SECONDS: u64 = 2;

/** True for the one hart that may end the machine; any other one has to stop. */
export function claimEnd(hart: Hart): bool {
  const owner = <u64>changetype<usize>(hart.root) + offsetof<Root>("endingHart");
  const self = <u64>changetype<usize>(hart);
  const found = cas64(owner, 0, self);
  return found == 0 || found == self;
}

/** Tells all other harts to halt and waits until they have, or have had their time. True if all stand still. */
export function stopOtherHarts(hart: Hart): bool {
  const root = hart.root;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const other = root.hart(i);
    if (other != hart && isRunning(other)) sendRequest(other, HartRequest.Halt);
  }
  const start = csrRead(TIME);
  const patience = root.timebaseFrequency * PATIENCE_SECONDS;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const other = root.hart(i);
    if (other == hart) continue;
    while (isRunning(other)) {
      if (csrRead(TIME) - start > patience) return false;
      pause();
    }
  }
  return true;
}

function isRunning(hart: Hart): bool {
  return loadAcquire32(stateAddress(hart)) == HartState.Online;
}

// @ts-ignore: decorator
@inline
function stateAddress(hart: Hart): u64 {
  return <u64>(changetype<usize>(hart) + offsetof<Hart>("state"));
}

/** This hart answers HartRequest.Halt and will not run again. The caller returns Action.Off, by which the hart becomes Halted. */
export function haltHart(hart: Hart): void {
  csrWrite(SIE, 0);
  leaveAddressSpace(hart);
}

/** Halts this hart from wherever it is; never returns. */
export function haltHere(hart: Hart): void {
  haltHart(hart);
  firmwareStopHart();
}
