import type { Clock } from "./clock.ts";
import { HartCounters } from "./counters.ts";
import { Csr, HypervisorStatus, Irq, Status, bit, csrName } from "./csr-numbers.ts";
import type { CsrName } from "./csr-numbers.ts";
import { MachineFault } from "./errors.ts";
import type { HartInterruptFiles } from "./imsic.ts";
import type { MachineOptions, TranslationMode } from "./machine-options.ts";

/**
 * The control and status registers of one hart as HS-mode sees them: which exist, which bits are there (WARL), and which registers
 * are views of others.
 */
export class CsrFile {
  readonly options: MachineOptions;
  readonly clock: Clock;
  readonly interruptFiles: HartInterruptFiles | undefined;
  readonly counters: HartCounters | undefined;
  /** sip.SSIP: set by software and by the firmware's IPI. */
  softwarePending = false;
  /** Deadline of the firmware's timer (SBI TIME); undefined if none is set. */
  firmwareDeadline: bigint | undefined;
  /** Storage of the registers by number, without any rule; for those who keep and put back many of them at once. */
  readonly values = new BigUint64Array(4096);
  readonly #registers: (Register | undefined)[];

  constructor(options: MachineOptions, clock: Clock, interruptFiles: HartInterruptFiles | undefined) {
    this.options = options;
    this.clock = clock;
    this.interruptFiles = interruptFiles;
    this.counters = options.counters === undefined ? undefined : new HartCounters(options);
    this.#registers = registersOf(options);
    this.values[Csr.stimecmp] = NEVER;
    this.values[Csr.vstimecmp] = NEVER;
    // What the firmware leaves behind: interrupts off, the rest arbitrary.
    this.values[Csr.sstatus] = Status.fs | (options.vlenb > 0 ? Status.vs : 0n);
    this.values[Csr.hcounteren] = 0xffff_ffffn;
    this.values[Csr.scounteren] = 0xffff_ffffn;
  }

  /** Whether HS-mode can read the register now. */
  exists(csr: number): boolean {
    const register = this.#registers[csr];
    return register !== undefined && (register.accessible?.(this) ?? true);
  }

  read(csr: number): bigint {
    const register = this.#register(csr);
    return register.read ? register.read(this) : this.values[csr] | register.fixed;
  }

  write(csr: number, value: bigint): void {
    const register = this.#register(csr);
    if (register.write) register.write(this, value);
    else this.values[csr] = value & register.mask;
  }

  /** Storage without any rule: for the hardware's own updates, and for registers that are views of this one. */
  raw(name: CsrName): bigint {
    return this.values[Csr[name]];
  }

  setRaw(name: CsrName, value: bigint): void {
    this.values[Csr[name]] = value;
  }

