import type { CsrFile } from "./csr-file.ts";
import { ENVCFG_STCE } from "./csr-file.ts";
import { Cause, Csr, HypervisorStatus, Status } from "./csr-numbers.ts";
import type { CsrAction } from "./instruction-encoding.ts";

/**
 * CSR accesses of VS- and VU-mode: supervisor registers are the vs ones, and what a hypervisor controls is allowed, or an exception
 * (Privileged 21.2 and 21.6.1, Sstc, Smstateen, AIA).
 */
export type CsrAccess = { value: bigint } | { cause: number };

const VIRTUAL: CsrAccess = { cause: Cause.virtualInstruction };
const ILLEGAL: CsrAccess = { cause: Cause.illegalInstruction };

/** Supervisor registers that are their vs counterparts without any condition. */
const SUBSTITUTES = new Map<number, number>([
  [Csr.sstatus, Csr.vsstatus],
  [Csr.sie, Csr.vsie],
  [Csr.stvec, Csr.vstvec],
  [Csr.sscratch, Csr.vsscratch],
  [Csr.sepc, Csr.vsepc],
  [Csr.scause, Csr.vscause],
  [Csr.stval, Csr.vstval],
  [Csr.sip, Csr.vsip],
]);

const INTERRUPT_REGISTERS = new Set<number>([Csr.sie, Csr.sip, Csr.stimecmp]);
const HVICTL_VTI = 1n << 30n;

/** Bits of hstateen0. */
const STATEEN = { imsic: 58n, indirect: 60n, envcfg: 62n, stateen: 63n } as const;

/** One access: returns the old value, or the exception that it raises. */
export function accessGuestCsr(
  file: CsrFile,
  user: boolean,
  csr: number,
  action: CsrAction,
  operand: bigint,
): CsrAccess {
  if (csr >= Csr.cycle && csr <= Csr.hpmcounter31) return readCounter(file, user, csr, action);
  if (csr === Csr.scountovf) return readOverflows(file, user, action);
  if (csr === Csr.vlenb) return file.exists(csr) && vectorsOn(file) ? readOnly(file.read(csr), action) : ILLEGAL;
  const level = (csr >> 8) & 3;
  // Level 2 are the hypervisor's and the vs registers: none of VS-mode's business.
  if (level === 2) return isImplemented(file, csr) ? VIRTUAL : ILLEGAL;
  if (level !== 1) return ILLEGAL;
  if (!isImplemented(file, csr)) return ILLEGAL;
  if (user) return VIRTUAL;
  // While the hypervisor injects by hvictl, it answers for these (AIA 6.3.2).
  if (INTERRUPT_REGISTERS.has(csr) && (file.raw("hvictl") & HVICTL_VTI) !== 0n) return VIRTUAL;
  const target = SUBSTITUTES.get(csr) ?? conditional(file, csr);
  return typeof target === "number" ? perform(file, target, action, operand) : target;
}

function isImplemented(file: CsrFile, csr: number): boolean {
  return csr === Csr.vlenb || file.exists(csr);
}

/** Registers that depend on a control of the hypervisor: the register to access, or the exception. */
function conditional(file: CsrFile, csr: number): number | CsrAccess {
  switch (csr) {
    case Csr.satp:
      return (file.raw("hstatus") & HypervisorStatus.vtvm) !== 0n ? VIRTUAL : Csr.vsatp;
    case Csr.stimecmp: {
      const allowed = (file.raw("henvcfg") & ENVCFG_STCE) !== 0n && (file.raw("hcounteren") & 2n) !== 0n;
      return allowed ? Csr.vstimecmp : VIRTUAL;
    }
    case Csr.siselect:
      return enabled(file, STATEEN.indirect) ? Csr.vsiselect : VIRTUAL;
    case Csr.sireg:
      return enabled(file, STATEEN.indirect) && indirectExists(file) ? Csr.vsireg : VIRTUAL;
    case Csr.stopei:
      return enabled(file, STATEEN.imsic) && file.guestFile() !== 0 ? Csr.vstopei : VIRTUAL;
    case Csr.senvcfg:
      return enabled(file, STATEEN.envcfg) ? csr : VIRTUAL;
    case Csr.sstateen0:
    case Csr.sstateen1:
    case Csr.sstateen2:
    case Csr.sstateen3:
      return enabled(file, STATEEN.stateen) ? csr : VIRTUAL;
    case Csr.scounteren:
      return csr;
    default:
      return VIRTUAL;
  }
}

/** Without state enables everything that exists is allowed. */
function enabled(file: CsrFile, stateBit: bigint): boolean {
  return !file.options.smstateen || ((file.raw("hstateen0") >> stateBit) & 1n) !== 0n;
}

function indirectExists(file: CsrFile): boolean {
  const selected = Number(file.raw("vsiselect"));
  return file.interruptFiles?.guest(file.guestFile())?.readRegister(selected) !== undefined;
}

function readCounter(file: CsrFile, user: boolean, csr: number, action: CsrAction): CsrAccess {
  if (action !== "read" || !file.exists(csr)) return ILLEGAL;
  const counter = 1n << BigInt(csr - Csr.cycle);
  if ((file.raw("hcounteren") & counter) === 0n) return VIRTUAL;
  if (user && (file.raw("scounteren") & counter) === 0n) return VIRTUAL;
  file.clock.advance(1n);
  return { value: csr === Csr.time ? file.guestTime() : file.read(csr) };
}

/** scountovf has no trap: what hcounteren does not give reads 0. */
function readOverflows(file: CsrFile, user: boolean, action: CsrAction): CsrAccess {
  if (user || action !== "read" || !file.exists(Csr.scountovf)) return ILLEGAL;
  return { value: file.read(Csr.scountovf) & file.raw("hcounteren") };
}

function vectorsOn(file: CsrFile): boolean {
  return (file.raw("vsstatus") & Status.vs) !== 0n;
}

function readOnly(value: bigint, action: CsrAction): CsrAccess {
  return action === "read" ? { value } : ILLEGAL;
}

function perform(file: CsrFile, csr: number, action: CsrAction, operand: bigint): CsrAccess {
  const value = file.read(csr);
  if (action === "write") file.write(csr, operand);
  else if (action === "set") file.write(csr, value | operand);
  else if (action === "clear") file.write(csr, value & ~operand);
  return { value };
}
