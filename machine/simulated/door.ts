import { hypervisorFrames, HypervisorPanic, MachineFault, hex } from "./errors.ts";
import type { DeviceBus } from "./devices.ts";
import type { Firmware } from "./firmware.ts";
import type { Hart } from "./hart.ts";
import type { HypervisorModule } from "./hypervisor-module.ts";
import { cryptoDoor, ZBB_FUNCTIONS, ZKNH_FUNCTIONS } from "./crypto-door.ts";
import { memoryDoor } from "./memory-door.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { currentVmid, heldPrivilegeIsUser, isFault, translate } from "./translation.ts";

/**
 * The door to the machine, simulated: every import of hypervisor/riscv/hw.ts and crypto/hw.ts, on behalf of the hart that executes the hypervisor now.
 */
export type DoorFunction = (...args: never[]) => unknown;

/** Functions of the door by name. */
export type DoorFunctions = Record<string, DoorFunction>;

/** What the door works on. */
export interface DoorMachine {
  memory: PhysicalMemory;
  devices: DeviceBus;
  firmware: Firmware;
  /** The hart that executes the hypervisor. */
  active(): Hart;
  /** The hart waits in a loop: let time pass and others run. */
  pause(hart: Hart): void;
  /** Answers imageAddress. */
  imageAddress(symbol: number): bigint;
  /** Keeps the write log. */
  logWrites: boolean;
  /** What the harts have of the instructions that crypto/ can use. */
  hashInstructions: { zbb: boolean; zknh: boolean };
}

export interface Door {
  functions: DoorFunctions;
  /** tp of the hart that executes the hypervisor. */
  threadPointer: { value: unknown };
}

/** Some functions that take the place of the usual ones, which it is given. */
export type DoorReplacement = (usual: DoorFunctions) => DoorFunctions;

/** The door of a machine. `cacheBlock`: bytes that cbo.zero zeroes, 0 without it. */
export function makeDoor(machine: DoorMachine, cacheBlock: number, replacement: DoorReplacement): Door {
  const { functions, threadPointer } = memoryDoor(machine.memory, cacheBlock, machine.logWrites);
  const all: DoorFunctions = {
    ...functions,
    ...cryptoFunctions(functions, machine.hashInstructions),
    ...csrFunctions(machine),
    ...deviceFunctions(machine),
    ...fenceFunctions(machine),
    ...extensionFunctions(machine),
    sbiCall: (eid: bigint, fid: bigint, a0: bigint, a1: bigint, a2: bigint, a3: bigint, a4: bigint, out: bigint) => {
      const answer = machine.firmware.call(machine.active(), u64(eid), u64(fid), [a0, a1, a2, a3, a4].map(u64));
      if (out !== 0n) machine.memory.write64(Number(out), u64(answer.value));
      return answer.error;
    },
    endHart: (eid: bigint, fid: bigint, a0: bigint, a1: bigint, device: bigint, value: number) => {
      const hart = machine.active();
      hart.halt();
      if (device !== 0n) machine.devices.write(u64(device), 4, BigInt(value >>> 0));
      machine.firmware.call(hart, u64(eid), u64(fid), [a0, a1, 0n, 0n, 0n].map(u64));
      throw new MachineFault(`hart ${hart.id} goes on after its end`);
    },
    fetchGuestHalf: (gva: bigint) => fetchGuestHalf(machine, u64(gva)),
    stackPointer: () => machine.active().record.word("stackTop") - STACK_IN_USE,
    imageAddress: (symbol: number) => machine.imageAddress(symbol),
  };
  if (cacheBlock === 0) {
    all.cboZero = () => {
      throw new MachineFault("illegal instruction in HS-mode: cbo.zero on a hart without Zicboz");
    };
  }
  const replacements = replacement({ ...all });
  for (const name of Object.keys(replacements)) {
    if (!(name in all)) throw new MachineFault(`the door has no function ${name}`);
  }
  return { functions: { ...all, ...replacements }, threadPointer };
}

