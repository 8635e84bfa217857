import type { Uart } from "./devices.ts";
import { MachineEnded, MachineFault, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import type { MachineOptions } from "./machine-options.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/**
 * The SBI firmware below the hypervisor: what OpenSBI answers to the calls that a hypervisor makes (SBI 2.0), and its state.
 */
export class Firmware {
  readonly options: MachineOptions;
  readonly memory: PhysicalMemory;
  /** The console of DBCN and of the legacy calls. */
  readonly uart: Uart;
  /** Bytes that one DBCN call takes at the most. */
  consoleLimit = Infinity;
  /** Remote fences that were asked for, by function number. */
  remoteFences: number[] = [];
  /** Set by the machine. */
  harts: Hart[] = [];

  constructor(options: MachineOptions, memory: PhysicalMemory, uart: Uart) {
    this.options = options;
    this.memory = memory;
    this.uart = uart;
  }

  /** One call of `hart`. */
  call(hart: Hart, eid: bigint, fid: bigint, args: readonly bigint[]): SbiAnswer {
    switch (eid) {
      case 0x01n:
        this.uart.output += String.fromCharCode(Number(args[0] & 0xffn));
        return { error: 0n, value: 0n };
      case 0x02n:
        return { error: BigInt(this.uart.input.shift() ?? -1), value: 0n };
      case 0x10n:
        return this.#base(fid, args[0]);
      case EID.time:
        if (fid !== 0n) return NOT_SUPPORTED;
        hart.csr.firmwareDeadline = args[0] === NEVER ? undefined : args[0];
        if (this.options.sstc) {
          // With Sstc OpenSBI programs stimecmp itself.
          hart.csr.firmwareDeadline = undefined;
          hart.csr.setRaw("stimecmp", args[0]);
        }
        return OK;
      case EID.ipi:
        return fid === 0n
          ? this.#forHarts(args[0], args[1], (target) => (target.csr.softwarePending = true))
          : NOT_SUPPORTED;
      case EID.rfence:
        if (fid > 6n) return NOT_SUPPORTED;
        this.remoteFences.push(Number(fid));
        return this.#forHarts(args[0], args[1], () => {});
      case EID.hsm:
        return this.#hsm(hart, fid, args);
      case EID.srst:
        return fid === 0n ? this.#reset(args[0], args[1]) : NOT_SUPPORTED;
      case EID.pmu:
        return hart.csr.counters?.call(fid, args) ?? NOT_SUPPORTED;
      case EID.dbcn:
        return this.options.debugConsole ? this.#debugConsole(fid, args) : NOT_SUPPORTED;
      default:
        return NOT_SUPPORTED;
    }
  }

  #base(fid: bigint, argument: bigint): SbiAnswer {
    switch (fid) {
      case 0n:
        return value(2n << 24n);
      case 1n:
        return value(1n);
      case 2n:
        return value(0x10004n);
      case 3n:
        return value(this.#has(argument) ? 1n : 0n);
      case 4n:
        return value(0x1234n);
      // A commercial architecture id has its highest bit set.
      case 5n:
        return value((1n << 63n) | 7n);
      case 6n:
        return value(0x5678n);
      default:
        return NOT_SUPPORTED;
    }
  }

  #has(eid: bigint): boolean {
    if (eid === EID.dbcn) return this.options.debugConsole;
    if (eid === EID.pmu) return this.options.counters !== undefined;
    return eid <= 8n || eid === 0x10n || (Object.values(EID) as bigint[]).includes(eid);
  }

  /** Targets of a hart mask; refused if one of them does not exist. */
  #forHarts(mask: bigint, base: bigint, action: (hart: Hart) => void): SbiAnswer {
    if (base === NEVER) {
      this.harts.forEach(action);
      return OK;
    }
    const targets: Hart[] = [];
    for (let bit = 0n; bit < 64n; bit++) {
      if (((mask >> bit) & 1n) === 0n) continue;
      const target = this.harts.find((hart) => BigInt(hart.id) === base + bit);
      if (!target) return INVALID_PARAM;
      targets.push(target);
    }
    targets.forEach(action);
    return OK;
  }

  #hsm(hart: Hart, fid: bigint, args: readonly bigint[]): SbiAnswer {
    if (fid === 0n) {
      const target = this.harts.find((candidate) => BigInt(candidate.id) === args[0]);
      if (!target) return INVALID_PARAM;
      if (target.state !== "off") return { error: -6n, value: 0n };
      target.startPending = { address: args[1], opaque: args[2] };
      return OK;
    }
    if (fid === 1n) {
      hart.state = "off";
      throw new HartStopped(hart);
    }
    if (fid === 2n) {
      const target = this.harts.find((candidate) => BigInt(candidate.id) === args[0]);
      if (!target) return INVALID_PARAM;
      return value(target.startPending ? 2n : target.state === "off" ? 1n : 0n);
    }
    return NOT_SUPPORTED;
  }

  #reset(type: bigint, reason: bigint): SbiAnswer {
    if (type > 2n || reason > 1n) return INVALID_PARAM;
    throw new MachineEnded(Number(type), Number(reason));
  }

  #debugConsole(fid: bigint, [a0, a1, a2]: readonly bigint[]): SbiAnswer {
    if (fid === 2n) {
      this.uart.output += String.fromCharCode(Number(a0 & 0xffn));
      return OK;
    }
    if (fid > 2n) return NOT_SUPPORTED;
    const [length, address] = [Number(a0), Number(a1)];
    if (a2 !== 0n || !this.memory.contains(address, Math.max(1, length))) return INVALID_PARAM;
    if (fid === 0n) {
      const taken = Math.min(length, this.consoleLimit);
      for (const byte of this.memory.slice(address, taken)) this.uart.output += String.fromCharCode(byte);
      return value(BigInt(taken));
    }
    const bytes = this.uart.input.splice(0, length);
    this.memory.write(address, Uint8Array.from(bytes));
    return value(BigInt(bytes.length));
  }

  save(): unknown {
    return [...this.remoteFences];
  }

  restore(saved: unknown): void {
    this.remoteFences = [...(saved as number[])];
  }
}

export interface SbiAnswer {
  error: bigint;
  value: bigint;
}

/** HSM hart_stop: unwinds the hypervisor on that hart. */
export class HartStopped extends MachineFault {
  readonly hart: Hart;

  constructor(hart: Hart) {
    super(`hart ${hex(hart.id)} stopped`);
    this.hart = hart;
  }
}

const EID = {
  time: 0x54494d45n,
  ipi: 0x735049n,
  rfence: 0x52464e43n,
  hsm: 0x48534dn,
  srst: 0x53525354n,
  dbcn: 0x4442434en,
  pmu: 0x504d55n,
} as const;

const NEVER = 0xffff_ffff_ffff_ffffn;
const OK: SbiAnswer = { error: 0n, value: 0n };
const NOT_SUPPORTED: SbiAnswer = { error: -2n, value: 0n };
const INVALID_PARAM: SbiAnswer = { error: -3n, value: 0n };

function value(answer: bigint): SbiAnswer {
  return { error: 0n, value: answer };
}
