import { Cause, INTERRUPT, Status } from "./csr-numbers.ts";
import type { DeviceBus } from "./devices.ts";
import { MachineFault, hex } from "./errors.ts";
import { accessGuestCsr } from "./guest-csr.ts";
import type { GuestContext } from "./guest-context.ts";
import { ADDRESS_REGISTER, DATA_REGISTER, STACK_POINTER } from "./guest-script.ts";
import type { Operation, Result } from "./guest-script.ts";
import type { Hart } from "./hart.ts";
import type { Instruction, Width } from "./instruction-encoding.ts";
import {
  ECALL,
  PSEUDO_INSTRUCTION_READ,
  SFENCE_VMA,
  WFI,
  csrInstruction,
  loadInstruction,
  storeInstruction,
  transformed,
} from "./instruction-encoding.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import type { AccessKind, TranslationFault } from "./translation.ts";
import { accessFault, currentVmid, isFault, translate } from "./translation.ts";

/** What one attempt at an instruction came to. */
export type Attempt = { done: Result } | "trapped" | "sleeping";

/**
 * Executes instructions of guests: each attempt either completes, or raises the trap that the hardware would (to the guest itself or to the
 * hypervisor), or, for wfi, sleeps.
 */
export class OperationExecutor {
  readonly #memory: PhysicalMemory;
  readonly #devices: DeviceBus;
  /** Sees every access of a guest to RAM. */
  onAccess: ((hart: Hart, hpa: number, kind: AccessKind) => void) | undefined;

  constructor(memory: PhysicalMemory, devices: DeviceBus) {
    this.#memory = memory;
    this.#devices = devices;
  }

  attempt(hart: Hart, context: GuestContext, operation: Operation): Attempt {
    hart.instruction = instructionOf(operation);
    const fetched = this.#translate(hart, hart.pc, "fetch");
    if (fetched === undefined) return "trapped";
    if (!this.#memory.contains(fetched, 2)) return this.#raise(hart, Cause.instructionAccess, hart.pc);
    switch (operation.kind) {
      case "ecall":
        for (const [name, value] of Object.entries(operation.registers)) hart.registers[10 + Number(name[1])] = value;
        if (hart.user) return this.#raise(hart, Cause.ecallFromUser, 0n);
        hart.trap(Cause.ecallFromGuest);
        return "trapped";
      case "load":
      case "store":
        return this.#access(hart, operation);
      case "jump":
        return this.#jump(hart, operation.gva);
      case "wfi":
        return this.#wfi(hart);
      case "csr":
        return this.#csr(hart, operation);
      case "sfence":
        if (hart.user) return this.#raise(hart, Cause.illegalInstruction, BigInt(SFENCE_VMA.bits));
        hart.tlb.flushVsStage(currentVmid(hart.csr));
        return { done: undefined };
      case "mode":
        hart.user = operation.user;
        return { done: undefined };
      case "illegal":
        return this.#raise(hart, operation.cause, BigInt(operation.instruction.bits));
      default:
        return this.#extensionRegister(hart, operation);
    }
  }

  #access(hart: Hart, operation: Operation & { kind: "load" | "store" }): Attempt {
    const { gva, width, register, encoding, kind } = operation;
    hart.registers[encoding === "compressed-sp" ? STACK_POINTER : ADDRESS_REGISTER] = gva;
    if (kind === "store" && register !== 0) hart.registers[register] = operation.value;
    if (gva % BigInt(width) !== 0n) {
      return this.#raise(hart, kind === "load" ? Cause.loadMisaligned : Cause.storeMisaligned, gva);
    }
    const signed = kind === "load" && operation.signed;
    const shown = transformed(instructionOf(operation)!, kind === "store", width, signed, register);
    const hpa = this.#translate(hart, gva, kind, BigInt(shown));
    if (hpa === undefined) return "trapped";
    const device = this.#devices.at(hpa);
    if (!device && !this.#memory.contains(hpa, width)) return this.#raise(hart, accessFault(kind), gva);
    if (device?.onlyWidth !== undefined && device.onlyWidth !== width) return this.#raise(hart, accessFault(kind), gva);
    if (!device) this.onAccess?.(hart, hpa, kind);
    if (kind === "store") {
      const value = BigInt.asUintN(8 * width, operation.value);
      if (device) device.write(hpa - device.base, width, value);
      else this.#memory.writeNumber(hpa, width, value);
      return { done: undefined };
    }
    const raw = device ? device.read(hpa - device.base, width) : this.#memory.readNumber(hpa, width);
    const value = extend(raw, width, signed);
    if (register !== 0) hart.registers[register] = value;
    return { done: value };
  }

  /** The jump itself cannot fail; the fetch at its target can. */
  #jump(hart: Hart, gva: bigint): Attempt {
    hart.pc = gva;
    const hpa = this.#translate(hart, gva, "fetch");
    if (hpa === undefined) return "trapped";
    if (!this.#memory.contains(hpa, 2)) return this.#raise(hart, Cause.instructionAccess, gva);
    this.onAccess?.(hart, hpa, "fetch");
    return { done: undefined };
  }

  #wfi(hart: Hart): Attempt {
    // hstatus.VTW = 1, or VU-mode: the wait does not end in time.
    if ((hart.csr.raw("hstatus") & (1n << 21n)) !== 0n || hart.user) {
      return this.#raise(hart, Cause.virtualInstruction, BigInt(WFI.bits));
    }
    const wakes = hart.csr.pendingForWait();
    return wakes === 0n ? "sleeping" : { done: undefined };
  }

