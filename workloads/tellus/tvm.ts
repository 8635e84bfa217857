import { add64, loadAcquire64, read8, write8 } from "../lib/hw";

/** What tellus knows about one TVM, in a page of tellus' heap. */
@unmanaged
export class Tvm {
  /** Guest id, 0 if the TVM does not exist. */
  id: u64;
  vcpuCount: u64;
  /** Pages donated to it, one stretch of host memory: directory, state, vCPUs, tables, data, pool (tvm-builder.ts). */
  block: u64;
  blockPages: u64;
  directory: u64;
  statePages: u64;
  vcpuPages: u64;
  tables: u64;
  data: u64;
  dataPages: u64;
  /** Converted pages for zero-page faults, not yet used: [poolNext, poolEnd). */
  poolNext: u64;
  poolEnd: u64;
  /** Host pages that appear in the TVM's shared window, SHARED_WINDOW_PAGES of them. */
  window: u64;
  /** Converted 2 MiB pages for the promote and demote ranges, 0 if used up or none. */
  promoteSource: u64;
  demoteSource: u64;
  /** Spin lock for exits that several harts serve at once. */
  lock: u64;

  // ---- how exits are served (run-loop.ts)
  /** 1: page faults are left to the test. */
  manualFaults: u32;
  /** 1: share and unshare are left to the test. */
  manualSharing: u32;
  /** 1 once the guest asked for a shutdown. */
  shutdown: u32;
  /** Reason of the shutdown: 0 = all is well. */
  shutdownReason: u64;
  /** The last MMIO range that the guest added or removed. */
  mmioStart: u64;
  mmioLength: u64;
  exits: u64;
  /** Set by a hart right before it runs the TVM (HartCommand.RunUntilInterrupt). */
  running: u64;

  // ---- echo device (devices.ts)
  echoValue: u64;
  echoGpa: u64;
  echoHtinst: u64;
  echoCount: u64;

  // ---- puppet device (puppet.ts)
  /** 1 while the guest waits for a command. */
  puppetWaiting: u64;
  puppetDone: u64;
  puppetValue: u64;
  puppetArguments: PuppetArguments | null;

  /** State of page `index` of the shared window: WindowPage bits. */
  windowPage(index: u64): u32 {
    return read8(<u64>changetype<usize>(this) + WINDOW_OFFSET + index);
  }

  setWindowPage(index: u64, state: u32): void {
    write8(<u64>changetype<usize>(this) + WINDOW_OFFSET + index, state);
  }

  /** Counts a start (HSM start seen) of vCPU `vcpu`. */
  noteStart(vcpu: u64): void {
    add64(this.startsAddress(vcpu), 1);
  }

  /** Counts an end (stop or fatal exit) of vCPU `vcpu`. */
  noteStop(vcpu: u64): void {
    add64(this.startsAddress(vcpu) + 8, 1);
  }

  /** True if vCPU `vcpu` was started more often than it ended. */
  isStarted(vcpu: u64): bool {
    const at = this.startsAddress(vcpu);
    return loadAcquire64(at) > loadAcquire64(at + 8);
  }

  runningAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Tvm>("running"));
  }

  private startsAddress(vcpu: u64): u64 {
    return <u64>changetype<usize>(this) + STARTS_OFFSET + vcpu * 16;
  }
}

/** Arguments of the puppet command that is being done. */
@unmanaged
export class PuppetArguments {
  a0: u64;
  a1: u64;
  a2: u64;
  a3: u64;
  a4: u64;
  a5: u64;
}

const WINDOW_OFFSET: u64 = 1024;
const STARTS_OFFSET: u64 = 2048;

/** vCPUs of a TVM that tellus can keep count of. */
export const MAX_TEST_VCPUS: u64 = 16;

/** State of a page of the shared window. */
export const enum WindowPage {
  /** The guest has made it shared memory. */
  Shared = 1,
  /** A page is mapped there. */
  Populated = 2,
}

/** How one exit was served, or why it was not. */
export const enum Outcome {
  /** Run the vCPU again. */
  Continue = 0,
  /** The guest asked for a shutdown; the vCPU is off. */
  Shutdown = 1,
  /** The vCPU stopped itself. */
  Stopped = 2,
  /** A page fault that the test serves itself. */
  Fault = 3,
  /** A share or unshare call that the test answers itself. */
  Sharing = 4,
  /** The puppet waits for a command. */
  PuppetIdle = 5,
  /** The puppet has done its command. */
  PuppetDone = 6,
  /** CpuRun failed. */
  RunFailed = 7,
  /** The vCPU is dead: the exit cannot be served. */
  Fatal = 8,
  /** The guest does not get on. */
  TimedOut = 9,
  /** The guest did something that tellus does not know. */
  Unknown = 10,
}