  #register(csr: number): Register {
    const register = this.#registers[csr];
    if (!register || !(register.accessible?.(this) ?? true)) {
      throw new MachineFault(`illegal instruction in HS-mode: this hart has no CSR ${csrName(csr)}`);
    }
    return register;
  }

  // ---- interrupts

  /** sip: what is pending for HS-mode. */
  supervisorPending(): bigint {
    let pending = this.softwarePending ? bit(Irq.supervisorSoftware) : 0n;
    if (this.timerPending()) pending |= bit(Irq.supervisorTimer);
    if (this.interruptFiles?.supervisor.raised()) pending |= bit(Irq.supervisorExternal);
    if (this.counters?.pending) pending |= LCOFI;
    return pending;
  }

  timerPending(): boolean {
    const { now } = this.clock;
    if (this.options.sstc && now >= this.raw("stimecmp")) return true;
    return this.firmwareDeadline !== undefined && now >= this.firmwareDeadline;
  }

  /** hip: what is pending for VS-mode, and guest external interrupts for HS-mode. */
  hypervisorPending(): bigint {
    let pending = this.raw("hvip") & VIRTUAL_INTERRUPTS;
    if (this.guestTimerPending()) pending |= bit(Irq.virtualTimer);
    const files = this.interruptFiles?.guestPending() ?? 0n;
    if (((files >> BigInt(this.guestFile())) & 1n) !== 0n && this.guestFile() !== 0)
      pending |= bit(Irq.virtualExternal);
    if ((files & this.raw("hgeie")) !== 0n) pending |= bit(Irq.guestExternal);
    return pending;
  }

  guestTimerPending(): boolean {
    if (!this.options.sstc || (this.raw("henvcfg") & ENVCFG_STCE) === 0n) return false;
    return this.guestTime() >= this.raw("vstimecmp");
  }

  /** time as VS-mode reads it. */
  guestTime(): bigint {
    return BigInt.asUintN(64, this.clock.now + this.raw("htimedelta"));
  }

  /** hstatus.VGEIN: the guest file that VS-mode uses. */
  guestFile(): number {
    return Number((this.raw("hstatus") & HypervisorStatus.vgein) >> 12n);
  }

  /** Interrupts that a hart in VS-mode takes to HS-mode at once (bits of sip and hip together). */
  pendingForHypervisor(): bigint {
    const supervisor = this.supervisorPending() & this.raw("sie");
    const guest = this.hypervisorPending() & this.raw("hie") & ~this.raw("hideleg");
    return supervisor | guest;
  }

  /** What ends a wfi: every interrupt that is enabled, also one that is delegated (Privileged 3.3.3). */
  pendingForWait(): bigint {
    return this.pendingForHypervisor() | (this.hypervisorPending() & this.raw("hie"));
  }

  /** Interrupts that VS-mode takes itself if vsstatus.SIE lets it (bits of hip; the overflow interrupt at its own). */
  pendingForGuest(): bigint {
    const local = this.raw("hvip") & this.raw("hvien") & this.raw("vsie") & LCOFI;
    return (this.hypervisorPending() & this.raw("hie") & this.raw("hideleg")) | local;
  }

  save(): unknown {
    const { softwarePending, firmwareDeadline } = this;
    return { values: this.values.slice(), softwarePending, firmwareDeadline, counters: this.counters?.save() };
  }

  restore(saved: unknown): void {
    const { values, softwarePending, firmwareDeadline, counters } = saved as {
      values: BigUint64Array;
      softwarePending: boolean;
      firmwareDeadline: bigint | undefined;
      counters: unknown;
    };
    this.values.set(values);
    this.counters?.restore(counters);
    this.softwarePending = softwarePending;
    this.firmwareDeadline = firmwareDeadline;
  }
}

interface Register {
  /** Writable bits. */
  mask: bigint;
  /** Bits that always read 1. */
  fixed: bigint;
  accessible?: (file: CsrFile) => boolean;
  read?: (file: CsrFile) => bigint;
  write?: (file: CsrFile, value: bigint) => void;
}

const ALL = 0xffff_ffff_ffff_ffffn;
const NEVER = ALL;
export const ENVCFG_STCE = 1n << 63n;
const ENVCFG_ADUE = 1n << 61n;
const ENVCFG_CBZE = 1n << 7n;
const ENVCFG_CBCFE = 1n << 6n;
const ENVCFG_CBIE = 3n << 4n;
const ENVCFG_FIOM = 1n;
const SUPERVISOR_INTERRUPTS =
  bit(Irq.supervisorSoftware) | bit(Irq.supervisorTimer) | bit(Irq.supervisorExternal) | bit(Irq.counterOverflow);
/** The same bit of sip, sie, hvip, hvien, vsip and vsie. */
const LCOFI = bit(Irq.counterOverflow);
const VIRTUAL_INTERRUPTS = bit(Irq.virtualSoftware) | bit(Irq.virtualTimer) | bit(Irq.virtualExternal);
/** Exceptions 0-8, 12, 13, 15, 18 and 19 can be delegated to VS-mode; calls of VS-mode and G-stage faults cannot. */
const DELEGABLE_EXCEPTIONS = 0xcb1ffn;

