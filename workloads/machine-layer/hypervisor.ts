import { newline, putDecimal, putHex, putText } from "../../hypervisor/devices/console";
import { printBacktrace } from "../../hypervisor/boot/backtrace";
import { Action, thisHart } from "../../hypervisor/hart";
import {
  HEDELEG,
  HGATP,
  HIDELEG,
  HSTATUS,
  HSTATUS_SPV,
  HSTATUS_SPVP,
  HSTATUS_VTW,
  SCAUSE,
  SEPC,
  SIE,
  SIP,
  SSTATUS,
  SSTATUS_FS,
  SSTATUS_SPP,
  SSTATUS_VS,
  VSATP,
} from "../../hypervisor/riscv/csr";
import {
  csrClear,
  csrExists,
  csrRead,
  csrSet,
  csrWrite,
  fenceI,
  fetchGuestHalf,
  fpRestore,
  fpSave,
  hartRecord,
  ImageSymbol,
  imageAddress,
  read64,
  sbiCall,
  vectorRestore,
  vectorSave,
  write32,
  write64,
  zeroBytes,
} from "../../hypervisor/riscv/hw";

/**
 * A hypervisor of one purpose: to drive trap.S, start.S and the primitives of hw.h through every path, with a guest of nine
 * instructions. tests/qemu/machine-layer.test.ts reads what it prints.
 */

// Memory behind the image that nothing else uses.
const STEP: u64 = 0;
const VECTOR_AREA: u64 = 1024;
const FP_AREA: u64 = 3072;
const FIRST_CONTEXT: u64 = 4096;
const SECOND_CONTEXT: u64 = 8192;
const GUEST_CODE: u64 = 12288;
const SOFTWARE_INTERRUPT: u64 = 1 << 1;
/** An address at which nothing is. */
const NOWHERE: u64 = 0x10;

function memory(offset: u64): u64 {
  return imageAddress(ImageSymbol.End) + offset;
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
  newline();
}

/** Register `number` in the context at `offset`. */
function register(offset: u64, number: u64): u64 {
  return read64(memory(offset) + 8 * number);
}

function skipInstruction(): void {
  csrWrite(SEPC, csrRead(SEPC) + 4);
}

export function boot(_hartId: u64, _fdt: u64): u32 {
  writeGuest();
  checkPrimitives();
  checkVectorState();
  thisHart().current = <usize>memory(FIRST_CONTEXT);
  return Action.Enter;
}

/** Code, and contexts in which each register holds its number, or 1000 more. */
function writeGuest(): void {
  const code = memory(GUEST_CODE);
  write32(code, 0x0000_0073); // ecall
  write32(code + 4, 0x0014_0413); // addi s0, s0, 1
  write32(code + 8, 0x0000_0073); // ecall
  write32(code + 12, 0x0000_100f); // fence.i
  write32(code + 16, 0x0000_3503); // ld a0, 0(zero)
  write32(code + 20, 0x00a4_0433); // add s0, s0, a0
  write32(code + 24, 0x1050_0073); // wfi
  write32(code + 28, 0x0000_0073); // ecall
  write32(code + 32, 0x0000_006f); // j .
  fenceI();
  for (let n: u64 = 1; n < 32; n++) {
    write64(memory(FIRST_CONTEXT) + 8 * n, n);
    write64(memory(SECOND_CONTEXT) + 8 * n, 1000 + n);
  }
  csrWrite(HGATP, 0);
  csrWrite(VSATP, 0);
  csrWrite(HEDELEG, 0);
  csrWrite(HIDELEG, 0);
  csrWrite(HSTATUS, HSTATUS_SPV | HSTATUS_SPVP);
  csrSet(SSTATUS, SSTATUS_SPP | SSTATUS_FS | SSTATUS_VS);
  csrWrite(SEPC, code);
}

function checkPrimitives(): void {
  check("a register that exists", <u64>csrExists(HSTATUS), 1);
  check("recovery is over", thisHart().recovery, 0);
  csrWrite(SCAUSE, 0x77);
  check("fetch", <u64>fetchGuestHalf(memory(GUEST_CODE)), 0x73);
  check("fetch that faults", fetchGuestHalf(NOWHERE) < 0 ? 1 : 0, 1);
  check("sepc after it", csrRead(SEPC), memory(GUEST_CODE));
  check("scause after it", csrRead(SCAUSE), 0x77);
  check("hstatus after it", csrRead(HSTATUS) & (HSTATUS_SPV | HSTATUS_SPVP), HSTATUS_SPV | HSTATUS_SPVP);
  check("sstatus after it", csrRead(SSTATUS) & SSTATUS_SPP, SSTATUS_SPP);
  for (let n: u64 = 0; n < 32; n++) write64(memory(FP_AREA) + 8 * n, n * 0x0101_0101_0101);
  write64(memory(FP_AREA) + 256, 0x61);
  fpRestore(<usize>memory(FP_AREA));
  zeroBytes(memory(FP_AREA), 264);
  fpSave(<usize>memory(FP_AREA));
  check("f31", read64(memory(FP_AREA) + 8 * 31), 31 * 0x0101_0101_0101);
  check("fcsr", read64(memory(FP_AREA) + 256), 0x61);
}

