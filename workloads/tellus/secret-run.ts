import { csrRead, csrWrite, fpFill, fpMatches, read64, vectorFill, vectorMatches, write64 } from "../lib/hw";
import { codeWriter, EBREAK, ECALL, encodeCsrRead, Reg } from "../lib/assembler";
import { registerFile, runCode } from "../lib/capsule";
import { CovhFunction } from "../lib/covh";
import { allocateZeroed } from "../lib/heap";
import { NACL_SCRATCH_BYTES } from "../lib/nacl";
import { check, checkEqual } from "../lib/protocol";
import { PAGE_SIZE } from "../lib/records";
import { EID_COVH } from "../lib/sbi";
import { GUEST_SECRET, HOST_SECRET } from "../lib/tvm-map";
import { SCAUSE, SCOUNTEREN, SENVCFG, SISELECT, STVAL } from "../../hypervisor/riscv/csr";
import { hasImsic } from "./imsic";
import { recordExit } from "./run-loop";
import { lastExit, naclArea, state } from "./state";
import { holdsSecret } from "./verify";

/**
 * CpuRun with every register of the host full of its secret: nothing of the guest may come back in them, in the scratch area of the shared
 * memory or in FP and vector registers, but what the exit is meant to show.
 */

/** What the scratch area holds before a run, beyond the registers that an exit may show. */
const UNTOUCHED: u64 = 0x0bad_5ec7_0c33_0000;

/** Registers a0 to a7, which exits may write into the scratch area: bytes [FIRST_SHOWN, END_SHOWN). */
const FIRST_SHOWN: u64 = 8 * Reg.A0;
const END_SHOWN: u64 = 8 * (Reg.A7 + 1);

/** Runs the vCPU once, checks the host's side, and notes the exit. Within a test. */
export function runWithSecrets(id: u64, vcpu: u64): void {
  const hasVectors = state().hasVectors != 0;
  fpFill(HOST_SECRET);
  if (hasVectors) vectorFill(HOST_SECRET);
  fillScratch();
  setHostCsrs();
  const file = registerFile(1);
  file.fill(HOST_SECRET);
  file.set(Reg.A7, EID_COVH);
  file.set(Reg.A6, CovhFunction.CpuRun);
  file.set(Reg.A0, id);
  file.set(Reg.A1, vcpu);
  check(runCode(state().runCall, file), "CpuRun returns");
  const error = <i64>file.get(Reg.A0);
  recordExit(lastExit(), error < 0 ? error : <i64>file.get(Reg.A1), file.get(Reg.A6), file.get(Reg.A7));

  // a0 and a1 are the answer, a6 and a7 hold scause and stval by now.
  const given: u64 = (1 << Reg.A0) | (1 << Reg.A1) | (1 << Reg.A6) | (1 << Reg.A7);
  checkEqual(file.differing(HOST_SECRET) & ~given, 0, "registers of the host that changed");
  checkEqual(file.holding(GUEST_SECRET), 0, "registers of the host that hold the guest's secret");
  check(fpMatches(HOST_SECRET), "FP registers of the host");
  if (hasVectors) check(vectorMatches(HOST_SECRET), "vector registers of the host");
  checkHostCsrs();
  checkScratch();
}

// Values of CSRs that the host has and a TVM must neither see nor change.
const HOST_SCOUNTEREN: u64 = 3;
const HOST_SISELECT: u64 = 0x72;
const HOST_SENVCFG: u64 = 1;

function setHostCsrs(): void {
  csrWrite(SCOUNTEREN, HOST_SCOUNTEREN);
  if (hasImsic()) csrWrite(SISELECT, HOST_SISELECT);
  if (state().hasEnvironment != 0) csrWrite(SENVCFG, HOST_SENVCFG);
}

function checkHostCsrs(): void {
  checkEqual(csrRead(SCOUNTEREN), HOST_SCOUNTEREN, "scounteren of the host");
  if (hasImsic()) checkEqual(csrRead(SISELECT), HOST_SISELECT, "siselect of the host");
  if (state().hasEnvironment != 0) {
    checkEqual(csrRead(SENVCFG) & HOST_SENVCFG, HOST_SENVCFG, "senvcfg of the host");
    csrWrite(SENVCFG, 0);
  }
}

/**
 * Makes the code that runs a vCPU, which stays for ever: an ecall, then scause into a6 and stval into a7 (the ebreak at its end changes both
 * CSRs).
 */
export function prepareRunCall(): void {
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.put(ECALL);
  writer.put(encodeCsrRead(Reg.A6, SCAUSE));
  writer.put(encodeCsrRead(Reg.A7, STVAL));
  writer.put(EBREAK);
  writer.finish();
  state().runCall = code;
}

/** a0 to a7 stay: a0 and a1 may be the answer to the last exit. */
function fillScratch(): void {
  const area = naclArea();
  for (let at: u64 = 0; at < NACL_SCRATCH_BYTES; at += 8) {
    if (at < FIRST_SHOWN || at >= END_SHOWN) write64(area + at, UNTOUCHED + at);
  }
}

function checkScratch(): void {
  const area = naclArea();
  let changed: u64 = 0;
  for (let at: u64 = 0; at < NACL_SCRATCH_BYTES; at += 8) {
    if ((at < FIRST_SHOWN || at >= END_SHOWN) && read64(area + at) != UNTOUCHED + at) changed++;
  }
  checkEqual(changed, 0, "words of the scratch area that changed");
  check(!holdsSecret(area, 3 * PAGE_SIZE, GUEST_SECRET), "the shared memory holds none of the guest's registers");
}
