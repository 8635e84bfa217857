import { csrRead, fenceI, probeCall, PROBE_OK, read64, write64 } from "./hw";
import { thisHart } from "./records";
import { allocatePages } from "./heap";
import {
  SCAUSE,
  SEPC,
  SSCRATCH,
  SSTATUS,
  SSTATUS_SPIE,
  SSTATUS_SIE,
  SSTATUS_SPP,
  STVAL,
  STVEC,
} from "../../hypervisor/riscv/csr";
import {
  codeWriter,
  CodeWriter,
  encodeAddi,
  encodeAndi,
  encodeAuipc,
  encodeCsrClearImmediate,
  encodeCsrRead,
  encodeCsrSet,
  encodeCsrSwap,
  encodeCsrWrite,
  encodeLoad,
  encodeStore,
  LoadForm,
  Reg,
  RET,
  SRET,
  StoreForm,
} from "./assembler";

/**
 * The register capsule: runs code with all 31 general registers set to chosen values and shows what they hold when the code
 * ends. The code ends with `ebreak`, or with whatever exception it raises.
 *
 * A trampoline per hart (written at run time into a page of its own) saves the caller's registers, points stvec at itself,
 * loads the registers and goes to the code with sret; the exception brings it back.
 */

/** Input and output of `runCode`: 31 registers and the supervisor's view of the trap. */
@unmanaged
export class RegisterFile {
  /** Slot 0 is unused, register n is at 8 * n. */
  zero: u64;

  address(): u64 {
    return <u64>changetype<usize>(this);
  }

  get(register: u32): u64 {
    return read64(this.address() + ((<u64>register) << 3));
  }

  set(register: u32, value: u64): void {
    write64(this.address() + ((<u64>register) << 3), value);
  }

  /** Out: sepc of the exception. */
  get pc(): u64 {
    return read64(this.address() + FILE_PC);
  }

  set pc(value: u64) {
    write64(this.address() + FILE_PC, value);
  }

  /** Out: sstatus in the trap. */
  get status(): u64 {
    return read64(this.address() + FILE_STATUS);
  }

  set status(value: u64) {
    write64(this.address() + FILE_STATUS, value);
  }

  /** Out: scause. */
  get cause(): u64 {
    return read64(this.address() + FILE_CAUSE);
  }

  /** Out: stval. */
  get trapValue(): u64 {
    return read64(this.address() + FILE_VALUE);
  }

  /** Sets register n to `seed` + n, for all n. */
  fill(seed: u64): void {
    for (let n: u32 = 1; n < 32; n++) this.set(n, seed + <u64>n);
  }

  /** The registers that do not hold what fill(seed) put there, as a mask (bit n = register n). */
  differing(seed: u64): u64 {
    let mask: u64 = 0;
    for (let n: u32 = 1; n < 32; n++) if (this.get(n) != seed + <u64>n) mask |= 1 << (<u64>n);
    return mask;
  }

  /** The registers that hold any value of fill(seed). */
  holding(seed: u64): u64 {
    let mask: u64 = 0;
    for (let n: u32 = 1; n < 32; n++) if (this.get(n) - seed < 32) mask |= 1 << (<u64>n);
    return mask;
  }
}

const FILE_PC: u64 = 256;
const FILE_STATUS: u64 = 264;
const FILE_CAUSE: u64 = 272;
const FILE_VALUE: u64 = 280;

// The trampoline's block lies this far into its page: 32 saved registers, then these.
const BLOCK: u64 = 1024;
const SAVED_SSCRATCH: i32 = 256;
const SAVED_STVEC: i32 = 264;
const SAVED_STATUS: i32 = 272;
const CURRENT_FILE: i32 = 280;

/** scause of a completed body. */
const CAUSE_BREAKPOINT: u64 = 3;

/** Register file `index` (0 to 3) of this hart: memory that belongs to its capsule. */
export function registerFile(index: u32): RegisterFile {
  return changetype<RegisterFile>(<usize>(capsulePage() + 2048 + <u64>index * 512));
}

/**
 * Runs the code at `address` with the registers of `file`, which holds the registers at its end afterwards. Returns true if
 * the code reached its `ebreak`; else file.cause, file.pc and file.trapValue say what happened. Interrupts are off meanwhile.
 */
export function runCode(address: u64, file: RegisterFile): bool {
  return runCodeAs(address, file, SSTATUS_SPP);
}

/** As runCode, in U-mode: the code's page must be mapped for users. */
export function runUserCode(address: u64, file: RegisterFile): bool {
  return runCodeAs(address, file, 0);
}

function runCodeAs(address: u64, file: RegisterFile, previousPrivilege: u64): bool {
  const page = capsulePage();
  write64(page + BLOCK + <u64>CURRENT_FILE, file.address());
  file.pc = address;
  file.status = (csrRead(SSTATUS) & ~(SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP)) | previousPrivilege;
  const outcome = probeCall(page);
  assert(outcome == PROBE_OK, "the register capsule could not be entered");
  return file.cause == CAUSE_BREAKPOINT;
}

/** Builds this hart's capsule now. The page comes from the heap, so this runs on the boot hart or with a `page` given. */
export function buildCapsule(page: u64): void {
  const writer = codeWriter(page);
  writeEntry(writer, page);
  fenceI();
  thisHart().capsule = page;
}