/** mode of satp and its likes: the MODE field's value. */
export const MODE_VALUES: Record<TranslationMode, number> = { sv39: 8, sv48: 9, sv57: 10 };

/** The registers of a hart with these options, by number. */
function registersOf(options: MachineOptions): (Register | undefined)[] {
  const table: (Register | undefined)[] = [];
  const plain = (mask: bigint, ...names: CsrName[]): void => {
    for (const name of names) table[Csr[name]] = { mask, fixed: 0n };
  };
  const special = (name: CsrName, register: Partial<Register>): void => {
    table[Csr[name]] = { mask: ALL, fixed: 0n, ...register };
  };

  plain(ALL, "sscratch", "stval", "vsscratch", "vstval", "htval", "htinst", "htimedelta");
  plain(~1n & ALL, "sepc", "vsepc");
  plain((1n << 63n) | 0xffn, "scause", "vscause");
  // MODE: direct and vectored.
  plain(~2n & ALL, "stvec", "vstvec");
  plain(0xffff_ffffn, "scounteren", "hcounteren");
  plain(DELEGABLE_EXCEPTIONS, "hedeleg");
  plain(VIRTUAL_INTERRUPTS, "hideleg");
  plain(options.guestFiles === undefined ? VIRTUAL_INTERRUPTS : VIRTUAL_INTERRUPTS | LCOFI, "hvip");
  plain(SUPERVISOR_INTERRUPTS, "sie");
  plain(VIRTUAL_INTERRUPTS | bit(Irq.guestExternal), "hie");
  defineStatus(options, special);
  defineInterruptViews(special);
  defineTranslation(options, special);
  defineEnvironment(options, plain, special);
  if (options.guestFiles !== undefined) defineAia(options.guestFiles, plain, special);
  else plain(0n, "hgeie", "hgeip");
  special("time", { read: readTime, write: refuseWrite });
  defineCounters(options, special);
  if (options.vlenb > 0) {
    special("vlenb", { read: () => BigInt(options.vlenb), write: refuseWrite, accessible: vectorsOn });
  }
  return table;
}

type DefinePlain = (mask: bigint, ...names: CsrName[]) => void;
type DefineSpecial = (name: CsrName, register: Partial<Register>) => void;

/** Software that waits for a time must see it pass. */
function readTime(file: CsrFile): bigint {
  file.clock.advance(1n);
  return file.clock.now;
}

/** Those that there are; without a PMU cycle and instret are clocks. */
function defineCounters(options: MachineOptions, special: DefineSpecial): void {
  for (let number = 0; number < 32; number++) {
    const fixed = number === 0 || number === 2;
    if (number === 1 || (!fixed && number >= 3 + (options.counters ?? 0))) continue;
    const read = (file: CsrFile): bigint => file.counters?.values[number] ?? readTime(file);
    special(csrName(Csr.cycle + number) as CsrName, { read, write: refuseWrite });
  }
  if (options.counters === undefined || !options.sscofpmf) return;
  special("scountovf", { read: (file) => file.counters?.overflowed ?? 0n, write: refuseWrite });
}

function refuseWrite(): void {
  throw new MachineFault("illegal instruction in HS-mode: write of a read-only CSR");
}

function vectorsOn(file: CsrFile): boolean {
  return (file.raw("sstatus") & Status.vs) !== 0n;
}

