import { Csr } from "./csr-numbers.ts";
import type { CsrName } from "./csr-numbers.ts";
import type { CsrAction, Encoding, Instruction, Width } from "./instruction-encoding.ts";

/**
 * What guests do. A guest is a generator that yields operations, each one instruction of the guest; the machine turns it into what the hardware
 * would make of it, traps to the hypervisor included, and resumes the generator with the result.
 *
 *     const host: GuestScript = function* (cpu) {
 *       const version = yield* ecall(Eid.base, 0);
 *       yield* store(0x8080_0000n, 8, version.value);
 *     };
 *
 * An exception that the guest itself gets (delegated, or injected by the hypervisor) is thrown into the generator as a GuestTrap;
 * a script that catches it has handled it and goes on behind the instruction.
 *
 * Operations are plain data, so that schedules and scenarios can be saved, cloned and shrunk.
 */
export type Operation =
  | { kind: "ecall"; registers: Partial<Record<ArgumentRegister, bigint>> }
  | { kind: "load"; gva: bigint; width: Width; signed: boolean; register: number; encoding: Encoding }
  | { kind: "store"; gva: bigint; width: Width; value: bigint; register: number; encoding: Encoding }
  | { kind: "jump"; gva: bigint }
  | { kind: "wfi" }
  | { kind: "csr"; csr: number; action: CsrAction; value: bigint }
  | { kind: "sfence" }
  | { kind: "fpSet"; register: number; value: bigint }
  | { kind: "fpGet"; register: number }
  | { kind: "vectorSet"; register: number; bytes: Uint8Array }
  | { kind: "vectorGet"; register: number }
  | { kind: "mode"; user: boolean }
  | { kind: "illegal"; instruction: Instruction; cause: number };

export type ArgumentRegister = "a0" | "a1" | "a2" | "a3" | "a4" | "a5" | "a6" | "a7";

/** What an operation that is complete gave. */
export type Result = SbiResult | bigint | Uint8Array | undefined;

export interface SbiResult {
  error: bigint;
  value: bigint;
}

/** An exception or interrupt that VS-mode took. */
export class GuestTrap extends Error {
  override name = "GuestTrap";
  override readonly cause: number;
  readonly tval: bigint;
  readonly epc: bigint;

  constructor(cause: number, tval: bigint, epc: bigint) {
    super(`guest trap: cause ${cause}, tval 0x${tval.toString(16)}, pc 0x${epc.toString(16)}`);
    this.cause = cause;
    this.tval = tval;
    this.epc = epc;
  }
}

/** What a script can see and change of its vCPU beside what it yields. */
export interface GuestCpu {
  /** Guest id of the VM (0 = host) and id of the vCPU in it. */
  readonly vmId: bigint;
  readonly id: number;
  /** General register, 0 to 31. */
  gpr(register: number): bigint;
  setGpr(register: number, value: bigint): void;
}

export type Script = Generator<Operation, void, Result>;
export type GuestScript = (cpu: GuestCpu) => Script;

/** Registers that loads, stores and CSR accesses use unless the test says otherwise: a5 for data, a4 for the address. */
export const DATA_REGISTER = 15;
export const ADDRESS_REGISTER = 14;
/** sp is the base of the compressed-sp encodings. */
export const STACK_POINTER = 2;

export const operations = {
  ecall(eid: number | bigint, fid: number | bigint, ...args: (number | bigint)[]): Operation {
    const registers: Partial<Record<ArgumentRegister, bigint>> = { a7: u64(eid), a6: u64(fid) };
    args.forEach((value, index) => (registers[`a${index}` as ArgumentRegister] = u64(value)));
    return { kind: "ecall", registers };
  },
  load(gva: number | bigint, width: Width = 8, how: AccessStyle & { signed?: boolean } = {}): Operation {
    const { signed = false, register = DATA_REGISTER, encoding = "wide" } = how;
    return { kind: "load", gva: u64(gva), width, signed, register, encoding };
  },
  store(gva: number | bigint, width: Width, value: number | bigint, how: AccessStyle = {}): Operation {
    const { register = DATA_REGISTER, encoding = "wide" } = how;
    return { kind: "store", gva: u64(gva), width, value: u64(value), register, encoding };
  },
  jump: (gva: number | bigint): Operation => ({ kind: "jump", gva: u64(gva) }),
  wfi: (): Operation => ({ kind: "wfi" }),
  csrRead: (csr: CsrName | number): Operation => ({ kind: "csr", csr: csrNumber(csr), action: "read", value: 0n }),
  csrWrite: (csr: CsrName | number, value: number | bigint): Operation => ({
    kind: "csr",
    csr: csrNumber(csr),
    action: "write",
    value: u64(value),
  }),
  csrSet: (csr: CsrName | number, value: number | bigint): Operation => ({
    kind: "csr",
    csr: csrNumber(csr),
    action: "set",
    value: u64(value),
  }),
  csrClear: (csr: CsrName | number, value: number | bigint): Operation => ({
    kind: "csr",
    csr: csrNumber(csr),
    action: "clear",
    value: u64(value),
  }),
  sfence: (): Operation => ({ kind: "sfence" }),
  fpSet: (register: number, value: bigint): Operation => ({ kind: "fpSet", register, value }),
  fpGet: (register: number): Operation => ({ kind: "fpGet", register }),
  vectorSet: (register: number, bytes: Uint8Array): Operation => ({ kind: "vectorSet", register, bytes }),
  vectorGet: (register: number): Operation => ({ kind: "vectorGet", register }),
  /** Goes to VU-mode or back, as an sret or a trap of the guest's own would. */
  mode: (user: boolean): Operation => ({ kind: "mode", user }),
  /** An instruction that raises exception `cause` (2 illegal, 3 breakpoint, 22 virtual instruction). */
  illegal: (bits: number, cause = 2): Operation => ({
    kind: "illegal",
    instruction: { bits: bits >>> 0, length: (bits & 3) === 3 ? 4 : 2 },
    cause,
  }),
};

export interface AccessStyle {
  /** Data register. */
  register?: number;
  encoding?: Encoding;
}

function csrNumber(csr: CsrName | number): number {
  return typeof csr === "number" ? csr : Csr[csr];
}

function u64(value: number | bigint): bigint {
  return BigInt.asUintN(64, BigInt(value));
}

// ---- the same for scripts, with the type of the result

type Step<T> = Generator<Operation, T, Result>;

/** SBI call: a7 = eid, a6 = fid, a0 ... = args. */
export function* ecall(eid: number | bigint, fid: number | bigint, ...args: (number | bigint)[]): Step<SbiResult> {
  return (yield operations.ecall(eid, fid, ...args)) as SbiResult;
}

export function* load(...args: Parameters<typeof operations.load>): Step<bigint> {
  return (yield operations.load(...args)) as bigint;
}

export function* store(...args: Parameters<typeof operations.store>): Step<void> {
  yield operations.store(...args);
}

export function* wfi(): Step<void> {
  yield operations.wfi();
}

export function* readCsr(csr: CsrName | number): Step<bigint> {
  return (yield operations.csrRead(csr)) as bigint;
}

export function* writeCsr(csr: CsrName | number, value: number | bigint): Step<void> {
  yield operations.csrWrite(csr, value);
}
