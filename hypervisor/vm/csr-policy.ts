import { Hart } from "../hart";
import { Root } from "../root";
import {
  COUNTEREN_TM,
  ENVCFG_ADUE,
  ENVCFG_CBCFE,
  ENVCFG_CBIE_FLUSH,
  ENVCFG_CBZE,
  ENVCFG_STCE,
  EXC_BREAKPOINT,
  EXC_ECALL_U,
  EXC_INST_ACCESS,
  EXC_INST_MISALIGNED,
  EXC_INST_PAGE,
  EXC_LOAD_ACCESS,
  EXC_LOAD_MISALIGNED,
  EXC_LOAD_PAGE,
  EXC_STORE_ACCESS,
  EXC_STORE_MISALIGNED,
  EXC_STORE_PAGE,
  HCOUNTEREN,
  HEDELEG,
  HENVCFG,
  HGATP,
  HGEIE,
  HIDELEG,
  HIE,
  HSTATEEN0,
  HSTATEEN1,
  HSTATEEN2,
  HSTATEEN3,
  HSTATUS,
  HSTATUS_VSXL64,
  HTIMEDELTA,
  HVICTL,
  HVIEN,
  HVIP,
  HVIPRIO1,
  HVIPRIO2,
  IRQ_LCOFI,
  IRQ_VSEI,
  IRQ_VSSI,
  IRQ_VSTI,
  SCONTEXT,
  SCOUNTOVF,
  SIE,
  SIP,
  SSTATEEN0,
  SSTATEEN1,
  SSTATEEN2,
  SSTATEEN3,
  SSTATUS,
  SSTATUS_FS,
  SSTATUS_VS,
  STATEEN0_AIA,
  STATEEN0_CSRIND,
  STATEEN0_ENVCFG,
  STATEEN0_IMSIC,
  STIMECMP,
  VSATP,
  VSCAUSE,
  VSCTRCTL,
  VSEPC,
  VSISELECT,
  VSSCRATCH,
  VSTVAL,
  VSTVEC,
} from "../riscv/csr";
import { Feature, hasFeature } from "../riscv/isa";
import { csrClear, csrExists, csrRead, csrSet, csrWrite, hfenceGvmaAll, sbiCall } from "../riscv/hw";

/**
 * Which CSRs and features a VM gets: denied unless this table gives them. The host and every TVM get the same, so the
 * registers of the second column that follow from it are written once per hart and never switched.
 *
 * | what                              | control                  | VM gets it | why |
 * | --------------------------------- | ------------------------ | ---------- | --- |
 * | own exceptions, ecall from VU     | hedeleg                  | yes | nobody else is concerned |
 * | own illegal instructions (2)       | hedeleg                  | after us | the first use of floating point or vectors is one (vm/extension-state.ts); the others are injected |
 * | own access faults (1, 5, 7)       | hedeleg                  | yes | RAM that is not the VM's is not in its G-stage, so what is left is a hole or a bus error of its own device: architecture-exact in the VM, of no use to us. A touch of memory given away is a guest page fault, which comes here |
 * | guest page faults, virtual instr. | (cannot be delegated)    | no  | |
 * | ecall from VS, double trap (16), software check (18), hardware error (19) | hedeleg | no | ours; extensions that are off; machine faults |
 * | VSSI, VSTI, VSEI                  | hideleg                  | yes | its interrupts |
 * | counter overflow (13)             | hvien, hvip, vsie        | yes | ours first, then passed on by hvip (vm/counters.ts) |
 * | other local interrupts            | hideleg, hvien           | no | |
 * | stimecmp                          | henvcfg.STCE             | yes | vstimecmp and htimedelta are switched |
 * | cbo.zero                          | henvcfg.CBZE             | yes | like stores |
 * | cbo.clean, cbo.flush              | henvcfg.CBCFE            | yes | harmless |
 * | cbo.inval                         | henvcfg.CBIE = 01        | as a flush | a true invalidate would undo our zeroing and show what a page held before |
 * | hardware A/D updates              | henvcfg.ADUE             | yes | |
 * | Svpbmt                            | henvcfg.PBMTE            | no  | a non-cacheable mapping of a page reads what memory held before our (cached) zeroing reached it |
 * | landing pads, shadow stacks       | henvcfg.LPE, SSE         | no  | ssp, elp are not switched |
 * | pointer masking                   | henvcfg.PMM, hstatus.HUPMM | no | |
 * | double trap                       | henvcfg.DTE              | no  | |
 * | senvcfg                           | hstateen0.ENVCFG         | yes | switched |
 * | siselect, sireg                   | hstateen0.CSRIND         | yes | vsiselect is switched |
 * | AIA: stopi, stopei, IMSIC file    | hstateen0.AIA, IMSIC     | yes | the file is chosen by hstatus.VGEIN, 0 = none |
 * | interrupt filtering, priorities   | hvictl, hviprio1, hviprio2 = 0 | no | constant; hvictl is ours while it offers a host an interrupt (vm/guest-external.ts) |
 * | a host's hie, hip, hgeie, hgeip, hgatp | (V = 1)             | emulated | vm/host-csr.ts; of a TVM they do not exist |
 * | sstateen0 itself                  | hstateen0.SE0            | no  | so sstateen0 is ours, always 0: no Zfinx fcsr, no jvt (Zcmt), no custom state for VU |
 * | CTR, scontext, srmcfg, custom     | hstateen0, other bits; hstateen1-3 | no | not switched. Without state enables: denyUngated |
 * | time                              | hcounteren.TM, htimedelta | yes | |
 * | cycle, instret, hpmcounters, scountovf | hcounteren          | its own | those that the vCPU has started (vm/counters.ts) and that hold its values; the others count what other VMs do |
 * | scounteren                        | (no control)             | yes | switched |
 * | floating point, vectors           | sstatus.FS, VS           | yes | switched (vm/extension-state.ts) |
 * | WFI                               | hstatus.VTW              | host only | a TVM's wait is an exit |
 * | hypervisor instructions and CSRs  | (V = 1)                  | no  | virtual-instruction exceptions |
 */

