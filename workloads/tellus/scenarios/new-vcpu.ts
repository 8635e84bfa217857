import { codeWriter, CodeWriter, ECALL, encodeAddi, encodeOr, Reg } from "../../lib/assembler";
import { allocateZeroed } from "../../lib/heap";
import { guestRegister } from "../../lib/nacl";
import { beginTest, checkEqual, endTest } from "../../lib/protocol";
import { fpFill, vectorFill } from "../../lib/hw";
import { EID_LEGACY_PUTCHAR, EID_SRST } from "../../lib/sbi";
import { HOST_SECRET } from "../../lib/tvm-map";
import { EXC_ECALL_VS } from "../../../hypervisor/riscv/csr";
import { runWithSecrets } from "../secret-run";
import { lastExit, state } from "../state";
import { buildCodeTvm, releaseTvm } from "../tvm-builder";

const BOOT_ARGUMENT: u64 = 0x1_2345_6789;

/**
 * The first instructions of a TVM find nothing of the host in the registers: a TVM of one page combines all of them by OR, but for its two
 * arguments, and shows the result.
 */
export function testNewVcpuRegisters(): void {
  beginTest("the host's registers do not reach a new TVM");
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  for (let n: u32 = 1; n < 32; n++) {
    if (n != Reg.A0 && n != Reg.A1 && n != Reg.T0) writer.put(encodeOr(Reg.T0, Reg.T0, n));
  }
  // t0 now has every bit that any register had; the vCPU id and the boot argument are shown beside it.
  showAsCharacter(writer, Reg.A0);
  showAsCharacter(writer, Reg.A1);
  showAsCharacter(writer, Reg.T0);
  writer.put(encodeAddi(Reg.A0, Reg.Zero, 0));
  writer.putLoadConstant(Reg.A7, EID_SRST);
  writer.put(ECALL);
  writer.finish();
  // The writer's own record is in the page that is measured: it is not code, the guest never gets there.

  const tvm = buildCodeTvm(code, BOOT_ARGUMENT);
  if (tvm.id != 0) {
    fpFill(HOST_SECRET);
    if (state().hasVectors != 0) vectorFill(HOST_SECRET);
    expectShown(tvm.id, 0, "a0 of the boot vCPU");
    expectShown(tvm.id, BOOT_ARGUMENT, "a1 of the boot vCPU");
    expectShown(tvm.id, 0, "all other registers, combined");
    runWithSecrets(tvm.id, 0);
    checkEqual(lastExit().terminated, 1, "the shutdown ends the vCPU");
  }
  releaseTvm(tvm);
  endTest();
}

/** Shows a register by legacy putchar; t1 and s2 keep a0 and a1 meanwhile. */
function showAsCharacter(writer: CodeWriter, register: u32): void {
  writer.put(encodeAddi(Reg.T1, Reg.A0, 0));
  writer.put(encodeAddi(Reg.A0, register, 0));
  writer.put(encodeAddi(Reg.A7, Reg.Zero, <i32>EID_LEGACY_PUTCHAR));
  writer.put(ECALL);
  writer.put(encodeAddi(Reg.A0, Reg.T1, 0));
}

function expectShown(id: u64, expected: u64, what: string): void {
  runWithSecrets(id, 0);
  checkEqual(lastExit().cause, EXC_ECALL_VS, "scause");
  checkEqual(guestRegister(Reg.A7), EID_LEGACY_PUTCHAR, "a7");
  checkEqual(guestRegister(Reg.A0), expected, what);
}
