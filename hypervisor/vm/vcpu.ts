import { GeneralRegisters } from "../riscv/general-registers";
import { Vm } from "./vm";

/**
 * One virtual hart. The record begins with its general registers, where `machine/riscv/trap.S` stores them; the rest is its supervisor state
 * while it is not in the machine, and what we know about it.
 *
 * The slot of x0 is 1 for a vCPU of a TVM, 0 for the host's. trap.S then saves all registers before any TypeScript runs, because another hart may
 * run the vCPU, or get its pages, as soon as we say that it left this one.
 *
 * The record of a TVM vCPU lies in pages that its host donated (vcpuStatePages of TsmGetInfo): this record first, then
 * the floating-point area, then the vector area (sizes: vm/extension-state.ts).
 */
@unmanaged
export class Vcpu extends GeneralRegisters {
  // ---- trap state of the vCPU (saved from and loaded into the machine at a world switch)
  sepc: u64;
  sstatus: u64;
  hstatus: u64;

  // ---- VS-level CSRs (same)
  vsstatus: u64;
  vsie: u64;
  vstvec: u64;
  vsscratch: u64;
  vsepc: u64;
  vscause: u64;
  vstval: u64;
  vsatp: u64;
  vstimecmp: u64;
  vsiselect: u64;
  hvip: u64;
  scounteren: u64;
  senvcfg: u64;
  sstateen0: u64;
  hcounteren: u64;
  henvcfg: u64;
  htimedelta: u64;

  // ---- a host's own view of hypervisor CSRs (vm/host-csr.ts); 0 in a TVM
  virtualHie: u64;
  virtualHgeie: u64;
  virtualHgatp: u64;

  // ---- identity (constant after creation)
  vm: Vm;
  id: u32;
  /** VcpuState; changed by compare-and-swap. */
  state: u32;
  /** Pages that the record and its areas occupy (0 for a host vCPU). */
  statePages: u64;
  fpArea: usize;
  vectorArea: usize;

  // ---- who runs it
  /** vCPU of the parent VM that runs this one and gets its exits; null for the host's. */
  runner: Vcpu | null;
  /** Index of the hart it runs on while state is Running. */
  hartIndex: u32;
  /** VcpuMessage bits, set by other harts with or64, taken before it is entered. */
  reserved0: u32;
  messages: u64;

  // ---- translations: the VMID it last used, and where (memory/vmid.ts)
  vmidHart: u64;
  vmid: u64;
  vmidGeneration: u64;
  /** Translation version of the VM that this vCPU's VMID was last flushed for. */
  flushedVersion: u64;

  // ---- exit that waits for its completion by the parent (vm/exit.ts)
  /** PendingExit. */
  pending: u32;
  /** For MMIO: the access (vm/mmio-decode.ts) and the bytes of its instruction. */
  mmioAccess: u32;
  mmioInstructionLength: u32;
  reserved1: u32;
  /** For share and unshare: the range that the completion acts on. */
  pendingGpa: u64;
  pendingLength: u64;
  /** Up to here nothing is in that range, as long as vm.insertions is `pendingInsertions` (share.ts). */
  pendingChecked: u64;
  pendingInsertions: u64;

  // ---- HSM start parameters
  startAddress: u64;
  startOpaque: u64;

  // ---- NACL shared memory of this vCPU: pinned pages of its own VM, 0 if none (sbi/nacl.ts)
  naclHpa: u64;
  /** The CSRs in that memory: naclHpa + NACL_CSR_ANCHOR. */
  naclCsrs: u64;
  naclGpa: u64;
  /** Pinned page of this vCPU's VM for snapshots of its performance counters (sbi/pmu.ts), 0 if none. */
  snapshotHpa: u64;

