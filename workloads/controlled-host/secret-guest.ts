import {
  codeWriter,
  CodeWriter,
  encodeAddi,
  encodeCsrSet,
  encodeCsrWrite,
  encodeJump,
  encodeStore,
  Reg,
  StoreForm,
  WFI,
} from "../lib/assembler";
import { allocateZeroed } from "../lib/heap";
import { PAGE_SIZE } from "../lib/records";
import { GUEST_RAM_START, SCRATCH_START } from "../lib/tvm-map";
import { SSCRATCH, SSTATUS, SSTATUS_FS, SSTATUS_VS } from "../../hypervisor/riscv/csr";
import { buildCodeTvm } from "../tellus/tvm-builder";
import { state } from "../tellus/state";
import { Tvm } from "../tellus/tvm";

/**
 * A TVM whose memory and registers are full of one secret, so that a test can look for it in the machine's RAM.
 *
 * Every word of the secret is its base plus a number that says where the guest put it. The base exists nowhere until the guest computes it:
 * the TVM's boot argument is the base XOR BASE_KEY. tests/qemu/support/secret-search.ts looks for it.
 */

/** The low 16 bits of the base are zero, and so are these. */
const BASE_KEY: u64 = 0x9d3b_52c7_e81f_0000;

/** What the numbers begin with. */
const enum SecretPlace {
  GeneralRegister = 0x100,
  FloatRegister = 0x200,
  VectorRegister = 0x300,
  Memory = 0x400,
  SupervisorScratch = 0x500,
}

/** Demand-zero pages that the guest writes to, with the secret's words that each gets. */
const SECRET_PAGES: u64 = 8;
const WORDS_IN_PAGE: u64 = 4;

/** Where in the guest's one measured page, which holds its code, there is secret memory too. */
const MEASURED_SECRET: u64 = GUEST_RAM_START + PAGE_SIZE - 64;

/** Makes the TVM; it is ready to run. After its first WFI everything is in place, and it spins. */
export function buildSecretTvm(argument: u64): Tvm {
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.putLoadConstant(Reg.T0, BASE_KEY);
  writer.put(encodeXor(Reg.T0, Reg.A1, Reg.T0));
  putExtensionState(writer, state().hasVectors != 0);
  for (let page: u64 = 0; page < SECRET_PAGES; page++) {
    putWords(writer, SCRATCH_START + page * PAGE_SIZE + page * 8, page * WORDS_IN_PAGE);
  }
  putWords(writer, MEASURED_SECRET, SECRET_PAGES * WORDS_IN_PAGE);
  putNumbered(writer, Reg.T1, SecretPlace.SupervisorScratch);
  writer.put(encodeCsrWrite(SSCRATCH, Reg.T1));
  for (let n: u32 = 1; n < 32; n++) if (n != Reg.T0) putNumbered(writer, n, SecretPlace.GeneralRegister + n);
  putNumbered(writer, Reg.T0, SecretPlace.GeneralRegister + Reg.T0);
  writer.put(WFI);
  writer.put(encodeJump(0));
  writer.finish();
  assert(writer.next <= code + PAGE_SIZE - 64, "the guest's code reaches into its secret");
  return buildCodeTvm(code, argument);
}

/** rd := base + number, with the base in t0. */
function putNumbered(writer: CodeWriter, rd: u32, number: u32): void {
  writer.put(encodeAddi(rd, Reg.T0, <i32>number));
}

/** FP and vector registers, which are switched on. */
function putExtensionState(writer: CodeWriter, vectors: bool): void {
  writer.putLoadConstant(Reg.T1, SSTATUS_FS | (vectors ? SSTATUS_VS : 0));
  writer.put(encodeCsrSet(SSTATUS, Reg.T1));
  for (let n: u32 = 0; n < 32; n++) {
    putNumbered(writer, Reg.T1, SecretPlace.FloatRegister + n);
    writer.put(encodeMoveToFloat(n, Reg.T1));
  }
  if (!vectors) return;
  writer.put(encodeWholeVectors(Reg.T1));
  for (let n: u32 = 0; n < 32; n++) {
    putNumbered(writer, Reg.T1, SecretPlace.VectorRegister + n);
    writer.put(encodeSplat(n, Reg.T1));
  }
}

/** WORDS_IN_PAGE words from `gpa` on. */
function putWords(writer: CodeWriter, gpa: u64, number: u64): void {
  writer.putLoadConstant(Reg.T1, gpa);
  for (let i: u64 = 0; i < WORDS_IN_PAGE; i++) {
    putNumbered(writer, Reg.T2, SecretPlace.Memory + <u32>(number + i));
    writer.put(encodeStore(StoreForm.Sd, Reg.T2, Reg.T1, <i32>(8 * i)));
  }
}

/** xor rd, rs1, rs2 */
function encodeXor(rd: u32, rs1: u32, rs2: u32): u32 {
  return 0x4033 | (rd << 7) | (rs1 << 15) | (rs2 << 20);
}

/** fmv.d.x rd, rs1 */
function encodeMoveToFloat(rd: u32, rs1: u32): u32 {
  return 0xf2000053 | (rd << 7) | (rs1 << 15);
}

/** vsetvli rd, x0, e64, m1, ta, ma: vl is all elements of one register. */
function encodeWholeVectors(rd: u32): u32 {
  return 0x0d807057 | (rd << 7);
}

/** vmv.v.x vd, rs1 */
function encodeSplat(vd: u32, rs1: u32): u32 {
  return 0x5e004057 | (vd << 7) | (rs1 << 15);
}
