import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE, PageState } from "../../machine/simulated/hypervisor-state.ts";
import { enumValues } from "../../machine/simulated/record-layout.ts";
import { Covh, Covi, Eid } from "../unit/support/simulated/sbi.ts";
import type { Command, Value } from "./command.ts";
import type { FileView, Observer, TvmView, VcpuView } from "./observer.ts";
import type { World } from "./world.ts";

/** A command that is made when its turn comes; none if nothing fits by then. */
export type Step = () => Command | undefined;

/** Where TVMs have their interrupt files: one page a vCPU. */
export const TVM_IMSIC = 0x2800_0000n;
const HART_BITS = 2n;
const GROUP_SHIFT = 24n;
/** Identities that hosts and TVMs use: ordinary ones, the last one, and such as do not exist. */
export const IDENTITIES = [1n, 5n, 9n, 63n, 64n, 255n, 256n, 0n, 2047n];
const BIND = enumValues("vm/binding", "BindState");

const Csr = {
  siselect: 0x150,
  sireg: 0x151,
  stopei: 0x15c,
  sie: 0x104,
  hie: 0x604,
  hgeie: 0x607,
  hip: 0x644,
  hgatp: 0x680,
};

/** What hosts do with guest interrupt files: give them to vCPUs of TVMs, move them, take them back, send interrupts. */
export class InterruptCommands {
  readonly #world: World;
  readonly #observer: Observer;
  readonly #random: (limit: number) => number;

  constructor(world: World, observer: Observer, random: (limit: number) => number) {
    this.#world = world;
    this.#observer = observer;
    this.#random = random;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random(list.length)];
  }