  // ---- interrupts
  /** Guest interrupt file number on the current hart (VGEIN), 0 if none. */
  vgein: u64;
  /** Software interrupt file and allow list (devices/interrupt-state.ts), behind the floating-point area. */
  interrupts: usize;
  /** gpa of the vCPU's interrupt file in its TVM, ~0 if it has none; constant after TvmFinalize. */
  imsicGpa: u64;
  /** Binding to a guest interrupt file (vm/binding.ts): one word, changed under vm.lock, read by atomics. */
  binding: u64;
  /** Translation version of the TVM when the file that the vCPU is leaving went out of its reach. */
  bindingStamp: u64;

  // ---- call on a range of pages that is under way (sbi/covh/range-call.ts)
  /** RangeStep; None if there is no such call. */
  rangeStep: u32;
  /** RangeKind: which call. */
  rangeKind: u32;
  /** TVM that the call is about, with a reference; null if it is about the caller's own memory only. */
  rangeVm: Vm | null;
  /** What the call is made with, to know it again: a0-a6. */
  rangeA0: u64;
  rangeA1: u64;
  rangeA2: u64;
  rangeA3: u64;
  rangeA4: u64;
  rangeA5: u64;
  rangeA6: u64;
  /** gpa, in the caller's address space, of the pages that change hands. */
  rangeGpa: u64;
  /** gpa of the caller's pages that are read or shared. */
  rangeFrom: u64;
  /** gpa in the TVM. */
  rangeTarget: u64;
  /** 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB. */
  rangeType: u64;
  /** Small pages of the call, of the step, and what the step has behind it. */
  rangePages: u64;
  rangeEnd: u64;
  rangeDone: u64;
  /** hpa that the next page must have: the pages of a large one lie side by side. */
  rangeNext: u64;
  /** The answer. */
  rangeResult: i64;
  /** 1 while all of this is waiting for the call to be made again, and any hart may take it (sbi/covh/parked-calls.ts). */
  rangeParked: u32;
  reserved2: u32;

  /** Address of `state`, for compare-and-swap. */
  // @ts-ignore: decorator
  @inline
  stateAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Vcpu>("state"));
  }

  /** Address of `binding`, for atomics. */
  // @ts-ignore: decorator
  @inline
  bindingAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Vcpu>("binding"));
  }

  /** Address of `messages`, for atomics. */
  // @ts-ignore: decorator
  @inline
  messagesAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Vcpu>("messages"));
  }
}

/** Life of a vCPU. */
export const enum VcpuState {
  /** Off: never started, stopped, or dead after a fatal exit. */
  Stopped = 0,
  /** HSM start accepted: registers not yet loaded. */
  Starting = 1,
  /** May be run. */
  Runnable = 2,
  /** Entered by a hart (also while that hart is in the hypervisor on its behalf). */
  Running = 3,
  /** HSM suspend: waits for an interrupt. */
  Suspended = 4,
}

/** Bits of Vcpu.messages: work to be done on the hart that enters the vCPU, before it is entered. */
export const enum VcpuMessage {
  /** hfence.vvma of everything of this vCPU (SBI RFENCE sfence.vma, any range). */
  FenceVma = 1,
  /** fence.i (SBI RFENCE). */
  FenceI = 2,
  /** hvip.VSSIP := 1 (SBI IPI). */
  SoftwareInterrupt = 4,
  /** Host vCPU: the start parameters of HSM hart_start are complete. */
  Start = 8,
  /** Messages were taken and are being served: fences may still be to come. */
  Serving = 16,
}

/** What the parent must complete before the vCPU goes on. */
export const enum PendingExit {
  /** Nothing (page fault, interrupt, wfi, notification). */
  None = 0,
  /** a0, a1 come from the NACL scratch registers. */
  ForwardedCall = 1,
  /** Legacy SBI call: only a0 comes from the NACL scratch registers. */
  LegacyCall = 2,
  /** The load's value comes from the scratch A0. */
  MmioLoad = 3,
  MmioStore = 4,
  /** Like ForwardedCall, then the region change is completed or undone. */
  ShareMemory = 5,
  UnshareMemory = 6,
}