function defineStatus(options: MachineOptions, special: DefineSpecial): void {
  const extensions = (options.floatingPoint ? Status.fs : 0n) | (options.vlenb > 0 ? Status.vs : 0n);
  const writable = Status.sie | Status.spie | Status.spp | Status.sum | Status.mxr | extensions;
  for (const name of ["sstatus", "vsstatus"] as const) {
    special(name, {
      read: (file) => {
        const value = (file.raw(name) & writable) | Status.uxl64;
        const dirty = (value & Status.fs) === Status.fs || (value & Status.vs) === Status.vs;
        return dirty ? value | Status.sd : value;
      },
      write: (file, value) => file.setRaw(name, value & writable),
    });
  }
  const guestFiles = BigInt(options.guestFiles ?? 0);
  const bits = HypervisorStatus;
  const mask = bits.gva | bits.spv | bits.spvp | bits.hu | bits.vgein | bits.vtvm | bits.vtw | bits.vtsr;
  special("hstatus", {
    read: (file) => file.raw("hstatus") | bits.vsxl64,
    write: (file, value) => {
      // VGEIN is WLRL: a number without a file is not kept.
      const file_ = (value & bits.vgein) >> 12n;
      file.setRaw("hstatus", value & (file_ > guestFiles ? mask & ~bits.vgein : mask));
    },
  });
}

function defineInterruptViews(special: DefineSpecial): void {
  special("sip", {
    read: (file) => file.supervisorPending(),
    write: (file, value) => {
      file.softwarePending = (value & bit(Irq.supervisorSoftware)) !== 0n;
      if (file.counters) file.counters.pending = (value & LCOFI) !== 0n;
    },
  });
  const writeVssi = (file: CsrFile, on: boolean): void => {
    const others = file.raw("hvip") & ~bit(Irq.virtualSoftware);
    file.setRaw("hvip", on ? others | bit(Irq.virtualSoftware) : others);
  };
  special("hip", {
    read: (file) => file.hypervisorPending(),
    write: (file, value) => writeVssi(file, (value & bit(Irq.virtualSoftware)) !== 0n),
  });
  // vsip and vsie are hip and hie, one bit lower, as far as hideleg gives them to VS-mode.
  special("vsip", {
    read: (file) => ((file.hypervisorPending() & file.raw("hideleg")) >> 1n) | (file.raw("hvip") & file.raw("hvien")),
    write: (file, value) => {
      const local = file.raw("hvien");
      file.setRaw("hvip", (file.raw("hvip") & ~local) | (value & local));
      if ((file.raw("hideleg") & bit(Irq.virtualSoftware)) !== 0n) {
        writeVssi(file, (value & bit(Irq.supervisorSoftware)) !== 0n);
      }
    },
  });
  special("vsie", {
    // The overflow interrupt has an enable of its own where hvien gives it to VS-mode.
    read: (file) => ((file.raw("hie") & file.raw("hideleg")) >> 1n) | (file.raw("vsie") & file.raw("hvien")),
    write: (file, value) => {
      const local = file.raw("hvien");
      file.setRaw("vsie", (file.raw("vsie") & ~local) | (value & local));
      const delegated = file.raw("hideleg");
      file.setRaw("hie", (file.raw("hie") & ~delegated) | ((value << 1n) & delegated));
    },
  });
}

function defineTranslation(options: MachineOptions, special: DefineSpecial): void {
  const legal = (value: bigint, modes: readonly TranslationMode[]): boolean => {
    const mode = Number(value >> 60n);
    return mode === 0 || modes.some((name) => MODE_VALUES[name] === mode);
  };
  const asid = ((1n << BigInt(options.asidBits)) - 1n) << 44n;
  const ppn = (1n << 44n) - 1n;
  const mode = 0xfn << 60n;
  // A write with an unknown mode has no effect at all (Privileged 12.1.11).
  special("satp", {
    write: (file, value) => {
      if (legal(value, options.stageOneModes)) file.setRaw("satp", value & (mode | asid | ppn));
    },
  });
  // Here the fields are WARL one by one (21.2.11, 21.2.10): an unknown mode leaves the old one.
  special("vsatp", {
    write: (file, value) => {
      const kept = legal(value, options.stageOneModes) ? value & mode : file.raw("vsatp") & mode;
      file.setRaw("vsatp", kept | (value & (asid | ppn)));
    },
  });
  const vmid = ((1n << BigInt(options.vmidBits)) - 1n) << 44n;
  special("hgatp", {
    write: (file, value) => {
      const kept = legal(value, options.gStageModes) ? value & mode : file.raw("hgatp") & mode;
      // The root table is 16 KiB: the two lowest bits of its PPN are zero.
      file.setRaw("hgatp", kept | (value & (vmid | (ppn & ~3n))));
    },
  });
}