const DELEGATED_EXCEPTIONS: u64 =
  (1 << EXC_INST_MISALIGNED) |
  (1 << EXC_INST_ACCESS) |
  (1 << EXC_BREAKPOINT) |
  (1 << EXC_LOAD_MISALIGNED) |
  (1 << EXC_LOAD_ACCESS) |
  (1 << EXC_STORE_MISALIGNED) |
  (1 << EXC_STORE_ACCESS) |
  (1 << EXC_ECALL_U) |
  (1 << EXC_INST_PAGE) |
  (1 << EXC_LOAD_PAGE) |
  (1 << EXC_STORE_PAGE);

/** The three interrupts of a VM, in the positions of hip, hie, hvip and hideleg. */
export const VS_INTERRUPTS: u64 = (1 << IRQ_VSSI) | (1 << IRQ_VSTI) | (1 << IRQ_VSEI);

const FIRMWARE_BASE: u64 = 0x10;
const GET_VENDOR_ID: u64 = 4;
const GET_ARCHITECTURE_ID: u64 = 5;
const GET_IMPLEMENTATION_ID: u64 = 6;

const ENVIRONMENT: u64 = ENVCFG_STCE | ENVCFG_CBZE | ENVCFG_CBCFE | ENVCFG_CBIE_FLUSH | ENVCFG_ADUE;
const STATE_ENABLES: u64 = STATEEN0_ENVCFG | STATEEN0_CSRIND | STATEEN0_AIA | STATEEN0_IMSIC;

/** Bits of Root.optionalState: optional state of a VM that this machine has, found by asking the registers themselves. */
export const enum OptionalState {
  /** vsiselect: advanced interrupts or other indirect registers. */
  Indirect = 1,
  /** vstimecmp works (Sstc, and the firmware gives it). */
  Timer = 2,
  FloatingPoint = 4,
  /** Vector registers that we have areas for (root.vlenb). */
  Vector = 8,
  StateEnables = 16,
  /** Overflows of counters interrupt, and we can pass that on (Sscofpmf, and hvien has the interrupt). */
  Overflow = 32,
  /** Some vCPU has performance counters configured (vm/counters.ts). */
  Counters = 64,
}

/**
 * Puts every CSR that decides about VMs into its one value, on the hart that runs this. The first call (boot hart, before any vCPU is
 * made) also fills in what the machine turned out to have: root.henvcfg, hstateen0, hedeleg, hideleg, optionalState and guestFileMask, which boot
 * narrows to the files that can be used before other harts come. root.vlenb is known.
 */
export function setupHartCsrs(hart: Hart): void {
  const root = hart.root;
  csrWrite(SIE, 0);
  csrWrite(HGATP, 0);
  csrWrite(VSATP, 0);
  hfenceGvmaAll();
  csrWrite(HSTATUS, HSTATUS_VSXL64);
  csrWrite(HIE, 0);
  csrWrite(HVIP, 0);
  csrWrite(HTIMEDELTA, 0);
  csrWrite(HCOUNTEREN, COUNTEREN_TM);
  csrWrite(HEDELEG, DELEGATED_EXCEPTIONS);
  csrWrite(HIDELEG, VS_INTERRUPTS);
  csrWrite(HENVCFG, ENVIRONMENT);
  if (csrExists(HVICTL)) {
    csrWrite(HVIEN, (<u64>1) << IRQ_LCOFI);
    csrWrite(HVICTL, 0);
    csrWrite(HVIPRIO1, 0);
    csrWrite(HVIPRIO2, 0);
  }
  // A reset need not clear what a guest of the last boot left in these.
  csrWrite(VSTVEC, 0);
  csrWrite(VSSCRATCH, 0);
  csrWrite(VSEPC, 0);
  csrWrite(VSCAUSE, 0);
  csrWrite(VSTVAL, 0);
  const stateEnables = csrExists(HSTATEEN0);
  if (stateEnables) setupStateEnables();
  else denyUngated();
  const first = root.hedeleg == 0;
  if (first) recordFindings(root, stateEnables);
  if ((root.optionalState & OptionalState.Overflow) != 0) {
    csrClear(SIP, (<u64>1) << IRQ_LCOFI);
    csrSet(SIE, (<u64>1) << IRQ_LCOFI);
  }
  setupGuestFiles(root, first);
  readIdentity(hart);
}

