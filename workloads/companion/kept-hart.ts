import { csrClear, csrSet } from "../lib/hw";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  cpuCreate,
  PageType,
  tvmCreate,
  tvmDestroy,
  tvmFinalize,
} from "../lib/covh";
import { clearSoftwareInterrupt, SIE_EXTERNAL, SIE_SOFTWARE, SIE_TIMER } from "../lib/interrupts";
import { thisHart } from "../lib/records";
import { GUEST_RAM_END, GUEST_RAM_START } from "../lib/tvm-map";
import { SIE } from "../../hypervisor/riscv/csr";
import { runUntilOutcome } from "../tellus/run-loop";
import { ensureNacl, lastExit, parameterBuffer } from "../tellus/state";
import { TABLE_PAGES } from "../tellus/tvm-builder";
import { Outcome, Tvm } from "../tellus/tvm";
import { Status } from "./status";
import { Storm } from "./storm";

/** What the companion's own hart does for ever: a TVM's whole life, then a storm of calls. */

const CALLS_OF_A_STORM: u64 = 200;

/** The work of the kept hart, made by the boot hart. */
@unmanaged
export class KeptWork {
  tvm: Tvm;
  /** The page with the guest's code. */
  code: u64;
  /** First page of the pool, for each life anew. */
  pool: u64;
  status: Status;
  storm: Storm;
}

export function liveForEver(work: KeptWork): void {
  csrClear(SIE, SIE_SOFTWARE | SIE_EXTERNAL);
  clearSoftwareInterrupt();
  csrSet(SIE, SIE_TIMER);
  ensureNacl();
  const status = work.status;
  while (true) {
    const exits = lastExit().count;
    if (liveOnce(work)) status.count(offsetof<Status>("lives"), 1);
    else status.count(offsetof<Status>("failures"), 1);
    status.count(offsetof<Status>("exits"), lastExit().count - exits);
    if (thisHart().testFailures != 0) status.count(offsetof<Status>("failures"), 1);
    thisHart().testFailures = 0;
    work.storm.blow(CALLS_OF_A_STORM, status);
  }
}

/**
 * A TVM from its creation to its destruction, of pages that were converted and fenced once and for all: Linux' harts make no local fences, so nothing that is
 * converted now could be used.
 */
function liveOnce(work: KeptWork): bool {
  const tvm = work.tvm;
  tvm.poolNext = work.pool;
  tvm.shutdown = 0;
  const id = tvmCreate(parameterBuffer(), tvm.directory, tvm.statePages);
  if (id < 0) return false;
  tvm.id = <u64>id;
  const ran = build(tvm, work.code) && runsToItsEnd(tvm);
  return tvmDestroy(tvm.id) == 0 && ran;
}

function build(tvm: Tvm, code: u64): bool {
  return (
    addPageTablePages(tvm.id, tvm.tables, TABLE_PAGES) >= 0 &&
    cpuCreate(tvm.id, 0, tvm.vcpuPages) >= 0 &&
    addMemoryRegion(tvm.id, GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START) >= 0 &&
    addMeasuredPages(tvm.id, code, tvm.data, PageType.Page4K, 1, GUEST_RAM_START) == 1 &&
    tvmFinalize(tvm.id, GUEST_RAM_START, 0) >= 0
  );
}

/** The guest ends with a shutdown whose reason is 0 if its pages came zeroed and kept what it wrote. */
function runsToItsEnd(tvm: Tvm): bool {
  return runUntilOutcome(tvm, 0) == Outcome.Shutdown && tvm.shutdownReason == 0;
}

/** Pages that a guest touches. */
export const TOUCHED_PAGES: u64 = 8;