/** VLEN is 256 here. */
function checkVectorState(): void {
  const area = memory(VECTOR_AREA);
  const illegal: u64 = 1 << 63;
  write64(area + 16, illegal);
  vectorRestore(<usize>area);
  vectorSave(<usize>area);
  check("an illegal vtype", read64(area + 16), illegal);
  write64(area, 2); // vstart
  write64(area + 8, 3); // vl
  write64(area + 16, 0x18); // vtype: e64, m1
  write64(area + 24, 5); // vcsr
  write64(area + 32 + 32 * 9, 0x1234); // v9
  vectorRestore(<usize>area);
  zeroBytes(area, 32 + 32 * 32);
  vectorSave(<usize>area);
  check("vstart", read64(area), 2);
  check("vl", read64(area + 8), 3);
  check("vtype", read64(area + 16), 0x18);
  check("vcsr", read64(area + 24), 5);
  check("v9", read64(area + 32 + 32 * 9), 0x1234);
}

export function bootSecondary(): u32 {
  return Action.Off;
}

export function trap(): u32 {
  const step = read64(memory(STEP));
  write64(memory(STEP), step + 1);
  putText("step ");
  putDecimal(step);
  newline();
  if (step == 0) return firstEcall();
  if (step == 1) return secondEcall();
  if (step == 2) return sameEcallInOtherContext();
  if (step == 3) return loadFault();
  if (step == 4) return virtualInstruction();
  if (step == 6) {
    check("cause", csrRead(SCAUSE), 10);
    csrSet(SIP, SOFTWARE_INTERRUPT);
    return Action.Wait;
  }
  check("woken", csrRead(SCAUSE), 1 << 63);
  csrClear(SIP, SOFTWARE_INTERRUPT);
  if (step == 7) write64(NOWHERE, 0);
  return Action.Enter;
}

function firstEcall(): u32 {
  check("cause", csrRead(SCAUSE), 10);
  check("sp", register(FIRST_CONTEXT, 2), 2);
  check("tp", register(FIRST_CONTEXT, 4), 4);
  check("a0", register(FIRST_CONTEXT, 10), 10);
  check("t6", register(FIRST_CONTEXT, 31), 31);
  write64(memory(FIRST_CONTEXT) + 80, 555);
  skipInstruction();
  return Action.Enter;
}

/** The other context repeats the call. */
function secondEcall(): u32 {
  check("a0 that was given", register(FIRST_CONTEXT, 10), 555);
  check("a1", register(FIRST_CONTEXT, 11), 11);
  thisHart().current = <usize>memory(SECOND_CONTEXT);
  return Action.Enter;
}

function sameEcallInOtherContext(): u32 {
  check("s0 of the first", register(FIRST_CONTEXT, 8), 9);
  check("s11 of the first", register(FIRST_CONTEXT, 27), 27);
  check("gp of the first", register(FIRST_CONTEXT, 3), 3);
  check("sp of the second", register(SECOND_CONTEXT, 2), 1002);
  thisHart().current = <usize>memory(FIRST_CONTEXT);
  skipInstruction();
  return Action.Enter;
}

function loadFault(): u32 {
  check("cause", csrRead(SCAUSE), 5);
  check("s0", register(FIRST_CONTEXT, 8), 9);
  check("s1", register(FIRST_CONTEXT, 9), 9);
  check("gp", register(FIRST_CONTEXT, 3), 3);
  check("s0 of the second", register(SECOND_CONTEXT, 8), 1008);
  check("s2 of the second", register(SECOND_CONTEXT, 18), 1018);
  write64(memory(FIRST_CONTEXT) + 80, 91); // a0, as if loaded
  write64(memory(FIRST_CONTEXT) + 72, 4242); // s1
  skipInstruction();
  csrSet(HSTATUS, HSTATUS_VTW);
  return Action.Enter;
}

function virtualInstruction(): u32 {
  check("cause", csrRead(SCAUSE), 22);
  check("s0", register(FIRST_CONTEXT, 8), 100);
  check("s1", register(FIRST_CONTEXT, 9), 4242);
  printBacktrace(0, 0, 0);
  skipInstruction();
  csrWrite(SIE, SOFTWARE_INTERRUPT);
  csrSet(SIP, SOFTWARE_INTERRUPT);
  return Action.Wait;
}

/** No helper runs here. */
export function helperTrap(): u32 {
  return Action.Off;
}

export function panicTrap(scause: u64, sepc: u64, stval: u64, sp: u64, frame: usize): void {
  check("cause of the panic", scause, 7);
  check("its address", stval, NOWHERE);
  check("sp in its frame", read64(<u64>frame + 16), sp);
  check("tp in its frame", read64(<u64>frame + 32), hartRecord());
  printBacktrace(<usize>sp, sepc, read64(<u64>frame + 8));
  putText("done");
  newline();
  sbiCall(0x53525354, 0, 0, 0, 0, 0, 0, 0);
}

export function panicAssert(_message: usize, _file: usize, _line: u32, _column: u32): void {
  sbiCall(0x53525354, 0, 0, 0, 0, 0, 0, 0);
}

export function panicWasm(_kind: u32): void {
  sbiCall(0x53525354, 0, 0, 0, 0, 0, 0, 0);
}
