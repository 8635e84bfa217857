import {
  csrClear,
  csrProbe,
  csrRead,
  csrSet,
  csrWrite,
  ecall,
  fence,
  fpFill,
  fpIsZero,
  fpMatches,
  hartRecord,
  ImageSymbol,
  imageAddress,
  pause,
  PROBE_OK,
  probeCall,
  probeLoad,
  probeStore,
  read64,
  setHartRecord,
  vectorFill,
  vectorIsZero,
  vectorMatches,
  write64,
} from "../lib/hw";
import { putchar } from "../lib/sbi";
import { textAt, textLength } from "../lib/text";
import { TrapFrame } from "../lib/trap-frame";
import { HSTATUS, SCAUSE, SIE, SIP, SSCRATCH, SSTATUS, STVAL } from "../../hypervisor/riscv/csr";

/**
 * Tries every primitive of a test VM that can go wrong, right above the firmware: VS-mode code does not know that it is in
 * HS-mode. tests/qemu/machine-layer.test.ts reads what it prints.
 */

/** Memory behind the image that nothing else uses. */
function scratch(offset: u64): u64 {
  return imageAddress(ImageSymbol.End) + offset;
}

/** Memory of the firmware: no access is allowed. */
const FORBIDDEN: u64 = 0x8000_0000;
const SOFTWARE_INTERRUPT: u64 = 1 << 1;
// Scratch offsets.
const TRAPS: u64 = 256;
const SECONDARY: u64 = 264;
const SECONDARY_STACK: u64 = 0x1_0000;

function putText(text: string): void {
  for (let i: u32 = 0; i < textLength(text); i++) putchar(textAt(text, i));
}

function putHex(value: u64): void {
  for (let shift: i32 = 60; shift >= 0; shift -= 4) {
    const digit = (<u32>(value >> shift)) & 15;
    putchar(digit < 10 ? 0x30 + digit : 0x57 + digit);
  }
}

function check(what: string, actual: u64, expected: u64): void {
  putText(actual == expected ? "ok " : "FAIL ");
  putText(what);
  if (actual != expected) {
    putText(": ");
    putHex(actual);
    putText(", expected ");
    putHex(expected);
  }
  putchar(0x0a);
}

export function main(hartId: u64, opaque: u64): void {
  csrSet(SSTATUS, (3 << 9) | (3 << 13));
  checkProbes();
  checkRegisters();
  checkTraps();
  checkSecondary(hartId ^ 1);
  check("device tree", opaque & 7, 0);
  putText("done");
  putchar(0x0a);
  powerOff();
}

function checkProbes(): void {
  check("probe that succeeds", probeLoad(scratch(0), 4), PROBE_OK);
  check("probe of a load", probeLoad(FORBIDDEN, 8), 5);
  check("stval of a probe", csrRead(STVAL), FORBIDDEN);
  check("probe of a store", probeStore(FORBIDDEN, 2, 0), 7);
  check("probe of a jump", probeCall(FORBIDDEN), 1);
  check("probe of a register", csrProbe(SSTATUS), PROBE_OK);
  check("probe of a register we have", csrProbe(HSTATUS), PROBE_OK);
  check("sscratch after probes", csrRead(SSCRATCH), 0);
}

function checkRegisters(): void {
  fpFill(77);
  check("fp pattern", <u64>fpMatches(77), 1);
  check("another fp pattern", <u64>fpMatches(78), 0);
  check("fp is not zero", <u64>fpIsZero(), 0);
  vectorFill(99);
  check("vector pattern", <u64>vectorMatches(99), 1);
  vectorFill(99);
  check("another vector pattern", <u64>vectorMatches(98), 0);
  check("vector is not zero", <u64>vectorIsZero(), 0);
}

function checkTraps(): void {
  write64(scratch(TRAPS), 0);
  setHartRecord(<usize>scratch(0));
  csrSet(SIE, SOFTWARE_INTERRUPT);
  csrSet(SIP, SOFTWARE_INTERRUPT);
  csrSet(SSTATUS, 2);
  csrClear(SSTATUS, 2);
  fence();
  check("traps taken", read64(scratch(TRAPS)), 1);
  check("tp after a trap", hartRecord(), <usize>scratch(0));
  csrWrite(SIE, 0);
}

function checkSecondary(other: u64): void {
  write64(scratch(SECONDARY), 0);
  const entry = imageAddress(ImageSymbol.SecondaryEntry);
  check("hart_start", <u64>ecall(0x48534d, 0, other, entry, scratch(SECONDARY_STACK), 0, 0, 0, 0), 0);
  while (read64(scratch(SECONDARY)) == 0) pause();
  check("stack of the other hart", read64(scratch(SECONDARY)), scratch(SECONDARY_STACK));
}

export function secondaryMain(_hartId: u64, stackTop: u64): void {
  write64(scratch(SECONDARY), stackTop);
}

export function trap(frame: usize): void {
  if (csrRead(SCAUSE) >> 63 != 0) {
    write64(scratch(TRAPS), read64(scratch(TRAPS)) + 1);
    csrClear(SIP, SOFTWARE_INTERRUPT);
    return;
  }
  check("trap at", changetype<TrapFrame>(frame).pc, 0);
  powerOff();
}

function powerOff(): void {
  ecall(0x53525354, 0, 0, 0, 0, 0, 0, 0, 0);
}

export function panicAssert(_message: usize, _file: usize, line: u32, _column: u32): void {
  check("assertion in line", <u64>line, 0);
  powerOff();
}

export function panicWasm(kind: u32): void {
  check("wasm trap", <u64>kind, 0xff);
  powerOff();
}