/** State-enable registers (Smstateen): everything that is not given is off for VS and VU. */
function setupStateEnables(): void {
  csrWrite(HSTATEEN0, STATE_ENABLES);
  csrWrite(SSTATEEN0, 0);
  // Where the firmware keeps one of the others to itself, what it gates is off for everybody below.
  if (csrExists(HSTATEEN1)) csrWrite(HSTATEEN1, 0);
  if (csrExists(HSTATEEN2)) csrWrite(HSTATEEN2, 0);
  if (csrExists(HSTATEEN3)) csrWrite(HSTATEEN3, 0);
  if (csrExists(SSTATEEN1)) csrWrite(SSTATEEN1, 0);
  if (csrExists(SSTATEEN2)) csrWrite(SSTATEEN2, 0);
  if (csrExists(SSTATEEN3)) csrWrite(SSTATEEN3, 0);
}

/** A machine without state enables cannot hide these; without them VMs would share the registers. */
function denyUngated(): void {
  assert(!csrExists(VSCTRCTL), "control transfer records need state enables (Smstateen): VMs would see each other's");
  assert(!csrExists(SCONTEXT), "scontext needs state enables (Smstateen): VMs would see each other's");
}

/** What was really there: a bit that the hart or its firmware withholds reads as 0. */
function recordFindings(root: Root, stateEnables: bool): void {
  root.hedeleg = csrRead(HEDELEG);
  root.hideleg = csrRead(HIDELEG);
  root.henvcfg = csrRead(HENVCFG);
  root.hstateen0 = stateEnables ? csrRead(HSTATEEN0) : 0;
  assert((root.hedeleg & DELEGATED_EXCEPTIONS) == DELEGATED_EXCEPTIONS, "hedeleg lacks ordinary exceptions");
  assert(root.hideleg == VS_INTERRUPTS, "hideleg lacks the interrupts of VS-mode");

  let state: u64 = stateEnables ? OptionalState.StateEnables : 0;
  if (csrExists(VSISELECT)) state |= OptionalState.Indirect;
  if ((root.henvcfg & ENVCFG_STCE) != 0 && csrExists(STIMECMP)) state |= OptionalState.Timer;
  csrSet(SSTATUS, SSTATUS_FS | SSTATUS_VS);
  const status = csrRead(SSTATUS);
  csrClear(SSTATUS, SSTATUS_FS | SSTATUS_VS);
  if ((status & SSTATUS_FS) != 0) state |= OptionalState.FloatingPoint;
  if ((status & SSTATUS_VS) != 0 && root.vlenb != 0) state |= OptionalState.Vector;
  if (hasFeature(root.features, Feature.Sscofpmf) && csrExists(SCOUNTOVF) && csrExists(HVIEN)) {
    if ((csrRead(HVIEN) >> IRQ_LCOFI) & 1) state |= OptionalState.Overflow;
  }
  root.optionalState = state;
}

/** What SBI Base tells VMs of the hart they run on (Linux chooses its errata by it): the firmware's answers. */
function readIdentity(hart: Hart): void {
  const at = changetype<usize>(hart);
  sbiCall(FIRMWARE_BASE, GET_VENDOR_ID, 0, 0, 0, 0, 0, at + offsetof<Hart>("vendorId"));
  sbiCall(FIRMWARE_BASE, GET_ARCHITECTURE_ID, 0, 0, 0, 0, 0, at + offsetof<Hart>("architectureId"));
  sbiCall(FIRMWARE_BASE, GET_IMPLEMENTATION_ID, 0, 0, 0, 0, 0, at + offsetof<Hart>("implementationId"));
}

/** Counts the guest interrupt files on the boot hart, and lets none of them interrupt us yet. */
function setupGuestFiles(root: Root, first: bool): void {
  csrWrite(HGEIE, ~(<u64>0));
  const files = csrRead(HGEIE);
  if (first) root.guestFileMask = files;
  assert((root.guestFileMask & ~files) == 0, "a hart has fewer guest interrupt files than the boot hart");
  csrWrite(HGEIE, 0);
}