function capsulePage(): u64 {
  const hart = thisHart();
  if (hart.capsule == 0) buildCapsule(allocatePages(1));
  return hart.capsule;
}

/** rd := address of the block. */
function putBlockAddress(writer: CodeWriter, page: u64, rd: u32): void {
  const distance = <i32>(page + BLOCK - writer.next);
  writer.put(encodeAuipc(rd));
  writer.put(encodeAddi(rd, rd, distance));
}

function writeEntry(writer: CodeWriter, page: u64): void {
  putBlockAddress(writer, page, Reg.T0);
  for (let n: u32 = 1; n < 32; n++) if (n != Reg.T0) writer.put(encodeStore(StoreForm.Sd, n, Reg.T0, <i32>(n << 3)));
  writer.put(encodeCsrRead(Reg.T1, SSTATUS));
  writer.put(encodeStore(StoreForm.Sd, Reg.T1, Reg.T0, SAVED_STATUS));
  writer.put(encodeCsrClearImmediate(SSTATUS, <u32>SSTATUS_SIE));
  writer.put(encodeCsrRead(Reg.T1, SSCRATCH));
  writer.put(encodeStore(StoreForm.Sd, Reg.T1, Reg.T0, SAVED_SSCRATCH));
  writer.put(encodeCsrRead(Reg.T1, STVEC));
  writer.put(encodeStore(StoreForm.Sd, Reg.T1, Reg.T0, SAVED_STVEC));
  writer.put(encodeLoad(LoadForm.Ld, Reg.T2, Reg.T0, CURRENT_FILE));
  writer.put(encodeCsrWrite(SSCRATCH, Reg.T2));
  const vectorPatch = writer.next;
  writer.put(encodeAuipc(Reg.T1));
  writer.next += 4; // addi t1, t1, catch - here: filled in below
  writer.put(encodeCsrWrite(STVEC, Reg.T1));
  writer.put(encodeLoad(LoadForm.Ld, Reg.T1, Reg.T2, <i32>FILE_PC));
  writer.put(encodeCsrWrite(SEPC, Reg.T1));
  writer.put(encodeLoad(LoadForm.Ld, Reg.T1, Reg.T2, <i32>FILE_STATUS));
  writer.put(encodeCsrWrite(SSTATUS, Reg.T1));
  for (let n: u32 = 1; n < 32; n++) {
    if (n != Reg.T2) writer.put(encodeLoad(LoadForm.Ld, n, Reg.T2, <i32>(n << 3)));
  }
  writer.put(encodeLoad(LoadForm.Ld, Reg.T2, Reg.T2, Reg.T2 << 3));
  writer.put(SRET);

  const catchAddress = writer.next;
  writer.next = vectorPatch + 4;
  writer.put(encodeAddi(Reg.T1, Reg.T1, <i32>(catchAddress - vectorPatch)));
  writer.next = catchAddress;
  writeCatch(writer, page);
  assert(writer.next <= page + BLOCK, "the capsule's code reaches into its block");
}

function writeCatch(writer: CodeWriter, page: u64): void {
  writer.put(encodeCsrSwap(SSCRATCH, Reg.T2));
  for (let n: u32 = 1; n < 32; n++) if (n != Reg.T2) writer.put(encodeStore(StoreForm.Sd, n, Reg.T2, <i32>(n << 3)));
  putCsrToFile(writer, SSCRATCH, Reg.T2 << 3);
  putCsrToFile(writer, SEPC, <i32>FILE_PC);
  putCsrToFile(writer, SSTATUS, <i32>FILE_STATUS);
  putCsrToFile(writer, SCAUSE, <i32>FILE_CAUSE);
  putCsrToFile(writer, STVAL, <i32>FILE_VALUE);
  putBlockAddress(writer, page, Reg.T0);
  // Only SIE is put back: the code may have made FS or VS dirty.
  writer.put(encodeLoad(LoadForm.Ld, Reg.T1, Reg.T0, SAVED_STATUS));
  writer.put(encodeAndi(Reg.T1, Reg.T1, <i32>SSTATUS_SIE));
  writer.put(encodeCsrSet(SSTATUS, Reg.T1));
  putCsrFromBlock(writer, STVEC, SAVED_STVEC);
  putCsrFromBlock(writer, SSCRATCH, SAVED_SSCRATCH);
  for (let n: u32 = 1; n < 32; n++) if (n != Reg.T0) writer.put(encodeLoad(LoadForm.Ld, n, Reg.T0, <i32>(n << 3)));
  writer.put(RET);
}

function putCsrToFile(writer: CodeWriter, csr: u32, offset: i32): void {
  writer.put(encodeCsrRead(Reg.T1, csr));
  writer.put(encodeStore(StoreForm.Sd, Reg.T1, Reg.T2, offset));
}

function putCsrFromBlock(writer: CodeWriter, csr: u32, offset: i32): void {
  writer.put(encodeLoad(LoadForm.Ld, Reg.T1, Reg.T0, offset));
  writer.put(encodeCsrWrite(csr, Reg.T1));
}
