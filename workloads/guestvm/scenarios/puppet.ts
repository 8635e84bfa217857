import {
  mmioRead64,
  mmioWrite64,
  probeCall,
  probeLoad,
  probeStore,
  PROBE_OK,
  read64,
  wfi,
  write64,
  ecall,
  fenceI,
} from "../../lib/hw";
import { addMmioRegion } from "../../lib/covg";
import { PAGE_SIZE, TestHart, thisHart } from "../../lib/records";
import { PUPPET_OK, PuppetCommand, PuppetRegister } from "../../lib/puppet-protocol";
import { PUPPET_PAGE } from "../../lib/tvm-map";

/** Does what the host says through the puppet device, until it says Exit. */
export function runPuppet(): void {
  assert(addMmioRegion(PUPPET_PAGE, PAGE_SIZE) >= 0, "no puppet device");
  while (true) {
    const command = register(PuppetRegister.Command);
    if (command == PuppetCommand.Exit) return;
    obey(<u32>command);
  }
}

function obey(command: u32): void {
  const first = argument(0);
  switch (command) {
    case PuppetCommand.Load: {
      const outcome = probeLoad(first, 8);
      finish(outcome == PROBE_OK ? PUPPET_OK : outcome, outcome == PROBE_OK ? read64(first) : 0);
      break;
    }
    case PuppetCommand.Store: {
      const outcome = probeStore(first, 8, argument(1));
      finish(outcome == PROBE_OK ? PUPPET_OK : outcome, 0);
      break;
    }
    case PuppetCommand.Sbi:
      obeyCall(first);
      break;
    case PuppetCommand.Call: {
      fenceI();
      const outcome = probeCall(first);
      finish(outcome == PROBE_OK ? PUPPET_OK : outcome, 0);
      break;
    }
    case PuppetCommand.Wfi:
      wfi();
      finish(PUPPET_OK, 0);
      break;
    case PuppetCommand.CountDifferent:
      finish(PUPPET_OK, countDifferent(first, argument(1), argument(2)));
      break;
    case PuppetCommand.FillInverted:
      fill(first, argument(1), ~argument(2));
      finish(PUPPET_OK, 0);
      break;
    case PuppetCommand.Fill:
      fill(first, argument(1), argument(2));
      finish(PUPPET_OK, 0);
      break;
    default:
      assert(false, "unknown puppet command");
  }
}

function obeyCall(eid: u64): void {
  const hart = thisHart();
  const fid = argument(1);
  const valueOut = <usize>hart.address(offsetof<TestHart>("sbiValue"));
  const error = ecall(eid, fid, argument(2), argument(3), argument(4), argument(5), 0, 0, valueOut);
  finish(<u64>error, hart.sbiValue);
}

function countDifferent(start: u64, length: u64, expected: u64): u64 {
  let count: u64 = 0;
  for (let at: u64 = 0; at < length; at += 8) if (read64(start + at) != expected) count++;
  return count;
}

function fill(start: u64, length: u64, value: u64): void {
  for (let at: u64 = 0; at < length; at += 8) write64(start + at, value);
}

function register(offset: u64): u64 {
  return mmioRead64(PUPPET_PAGE + offset);
}

function argument(index: u64): u64 {
  return register(PuppetRegister.Argument + index * 8);
}

function finish(done: u64, value: u64): void {
  mmioWrite64(PUPPET_PAGE + PuppetRegister.Value, value);
  mmioWrite64(PUPPET_PAGE + PuppetRegister.Done, done);
}
