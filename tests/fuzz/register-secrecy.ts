import type { CsrName } from "../../machine/simulated/csr-numbers.ts";
import { InvariantViolation, hex } from "../../machine/simulated/errors.ts";
import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE, VcpuState } from "../../machine/simulated/hypervisor-state.ts";
import type { Machine } from "../../machine/simulated/machine.ts";
import { fieldOffset } from "../../machine/simulated/record-layout.ts";

/**
 * Registers of one VM are never visible to another, and come back as they were (invariant 7).
 *
 * Before each instruction every register that it does not use gets a value that says whose it is. After an entry into the hypervisor no register of
 * the guest that is on the hart, nor the memory in which the host sees its TVM's exits, may hold a value of another VM.
 *
 *     63      48 47              8 7      0
 *    +----------+-----------------+--------+
 *    |   5ec0   |    guest id     | number |
 *    +----------+-----------------+--------+
 */
const TAG = 0x5ec0;
const CURRENT = fieldOffset("hart", "current");
const VM_ID = fieldOffset("vm", "id");
const ENTRY = fieldOffset("vm", "entryPc");
const VCPU_VM = fieldOffset("vcpu", "vm");
const VCPU_ID = fieldOffset("vcpu", "id");
const STATE = fieldOffset("vcpu", "state");
const NACL = fieldOffset("vcpu", "naclHpa");

/** VS-level registers that get such values, and those that are looked at. */
const TAGGED: CsrName[] = ["vsscratch", "vsepc", "vstval"];
const SEEN: CsrName[] = ["vsscratch", "vsepc", "vstval", "vstvec", "vscause"];
/** Registers that come back as they were, whatever happened: nobody but the guest writes them. */
const KEPT: CsrName[] = ["vsscratch", "vstvec", "vsiselect"];
const A0 = 10;
const A1 = 11;

interface Shadow {
  /** Each register as two 32-bit words. */
  registers: Uint32Array;
  csrs: bigint[];
  /** Which vCPU it was, so that a record used anew is not taken for the old one. */
  vm: number;
  id: number;
}

