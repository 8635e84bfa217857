import { hartRecord, setHartRecord } from "./hw";

/**
 * What the harts of one test VM share. One record, placed by `startTestVm` (start.ts) at the beginning of the VM's own heap.
 *
 * Fields that several harts change are reached through the atomics of hw.ts, by `addressOf...` methods.
 */
@unmanaged
export class TestVm {
  /** ConsoleMethod: how text leaves the VM. */
  consoleMethod: u32;
  hartCount: u32;
  /** Array of TestHart pointers, `hartCount` long; index 0 is the boot hart. */
  harts: usize;
  /** Next free byte and end of the heap (heap.ts). Only the boot hart allocates. */
  heapNext: u64;
  heapEnd: u64;
  /** Ticks of the time CSR in one second. */
  timebase: u64;
  /** 1 if harts have vector registers, and the VM may use them. */
  hasVectors: u32;
  /** 1 if the stimecmp CSR exists, else timers go through SBI TIME. */
  hasStimecmp: u32;
  /** Tests begun, tests failed and single checks made: summed up by endTest() of any hart. */
  testsPassed: u64;
  testsFailed: u64;
  checksMade: u64;
  /** Serializes lines that consist of several writes and other things that must not interleave. */
  lock: u64;
  /** Room for the program's own root record, 1 KiB. */
  program: usize;

  hart(index: u64): TestHart {
    return changetype<TestHart>(load<usize>(this.harts + ((<usize>index) << 3)));
  }

  setHart(index: u64, hart: TestHart): void {
    store<usize>(this.harts + ((<usize>index) << 3), changetype<usize>(hart));
  }

  lockAddress(): u64 {
    return <u64>changetype<usize>(this) + <u64>offsetof<TestVm>("lock");
  }
}

/** One record per hart of a test VM; tp points at it. */
@unmanaged
export class TestHart {
  /** Hart id for SBI calls. */
  id: u64;
  /** Index in TestVm.harts. */
  index: u64;
  vm: TestVm;

  // ---- console.ts: the line that is being written
  lineBuffer: u64;
  lineCapacity: u32;
  lineLength: u32;

  // ---- sbi.ts
  /** sbiret.value of the last call. */
  sbiValue: u64;

  // ---- protocol.ts: the test that is being run
  /** Its name (a string literal), 0 outside a test. */
  testName: usize;
  /** 1 if the name is followed by the hart's id. */
  testOfHart: u32;
  testFailures: u32;
  testChecks: u64;
  /** What the test is doing, printed before the text of a failed check; 0 if there is no more to say. */
  testSubject: usize;

  // ---- interrupts.ts
  /** Interrupts taken by trap(), and scause of the last one. */
  interruptsTaken: u64;
  lastInterrupt: u64;
  /** 1: trap() makes an SBI call for each interrupt, as a real handler would. */
  callInInterrupt: u64;

  // ---- capsule.ts
  /** Page with the register capsule of this hart, 0 until built. */
  capsule: u64;

  // ---- mailbox.ts (atomics only)
  /** Command for this hart, 0 when it is idle. */
  command: u64;
  commandArgument: u64;
  commandResult: u64;
  /** 1 once the hart serves its mailbox. */
  online: u64;

  /** Room for the program's own record of this hart, 512 bytes. */
  program: usize;

  // ---- nacl.ts
  /** The hart's registered NACL shared memory, 0 if none. */
  nacl: u64;

  /** Address of the field at `offset` for atomics and SBI results. */
  address(offset: usize): u64 {
    return <u64>(changetype<usize>(this) + offset);
  }
}

export const enum ConsoleMethod {
  /** SBI DBCN write. */
  DebugConsole = 0,
  /** Legacy putchar. */
  Putchar = 1,
}

export const PAGE_SIZE: u64 = 4096;
export const HUGE_PAGE_SIZE: u64 = 2 << 20;
/** 4 KiB pages in a 2 MiB page. */
export const PAGES_PER_HUGE: u64 = 512;

/** The record of the hart that runs this; only valid after `becomeHart`. */
// @ts-ignore: decorator
@inline
export function thisHart(): TestHart {
  return changetype<TestHart>(hartRecord());
}

/** The record of this hart's VM. */
// @ts-ignore: decorator
@inline
export function thisVm(): TestVm {
  return thisHart().vm;
}

/** Makes `hart` the record of the hart that runs this. */
export function becomeHart(hart: TestHart): void {
  setHartRecord(changetype<usize>(hart));
}