/** Pretended size of the frames of the hypervisor: nothing lies there. */
const STACK_IN_USE = 256n;

/** Refuses a module whose imports the door does not have, or a door with functions that hw.ts does not declare. */
export function checkImports(module: HypervisorModule, door: DoorFunctions, declared: readonly string[]): void {
  const wanted = WebAssembly.Module.imports(module.wasm).filter((entry) => entry.module === "hw");
  const missing = wanted.filter(({ name }) => !(name in door)).map(({ name }) => name);
  const unknown = Object.keys(door).filter((name) => !declared.includes(name));
  const absent = declared.filter((name) => !(name in door));
  const problems = [
    ...missing.map((name) => `the hypervisor imports ${name}, which the simulated door does not have`),
    ...absent.map((name) => `${name} is declared, which the simulated door does not have`),
    ...unknown.map((name) => `the simulated door has ${name}, which hypervisor/riscv/hw.ts does not declare`),
  ];
  if (problems.length > 0) throw new MachineFault(problems.join("\n"));
}

function u64(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

/** The door of the package crypto/. Locals of wasm are not in memory, so there is no stack to wipe. */
function cryptoFunctions(memory: DoorFunctions, { zbb, zknh }: DoorMachine["hashInstructions"]): DoorFunctions {
  const functions: DoorFunctions = {
    ...cryptoDoor(),
    wipeBytes: memory["zeroBytes"],
    wipeStack: () => {},
    lastHashVariant: () => 2,
  };
  for (const name of [...(zbb ? [] : ZBB_FUNCTIONS), ...(zknh ? [] : ZKNH_FUNCTIONS)]) {
    functions[name] = () => {
      throw new MachineFault(`illegal instruction in HS-mode: ${name} on a hart that does not have it`);
    };
  }
  return functions;
}

function csrFunctions(machine: DoorMachine): DoorFunctions {
  const file = () => machine.active().csr;
  return {
    csrRead: (csr: number) => file().read(csr),
    csrWrite: (csr: number, value: bigint) => file().write(csr, u64(value)),
    csrSwap: (csr: number, value: bigint) => {
      const old = file().read(csr);
      file().write(csr, u64(value));
      return old;
    },
    csrSet: (csr: number, mask: bigint) => file().write(csr, file().read(csr) | u64(mask)),
    csrClear: (csr: number, mask: bigint) => file().write(csr, file().read(csr) & ~u64(mask)),
    csrExists: (csr: number) => (file().exists(csr) ? 1 : 0),
  };
}

function deviceFunctions({ devices }: DoorMachine): DoorFunctions {
  const functions: DoorFunctions = {};
  for (const width of [1, 4, 8]) {
    const wide = width === 8;
    functions[`mmioRead${width * 8}`] = (hpa: bigint) => {
      const value = devices.read(u64(hpa), width);
      return wide ? value : Number(value);
    };
    functions[`mmioWrite${width * 8}`] = (hpa: bigint, value: bigint | number) => {
      devices.write(u64(hpa), width, BigInt.asUintN(width * 8, BigInt(value)));
    };
  }
  return functions;
}

function fenceFunctions(machine: DoorMachine): DoorFunctions {
  return {
    fenceI: () => {
      machine.active().instructionFences++;
    },
    pause: () => machine.pause(machine.active()),
    sfenceVma: () => {},
    hfenceGvmaAll: () => machine.active().tlb.flushGStage(),
    hfenceGvmaVmid: (vmid: bigint) => {
      const width = BigInt(machine.active().csr.options.vmidBits);
      if (u64(vmid) >> width !== 0n) throw new MachineFault(`hfence.gvma with VMID ${hex(vmid)} of ${width} bits`);
      machine.active().tlb.flushGStage(Number(vmid));
    },
    hfenceVvmaAll: () => machine.active().tlb.flushVsStage(currentVmid(machine.active().csr)),
  };
}

function extensionFunctions(machine: DoorMachine): DoorFunctions {
  const { memory } = machine;
  const floatingPoint = (hart: Hart) => {
    if ((hart.csr.read(0x100) & (3n << 13n)) === 0n)
      throw new MachineFault("floating-point access with sstatus.FS = Off");
    return hart.fp;
  };
  const vectors = (hart: Hart) => {
    if ((hart.csr.read(0x100) & (3n << 9n)) === 0n) throw new MachineFault("vector access with sstatus.VS = Off");
    return hart;
  };
  const dirty = (hart: Hart, field: bigint) => hart.csr.setRaw("sstatus", hart.csr.raw("sstatus") | field);
  return {
    fpSave: (area: bigint) => {
      floatingPoint(machine.active()).forEach((value, index) => memory.write64(Number(area) + 8 * index, value));
    },
    fpRestore: (area: bigint) => {
      const registers = floatingPoint(machine.active());
      for (let i = 0; i < registers.length; i++) registers[i] = memory.read64(Number(area) + 8 * i);
      dirty(machine.active(), 3n << 13n);
    },
    vectorSave: (area: bigint) => {
      const hart = vectors(machine.active());
      hart.vectorControl.forEach((value, index) => memory.write64(Number(area) + 8 * index, value));
      memory.write(Number(area) + VECTOR_CONTROL_BYTES, hart.vector);
    },
    vectorRestore: (area: bigint) => {
      const hart = vectors(machine.active());
      for (let i = 0; i < hart.vectorControl.length; i++) hart.vectorControl[i] = memory.read64(Number(area) + 8 * i);
      hart.vector.set(memory.slice(Number(area) + VECTOR_CONTROL_BYTES, hart.vector.length));
      dirty(hart, 3n << 9n);
    },
  };
}

const VECTOR_CONTROL_BYTES = 32;

/** hlvx.hu: the half word at `gva`, or -1 - scause. A script's instruction stands where its pc is. */
function fetchGuestHalf(machine: DoorMachine, gva: bigint): bigint {
  const hart = machine.active();
  const { csr, tlb, instruction } = hart;
  const vcpu = hart.record.word("current");
  const context = { memory: machine.memory, csr, tlb, user: heldPrivilegeIsUser(csr), vcpu, executeAsLoad: true };
  const translated = translate(context, gva, "load");
  if (isFault(translated)) return BigInt(-1 - translated.cause);
  if (!machine.memory.contains(translated.hpa, 2)) return -1n - 5n;
  const offset = gva - csr.raw("sepc");
  if (instruction && offset >= 0n && offset < BigInt(instruction.length)) {
    return BigInt((instruction.bits >>> (8 * Number(offset))) & 0xffff);
  }
  return machine.memory.readNumber(translated.hpa, 2);
}

/** The import env.abort: a failed assertion of the hypervisor becomes an error. */
export function abortImport(memory: PhysicalMemory): DoorFunction {
  const literal = (address: bigint): string => {
    const at = Number(address);
    return at === 0 ? "" : new TextDecoder("utf-16le").decode(memory.slice(at, memory.read32(at - 4)));
  };
  return (message: bigint, file: bigint, line: number, column: number) => {
    throw new HypervisorPanic(`${literal(message)} (${literal(file)}:${line}:${column})`);
  };
}

/** An error that left the hypervisor, with the names of its functions. */
export function describeFailure(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const frames = hypervisorFrames(error);
  if (error instanceof WebAssembly.RuntimeError) {
    const panic = new HypervisorPanic(error.message);
    panic.stack = `${error.message}\n${(error.stack ?? "").split("\n").slice(1).join("\n")}`;
    error = panic;
  }
  if (frames.length > 0 && error instanceof Error && !error.message.includes("\n  in ")) {
    error.message += "\n  in " + frames.join("\n  in ");
  }
  return error;
}