export class RegisterSecrecy {
  readonly #machine: Machine;
  /** All of memory. RAM is below 4 GiB: the low half of an address is the address. */
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  readonly #registers: Uint32Array[];
  /** By address of the vCPU record: what a vCPU's registers were when it left the machine. */
  readonly #shadows = new Map<number, Shadow>();
  /** By hart: the vCPU that went into the hypervisor, 0 if the hart was in none. */
  readonly #left: number[] = [];

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#words = new Uint32Array(machine.memory.wasmMemory.buffer);
    this.#halves = new Uint16Array(machine.memory.wasmMemory.buffer);
    this.#registers = machine.harts.map(({ registers }) => new Uint32Array(registers.buffer));
  }

  reset(): void {
    this.#shadows.clear();
    this.#left.length = 0;
  }

  /** The vCPU whose context the hart has. */
  currentOf(hart: Hart): number {
    return this.#words[(Number(hart.threadPointer) + CURRENT) / 4];
  }

  /** Guest id of a vCPU's VM. Ids are small numbers: the high half counts how often a slot was used. */
  vmOf(vcpu: number): number {
    const vm = this.#words[(vcpu + VCPU_VM) / 4];
    return this.#words[(vm + VM_ID) / 4];
  }

  /** A value that only the VM on the hart has. */
  tagOf(hart: Hart): bigint {
    return (BigInt(TAG) << 48n) | (BigInt(this.vmOf(this.currentOf(hart))) << 8n);
  }

  /** Where the guest's code is: the host's image, or where the TVM began. */
  codeOf(hart: Hart): bigint {
    const vcpu = this.currentOf(hart);
    if (this.vmOf(vcpu) === 0) return 0x8020_0000n;
    return this.#machine.memory.read64(this.#words[(vcpu + VCPU_VM) / 4] + ENTRY) & ~1n;
  }

  /** The guest on the hart writes values of its own to all its registers. */
  fill(hart: Hart): void {
    const registers = this.#registers[hart.index];
    const vm = this.vmOf(this.currentOf(hart));
    const low = vm << 8;
    const high = (TAG << 16) | (vm >>> 24);
    for (let n = 1; n < 32; n++) {
      registers[2 * n] = low | n;
      registers[2 * n + 1] = high;
    }
    const tag = this.tagOf(hart);
    for (let i = 0; i < TAGGED.length; i++) hart.csr.setRaw(TAGGED[i], tag | BigInt(0x40 + 2 * i));
  }

  /** The guest on the hart is about to trap. */
  leave(hart: Hart): void {
    if (hart.state !== "guest") {
      this.#left[hart.index] = 0;
      return;
    }
    const current = this.currentOf(hart);
    this.#left[hart.index] = current;
    let shadow = this.#shadows.get(current);
    if (!shadow) this.#shadows.set(current, (shadow = { registers: new Uint32Array(64), csrs: [], vm: 0, id: 0 }));
    shadow.registers.set(this.#registers[hart.index]);
    shadow.vm = this.vmOf(current);
    shadow.id = this.#words[(current + VCPU_ID) / 4];
    for (let i = 0; i < KEPT.length; i++) shadow.csrs[i] = hart.csr.raw(KEPT[i]);
  }

  /** The hypervisor has returned on this hart. */
  arrive(hart: Hart): void {
    const left = this.#left[hart.index];
    if (left !== 0) this.#forgetStopped(left);
    if (hart.state !== "guest") return;
    const current = this.currentOf(hart);
    const vm = this.vmOf(current);
    const registers = this.#registers[hart.index];
    const high = (TAG << 16) | (vm >>> 24);
    for (let n = 1; n < 32; n++) {
      if (registers[2 * n + 1] >>> 16 !== TAG) continue;
      if (registers[2 * n + 1] !== high || registers[2 * n] >>> 8 !== (vm & 0xff_ffff)) {
        this.#fail(hart, `x${n}`, hart.registers[n]);
      }
    }
    if (current === left) return;
    for (const name of SEEN) {
      const value = hart.csr.raw(name);
      if (value >> 48n === BigInt(TAG) && value >> 8n !== this.tagOf(hart) >> 8n) this.#fail(hart, name, value);
    }
    this.#checkNacl(hart, current);
    this.#checkReturn(hart, current, vm);
  }

  /** A vCPU that is off begins anew: what it held is forgotten. */
  #forgetStopped(vcpu: number): void {
    const state = this.#words[(vcpu + STATE) / 4];
    if (state === VcpuState.Stopped || state === VcpuState.Starting) this.#shadows.delete(vcpu);
  }

  /** A vCPU that comes back to the machine finds its registers as they were, but for answers. */
  #checkReturn(hart: Hart, current: number, vm: number): void {
    const shadow = this.#shadows.get(current);
    if (!shadow || shadow.vm !== vm || shadow.id !== this.#words[(current + VCPU_ID) / 4]) return;
    const registers = this.#registers[hart.index];
    let changed = 0;
    for (let n = 1; n < 32; n++) {
      if (n === A0 || n === A1) continue;
      if (registers[2 * n] === shadow.registers[2 * n] && registers[2 * n + 1] === shadow.registers[2 * n + 1])
        continue;
      // One register takes the value of an emulated load.
      if (++changed > 1) this.#failReturn(hart, current, `x${n}`);
    }
    for (let i = 0; i < KEPT.length; i++) {
      if (hart.csr.raw(KEPT[i]) !== shadow.csrs[i]) this.#failReturn(hart, current, KEPT[i]);
    }
  }

  /** What the host sees of an exit holds no register of the TVM that the exit does not show. */
  #checkNacl(hart: Hart, current: number): void {
    const nacl = this.#words[(current + NACL) / 4];
    if (nacl === 0) return;
    const halves = this.#halves;
    const own = this.tagOf(hart) >> 8n;
    for (let at = nacl / 2 + 3, end = (nacl + 3 * PAGE) / 2; at < end; at += 4) {
      if (halves[at] !== TAG) continue;
      const value = this.#machine.memory.read64((at - 3) * 2);
      if (value >> 8n !== own) this.#fail(hart, `the memory for exits at ${hex((at - 3) * 2 - nacl)}`, value);
    }
  }

  #failReturn(hart: Hart, current: number, register: string): never {
    throw new InvariantViolation(
      `hart ${hart.id}: ${register} of vCPU record ${hex(current)} is not what it was when the vCPU left the machine`,
    );
  }

  #fail(hart: Hart, place: string, value: bigint): never {
    const vm = (value >> 8n) & 0xff_ffff_ffffn;
    throw new InvariantViolation(
      `hart ${hart.id}: ${place} shows VM ${this.vmOf(this.currentOf(hart))} a register of VM ${vm}: ${hex(value)}`,
    );
  }
}