  #csr(hart: Hart, operation: Operation & { kind: "csr" }): Attempt {
    // What an instruction that is emulated finds in its source register.
    if (operation.action !== "read") hart.registers[ADDRESS_REGISTER] = operation.value;
    const access = accessGuestCsr(hart.csr, hart.user, operation.csr, operation.action, operation.value);
    if ("value" in access) return { done: access.value };
    // Whoever emulates it looks for the operand in its register.
    if (operation.action !== "read") hart.registers[ADDRESS_REGISTER] = operation.value;
    const encoded = BigInt(instructionOf(operation)!.bits);
    return this.#raise(hart, access.cause, encoded);
  }

  #extensionRegister(hart: Hart, operation: Operation): Attempt {
    const vector = operation.kind === "vectorSet" || operation.kind === "vectorGet";
    const field = vector ? Status.vs : Status.fs;
    const present = vector ? hart.vector.length > 0 : hart.csr.options.floatingPoint;
    const off = (hart.csr.raw("vsstatus") & field) === 0n || (hart.csr.raw("sstatus") & field) === 0n;
    if (!present || off) return this.#raise(hart, Cause.illegalInstruction, 0n);
    const bytes = hart.csr.options.vlenb;
    const setDirty = (): void => {
      hart.csr.setRaw("vsstatus", hart.csr.raw("vsstatus") | field);
      hart.csr.setRaw("sstatus", hart.csr.raw("sstatus") | field);
    };
    switch (operation.kind) {
      case "fpGet":
        return { done: hart.fp[operation.register] };
      case "fpSet":
        hart.fp[operation.register] = operation.value;
        setDirty();
        return { done: undefined };
      case "vectorGet":
        return { done: hart.vector.slice(operation.register * bytes, (operation.register + 1) * bytes) };
      case "vectorSet":
        hart.vector.set(operation.bytes.subarray(0, bytes), operation.register * bytes);
        setDirty();
        return { done: undefined };
      default:
        throw new MachineFault(`a guest's operation is unknown: ${JSON.stringify(operation)}`);
    }
  }

  /** The hpa of an access, or undefined if it trapped. */
  #translate(hart: Hart, gva: bigint, kind: AccessKind, instruction = 0n): number | undefined {
    const { csr, tlb, user } = hart;
    const vcpu = hart.record.word("current");
    const result = translate({ memory: this.#memory, csr, tlb, user, vcpu }, gva, kind);
    if (!isFault(result)) return result.hpa;
    this.#raiseTranslationFault(hart, result, kind, instruction);
    return undefined;
  }

  #raiseTranslationFault(hart: Hart, fault: TranslationFault, kind: AccessKind, instruction: bigint): void {
    const guestPageFault = fault.cause >= Cause.instructionGuestPage;
    if (!guestPageFault) {
      this.#raise(hart, fault.cause, fault.gva);
      return;
    }
    // With an address in htval, an implicit access may not leave htinst 0 (Privileged 21.6.3); everything else may.
    let htinst = fault.implicit ? BigInt(PSEUDO_INSTRUCTION_READ) : 0n;
    if (hart.csr.options.transformedInstruction && !fault.implicit && kind !== "fetch") htinst = instruction;
    hart.trap(fault.cause, { stval: fault.gva, gpa: fault.gpa, htinst, gva: true });
  }

  /** An exception: to VS-mode if hedeleg says so, else to the hypervisor. */
  #raise(hart: Hart, cause: number, tval: bigint): "trapped" {
    if (hart.delegates(cause)) hart.guestTrap(BigInt(cause), tval);
    else hart.trap(cause, { stval: tval });
    return "trapped";
  }
}

/** Interrupts that the machine delivers: scause of HS-mode. */
export function interruptCause(irq: number): bigint {
  return INTERRUPT | BigInt(irq);
}

function extend(value: bigint, width: Width, signed: boolean): bigint {
  return signed ? BigInt.asUintN(64, BigInt.asIntN(8 * width, value)) : value;
}

/** The encoding of an operation, for whoever fetches it. */
export function instructionOf(operation: Operation): Instruction | undefined {
  switch (operation.kind) {
    case "ecall":
      return ECALL;
    case "wfi":
      return WFI;
    case "sfence":
      return SFENCE_VMA;
    case "load": {
      const base = operation.encoding === "compressed-sp" ? STACK_POINTER : ADDRESS_REGISTER;
      return loadInstruction(operation.width, operation.signed, operation.register, base, operation.encoding);
    }
    case "store": {
      const base = operation.encoding === "compressed-sp" ? STACK_POINTER : ADDRESS_REGISTER;
      return storeInstruction(operation.width, operation.register, base, operation.encoding);
    }
    case "csr":
      return csrInstruction(operation.csr, operation.action, DATA_REGISTER, ADDRESS_REGISTER);
    case "illegal":
      return operation.instruction;
    default:
      return undefined;
  }
}

/** Bytes of the instruction of an operation. */
export function lengthOf(operation: Operation): number {
  return instructionOf(operation)?.length ?? 4;
}

export function describeOperation(operation: Operation): string {
  switch (operation.kind) {
    case "ecall": {
      const { a7, a6, ...rest } = operation.registers;
      return `ecall ${hex(a7 ?? 0n)}/${a6 ?? 0n} (${Object.values(rest).map(hex).join(", ")})`;
    }
    case "load":
      return `load ${operation.width} at ${hex(operation.gva)}`;
    case "store":
      return `store ${operation.width} at ${hex(operation.gva)}`;
    case "jump":
      return `jump to ${hex(operation.gva)}`;
    default:
      return operation.kind;
  }
}