  #covi(hart: Hart, name: keyof typeof Covi, ...args: Value[]): Command {
    return { hart: hart.index, do: "call", eid: Eid.covi, fid: Covi[name], args };
  }

  #covh(hart: Hart, name: keyof typeof Covh, ...args: Value[]): Command {
    return { hart: hart.index, do: "call", eid: Eid.covh, fid: Covh[name], args };
  }

  /** Whether the machine has files for TVMs. */
  get available(): boolean {
    return this.#observer.files(this.#world.machine.harts[0]).length > 0;
  }

  /** Steps that give a TVM that is being made interrupt files; `params`: where the host keeps the geometry. */
  geometry(hart: Hart, id: Value, params: bigint, vcpus: number): Step[] {
    const words = [TVM_IMSIC, GROUP_SHIFT << 32n, HART_BITS, 0n];
    const steps: Step[] = words.map((value, index) => () => ({
      hart: hart.index,
      do: "store",
      at: params + BigInt(8 * index),
      value,
    }));
    steps.push(() => this.#covi(hart, "tvmAiaInit", id, params, 32n));
    for (let vcpu = 0; vcpu < vcpus; vcpu++) {
      steps.push(() => this.#covi(hart, "setImsicAddress", id, BigInt(vcpu), TVM_IMSIC + BigInt(PAGE * vcpu)));
    }
    return steps;
  }

  /** Steps that bind a vCPU to a file of the hart. `catchUp`: the local fences of the others. */
  bind(hart: Hart, id: Value, vcpu: number, catchUp: Step[]): Step[] {
    const file = this.#pick(this.#observer.files(hart));
    return [
      () => (file.fenced ? undefined : this.#covi(hart, "convertImsic", file.gpa)),
      () => (file.fenced ? undefined : this.#covh(hart, "initiateFence")),
      ...(file.fenced ? [] : catchUp),
      () => this.#covi(hart, "bindImsic", id, BigInt(vcpu), 1n << BigInt(file.number)),
    ];
  }

  /** Whether the vCPU can run on the hart, as far as its file goes. */
  runsOn(hart: Hart, { binding }: VcpuView): boolean {
    return binding.state === BIND["Bound"] && binding.hart === this.#indexOf(hart);
  }

  /** The next thing to do about the files of a TVM that is finalized: one command now, and perhaps steps for later. */
  manage(hart: Hart, tvm: TvmView, catchUp: Step[]): Step[] {
    const id: Value = `guest ${tvm.number}`;
    if (this.#random(8) === 0) return [() => this.#anyCall(hart, id)];
    const vcpu = this.#pick(tvm.vcpus);
    if (vcpu === undefined) return [];
    const { state, hart: old, nextHart } = vcpu.binding;
    const number = BigInt(vcpu.id);
    if (this.#random(3) === 0) {
      return [() => this.#covi(hart, "injectExternalInterrupt", id, number, this.#pick(IDENTITIES))];
    }
    const fence: Step = () => this.#covh(hart, "tvmInitiateFence", id);
    const on = (index: number, name: keyof typeof Covi): Step => {
      const there = this.#hartOf(index);
      return () => (this.#inHost(there) ? this.#covi(there, name, id, number) : undefined);
    };
    switch (state) {
      case BIND["Unbound"]:
        return this.bind(hart, id, vcpu.id, catchUp);
      case BIND["Bound"]:
        return this.#random(2) === 0
          ? [on(old, "unbindImsicBegin"), fence, on(old, "unbindImsicEnd")]
          : this.#rebind(hart, id, number, catchUp, on(old, "rebindImsicClone"), fence);
      case BIND["Unbinding"]:
        return [fence, on(old, "unbindImsicEnd")];
      case BIND["Rebinding"]:
        return [fence, on(old, "rebindImsicClone"), on(nextHart, "rebindImsicEnd")];
      default:
        return [on(nextHart, "rebindImsicEnd")];
    }
  }

  #rebind(hart: Hart, id: Value, vcpu: bigint, catchUp: Step[], clone: Step, fence: Step): Step[] {
    const files = this.#observer.files(hart);
    const file = files.find(({ fenced }) => fenced) ?? this.#pick(files);
    const convert: Step[] = file.fenced
      ? []
      : [() => this.#covi(hart, "convertImsic", file.gpa), () => this.#covh(hart, "initiateFence"), ...catchUp];
    return [
      ...convert,
      () => this.#covi(hart, "rebindImsicBegin", id, vcpu, 1n << BigInt(file.number)),
      fence,
      clone,
      () => this.#covi(hart, "rebindImsicEnd", id, vcpu),
    ];
  }

  #anyCall(hart: Hart, id: Value): Command {
    const files = this.#observer.files(hart);
    const name = this.#pick(Object.keys(Covi) as (keyof typeof Covi)[]);
    const file = this.#pick(files);
    if (name === "convertImsic" || name === "reclaimImsic") return this.#covi(hart, name, file.gpa);
    return this.#covi(hart, name, id, BigInt(this.#random(3)), 1n << BigInt(this.#random(files.length + 2)));
  }

  /** A file that is the host's own again, or is to be given away. */
  convertOrReclaim(hart: Hart): Command {
    const file = this.#pick(this.#observer.files(hart));
    const converted = isHosts(file) && file.state === PageState.Converted;
    return this.#covi(hart, converted ? "reclaimImsic" : "convertImsic", file.gpa);
  }

  /** The host's own file and the hypervisor CSRs that it has. */
  hostAccess(hart: Hart): Command {
    const csr = (number: number, value: bigint): Command => ({ hart: hart.index, do: "csr", csr: number, value });
    const files = this.#observer.files(hart);
    switch (this.#random(10)) {
      case 0:
        return csr(Csr.siselect, this.#pick([0x70n, 0x72n, 0x80n, 0xc0n, 0xc1n]));
      case 1:
        return csr(Csr.sireg, this.#pick([0n, 1n, 0x22n]));
      case 2:
        return csr(Csr.stopei, 0n);
      case 3:
        return csr(Csr.hie, this.#pick([0n, 0x1000n, 0x1444n]));
      case 4:
        return csr(Csr.hgeie, BigInt(this.#random(16)));
      case 5:
        return csr(Csr.hip, 0x1000n);
      case 6:
        return csr(Csr.hgatp, this.#pick([0n, (8n << 60n) | 5n, (9n << 60n) | (3n << 44n)]));
      case 7:
        return csr(Csr.sie, this.#pick([0x200n, 0x222n, 0n]));
      default: {
        // A message to a file: its own, or one that is perhaps a TVM's.
        const at = this.#random(2) === 0 || files.length === 0 ? this.#ownFile(hart) : this.#pick(files).gpa;
        return { hart: hart.index, do: "store", at, value: this.#pick(IDENTITIES), width: 4 };
      }
    }
  }

  #ownFile(hart: Hart): bigint {
    const { imsic } = this.#world.machine;
    return imsic ? BigInt(imsic.base + hart.index * imsic.stride) : TVM_IMSIC;
  }

  #indexOf(hart: Hart): number {
    return hart.record.number("index");
  }

  #hartOf(index: number): Hart {
    const { harts } = this.#world.machine;
    return harts.find((hart) => hart.threadPointer !== 0n && this.#indexOf(hart) === index) ?? harts[0];
  }

  #inHost(hart: Hart): boolean {
    return hart.state === "guest" && this.#world.vmOn(hart) === 0n;
  }
}

function isHosts({ owner }: FileView): boolean {
  return owner === 0;
}