function defineEnvironment(options: MachineOptions, plain: DefinePlain, special: DefineSpecial): void {
  const cacheBlocks = (options.zicbom ? ENVCFG_CBIE | ENVCFG_CBCFE : 0n) | (options.zicboz > 0 ? ENVCFG_CBZE : 0n);
  const guest = cacheBlocks | ENVCFG_FIOM | (options.sstc ? ENVCFG_STCE : 0n) | (options.svadu ? ENVCFG_ADUE : 0n);
  for (const [name, mask] of [
    ["henvcfg", guest],
    ["senvcfg", cacheBlocks | ENVCFG_FIOM],
  ] as const) {
    special(name, {
      write: (file, value) => {
        // CBIE = 10 is reserved.
        const reserved = (value & ENVCFG_CBIE) === 2n << 4n;
        file.setRaw(name, value & (reserved ? mask & ~ENVCFG_CBIE : mask));
      },
    });
  }
  if (options.smstateen) {
    const aia = options.guestFiles === undefined ? 0n : 7n << 58n;
    plain((1n << 63n) | (1n << 62n) | aia | (1n << 1n), "hstateen0");
    plain(0n, "hstateen1", "hstateen2", "hstateen3", "sstateen1", "sstateen2", "sstateen3");
    special("sstateen0", { write: (file, value) => file.setRaw("sstateen0", value & file.raw("hstateen0") & 2n) });
  }
  if (options.sstc) plain(ALL, "stimecmp", "vstimecmp");
}

function defineAia(guestFiles: number, plain: DefinePlain, special: DefineSpecial): void {
  plain((1n << BigInt(guestFiles + 1)) - 2n, "hgeie");
  special("hgeip", { read: (file) => file.interruptFiles?.guestPending() ?? 0n, write: refuseWrite });
  plain(bit(Irq.counterOverflow), "hvien");
  plain((1n << 30n) | (0xfffn << 16n) | 0x3ffn, "hvictl");
  plain(ALL, "hviprio1", "hviprio2");
  plain(0xfffn, "siselect", "vsiselect");
  special("sireg", {
    read: (file) => indirect(file.interruptFiles?.supervisor.readRegister(Number(file.raw("siselect")))),
    write: (file, value) => {
      indirect(file.interruptFiles?.supervisor.writeRegister(Number(file.raw("siselect")), value) || undefined);
    },
  });
  const guest = (file: CsrFile) => file.interruptFiles?.guest(file.guestFile());
  special("vsireg", {
    read: (file) => indirect(guest(file)?.readRegister(Number(file.raw("vsiselect")))),
    write: (file, value) => {
      indirect(guest(file)?.writeRegister(Number(file.raw("vsiselect")), value) || undefined);
    },
  });
  special("stopei", {
    read: (file) => indirect(file.interruptFiles?.supervisor.readTop()),
    write: (file) => file.interruptFiles?.supervisor.claim(),
  });
  special("vstopei", {
    read: (file) => indirect(guest(file)?.readTop()),
    write: (file) => guest(file)?.claim(),
  });
  special("stopi", { read: topInterrupt, write: refuseWrite });
}

/** A register behind siselect or vsiselect that is not there raises an illegal instruction. */
function indirect<T>(value: T | undefined): T {
  if (value === undefined) throw new MachineFault("illegal instruction in HS-mode: no such indirect register");
  return value;
}

/** stopi: the first of external, software, timer that is pending and enabled. */
function topInterrupt(file: CsrFile): bigint {
  const pending = file.supervisorPending() & file.raw("sie");
  for (const irq of [Irq.supervisorExternal, Irq.supervisorSoftware, Irq.supervisorTimer]) {
    if ((pending & bit(irq)) !== 0n) return (BigInt(irq) << 16n) | 1n;
  }
  return 0n;
}
