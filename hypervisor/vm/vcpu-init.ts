import { thisHart } from "../hart";
import {
  COUNTEREN_TM,
  HSTATUS_SPV,
  HSTATUS_SPVP,
  HSTATUS_VGEIN_SHIFT,
  HSTATUS_VSXL64,
  HSTATUS_VTW,
  SSTATUS_SPP,
  SSTATUS_UXL64,
} from "../riscv/csr";
import { storeRelease32, zeroBytes } from "../riscv/hw";
import { OptionalState } from "./csr-policy";
import { hostGuestFile } from "../devices/imsic";
import { EXTENSIONS_CLEAN } from "./extension-state";
import { postMessage } from "./messages";
import { TIMER_NEVER } from "./timer";
import { PendingExit, Vcpu, VcpuMessage, VcpuState } from "./vcpu";
import { fpAreaBytes, interruptStateOffset, vectorAreaBytes } from "./vcpu-layout";
import { Vm, VmKind } from "./vm";

/** imsicGpa of a vCPU that has no interrupt file in its TVM. */
export const NO_IMSIC_ADDRESS: u64 = ~0;

/** hartIndex of a vCPU that never ran. */
const NO_HART: u32 = ~0;

/**
 * Makes the record of a new vCPU, stopped, in `vcpuRecordBytes` bytes of memory of our own. `fpArea` and `vectorArea` are where its
 * registers are kept (vm/vcpu-layout.ts); the latter is ignored on harts without vectors. A host vCPU belongs to the hart with its id.
 * After `setupHartCsrs` of the boot hart.
 */
export function initVcpu(vcpu: Vcpu, vm: Vm, id: u32, fpArea: usize, vectorArea: usize): void {
  const root = thisHart().root;
  const host = vm.kind == VmKind.Host;
  zeroBytes(changetype<usize>(vcpu), offsetof<Vcpu>());
  vcpu.zero = host ? 0 : 1;
  vcpu.vm = vm;
  vcpu.id = id;
  vcpu.state = VcpuState.Stopped;
  vcpu.hartIndex = host ? id : NO_HART;
  vcpu.vgein = host ? hostGuestFile(root) : 0;
  vcpu.interrupts = changetype<usize>(vcpu) + interruptStateOffset();
  vcpu.imsicGpa = NO_IMSIC_ADDRESS;
  vcpu.fpArea = (root.optionalState & OptionalState.FloatingPoint) != 0 ? fpArea : 0;
  vcpu.vectorArea = (root.optionalState & OptionalState.Vector) != 0 ? vectorArea : 0;
  resetVcpu(vcpu, 0, 0);
}

/**
 * Puts a vCPU that is in no machine into the state in which the SBI starts a hart (HSM hart_start): VS-mode at `pc`, a0 = its id, a1 =
 * `opaque`, no translation, interrupts off, everything else 0. Nothing of an earlier life is left.
 */
export function resetVcpu(vcpu: Vcpu, pc: u64, opaque: u64): void {
  zeroBytes(changetype<usize>(vcpu) + offsetof<Vcpu>("ra"), offsetof<Vcpu>("vm") - offsetof<Vcpu>("ra"));
  vcpu.a0 = <u64>vcpu.id;
  vcpu.a1 = opaque;
  vcpu.sepc = pc;
  vcpu.sstatus = SSTATUS_UXL64 | SSTATUS_SPP | (vcpu.vm.kind == VmKind.Host ? EXTENSIONS_CLEAN : 0);
  vcpu.vsstatus = SSTATUS_UXL64;
  vcpu.hstatus = HSTATUS_VSXL64 | HSTATUS_SPV | HSTATUS_SPVP | (vcpu.vgein << HSTATUS_VGEIN_SHIFT);
  if (vcpu.vm.kind == VmKind.Tvm) vcpu.hstatus |= HSTATUS_VTW;
  vcpu.vstimecmp = TIMER_NEVER;
  vcpu.scounteren = COUNTEREN_TM;
  vcpu.htimedelta = vcpu.vm.htimedelta;
  vcpu.pending = PendingExit.None;
  // Its next life finds neither translations nor instructions of the last one.
  postMessage(vcpu, VcpuMessage.FenceVma | VcpuMessage.FenceI);
  if (vcpu.fpArea != 0) zeroBytes(vcpu.fpArea, fpAreaBytes());
  if (vcpu.vectorArea != 0) zeroBytes(vcpu.vectorArea, vectorAreaBytes(thisHart().root.vlenb));
}

/** `resetVcpu`, and makes the vCPU runnable for whoever sees its state after that. */
export function powerOnVcpu(vcpu: Vcpu, pc: u64, opaque: u64): void {
  resetVcpu(vcpu, pc, opaque);
  storeRelease32(vcpu.stateAddress(), VcpuState.Runnable);
}
