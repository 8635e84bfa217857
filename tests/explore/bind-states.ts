import assert from "node:assert/strict";
import type { DoorReplacement } from "../../machine/simulated/door.ts";
import { GuestDriver } from "../../machine/simulated/guest-driver.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import { operations } from "../../machine/simulated/guest-script.ts";
import { HypervisorState, PAGE, PageState, unpackRecord } from "../../machine/simulated/hypervisor-state.ts";
import { MiB, RAM_BASE } from "../../machine/simulated/machine-options.ts";
import type { MachineState } from "../../machine/simulated/machine.ts";
import { CoveHost, HOST_CODE, TVM_MEMORY } from "../unit/support/simulated/cove-host.ts";
import type { Tvm } from "../unit/support/simulated/cove-host.ts";
import { Covg, Covh, Covi, Eid, Hsm, Sbi, errorName } from "../unit/support/simulated/sbi.ts";

/**
 * All that can happen to the interrupt files of two vCPUs, three guest files and two harts: a model that knows the rules of docs/abi.md and nothing of
 * the code, and the hypervisor on the simulated machine, go through every state that calls, injected interrupts, interrupts between vCPUs and runs lead
 * to. Each answer must be the model's, and each interrupt that was sent must be pending somewhere until its vCPU has claimed it, once.
 */

const HARTS = 2;
const VCPUS = 2;
/** Hart and number (the host's) of each file. */
const FILES = [
  { hart: 0, number: 1 },
  { hart: 0, number: 2 },
  { hart: 1, number: 1 },
] as const;
/** gpa of the file of TVM vCPU 0; the others follow. */
const GUEST_FILES = 0x2800_0000;
/** Identities: one that the host injects, one that the other vCPU sends; both only to vCPU 0, so that there is an end to the states. */
const RECEIVER = 0;
const INJECTED = 3;
const SENT = 5;
const ENABLED = (1n << BigInt(INJECTED)) | (1n << BigInt(SENT));
const Irq = { eidelivery: 0x70, eie: 0xc0 } as const;

type FileState = "host" | "converted" | "fenced" | "used";
type BindState = "unbound" | "bound" | "unbinding" | "rebinding" | "cloned";

interface VcpuModel {
  state: BindState;
  /** Index of the file (the old one while there are two), and of the next one; -1 none. */
  file: number;
  next: number;
  /** A TvmInitiateFence since the last begin. */
  fenced: boolean;
  /** Identities that are pending, in ascending order. */
  pending: number[];
  /** Those of them that came since the file began to leave: they lie elsewhere than what was pending before. */
  late: number[];
}

interface Model {
  files: FileState[];
  vcpus: VcpuModel[];
}

type Event =
  | { do: "convert" | "reclaim"; file: number }
  | { do: "fence" | "tvmFence" }
  | { do: "bind" | "rebindImsicBegin"; hart: number; vcpu: number; file: number }
  | {
      do: "unbindImsicBegin" | "unbindImsicEnd" | "rebindImsicClone" | "rebindImsicEnd" | "run" | "send";
      hart: number;
      vcpu: number;
    }
  | { do: "inject"; vcpu: number };

const EVENTS: Event[] = [
  ...FILES.flatMap((_, file): Event[] => [
    { do: "convert", file },
    { do: "reclaim", file },
  ]),
  { do: "fence" },
  { do: "tvmFence" },
  ...vcpuEvents(),
];

function vcpuEvents(): Event[] {
  const events: Event[] = [];
  for (let vcpu = 0; vcpu < VCPUS; vcpu++) {
    if (vcpu === RECEIVER) events.push({ do: "inject", vcpu });
    for (let hart = 0; hart < HARTS; hart++) {
      for (const name of [
        "unbindImsicBegin",
        "unbindImsicEnd",
        "rebindImsicClone",
        "rebindImsicEnd",
        "run",
        "send",
      ] as const) {
        if (name !== "send" || vcpu !== RECEIVER) events.push({ do: name, hart, vcpu });
      }
      FILES.forEach((place, file) => {
        if (place.hart !== hart) return;
        events.push({ do: "bind", hart, vcpu, file }, { do: "rebindImsicBegin", hart, vcpu, file });
      });
    }
  }
  return events;
}

// ---- the rules

/** What the event answers; `model` is changed if that is "success". Undefined: the event makes no sense here. */
function predict(model: Model, event: Event): string | undefined {
  const { files, vcpus } = model;
  switch (event.do) {
    case "convert":
      if (files[event.file] !== "host") return "invalidAddress";
      files[event.file] = "converted";
      return "success";
    case "reclaim":
      if (files[event.file] !== "fenced") return "invalidAddress";
      files[event.file] = "host";
      return "success";
    case "fence":
      files.forEach((state, index) => state === "converted" && (files[index] = "fenced"));
      return "success";
    case "tvmFence":
      for (const vcpu of vcpus) vcpu.fenced ||= vcpu.state === "unbinding" || vcpu.state === "rebinding";
      return "success";
    case "inject":
      addPending(vcpus[event.vcpu], INJECTED);
      return "success";
    default:
      return predictBinding(model, event);
  }
}

function predictBinding({ files, vcpus }: Model, event: Event & { hart: number; vcpu: number }): string | undefined {
  const vcpu = vcpus[event.vcpu];
  const here = vcpu.file >= 0 && FILES[vcpu.file].hart === event.hart;
  switch (event.do) {
    case "bind":
      if (vcpu.state !== "unbound") return "invalidState";
      if (files[event.file] !== "fenced") return "invalidAddress";
      files[event.file] = "used";
      Object.assign(vcpu, { state: "bound", file: event.file });
      return "success";
    case "unbindImsicBegin":
      if (vcpu.state !== "bound" || !here) return "invalidState";
      Object.assign(vcpu, { state: "unbinding", fenced: false });
      return "success";
    case "unbindImsicEnd":
      if (vcpu.state !== "unbinding" || !here) return "invalidState";
      if (!vcpu.fenced) return "invalidAddress";
      files[vcpu.file] = "fenced";
      Object.assign(vcpu, { state: "unbound", file: -1, fenced: false, late: [] });
      return "success";
    case "rebindImsicBegin":
      if (vcpu.state !== "bound") return "invalidState";
      if (files[event.file] !== "fenced") return "invalidAddress";
      files[event.file] = "used";
      Object.assign(vcpu, { state: "rebinding", next: event.file, fenced: false });
      return "success";
    case "rebindImsicClone":
      if (vcpu.state !== "rebinding" || !here) return "invalidState";
      if (!vcpu.fenced) return "invalidAddress";
      files[vcpu.file] = "fenced";
      Object.assign(vcpu, { state: "cloned", file: -1, fenced: false });
      return "success";
    case "rebindImsicEnd":
      if (vcpu.state !== "cloned" || FILES[vcpu.next].hart !== event.hart) return "invalidState";
      Object.assign(vcpu, { state: "bound", file: vcpu.next, next: -1, late: [] });
      return "success";
    case "run":
      if (vcpu.state !== "bound" || !here) return "invalidState";
      vcpu.pending = [];
      return "success";
    default: {
      // Who cannot run cannot send, and what nobody receives is a fault, which is another test's.
      const other = vcpus[1 - event.vcpu];
      if (vcpu.state !== "bound" || !here) return undefined;
      if (other.state === "unbound" || other.state === "unbinding") return undefined;
      addPending(other, SENT);
      return "success";
    }
  }
}

function addPending(vcpu: VcpuModel, identity: number): void {
  const withIt = (identities: number[]): number[] => [...new Set([...identities, identity])].sort((a, b) => a - b);
  vcpu.pending = withIt(vcpu.pending);
  if (vcpu.state !== "unbound" && vcpu.state !== "bound") vcpu.late = withIt(vcpu.late);
}

// ---- the hypervisor

/** A state that can be gone back to: the harts, and the memory that calls change. */
interface Saved {
  harts: MachineState;
  memory: Uint8Array;
}

class BindWorld {
  readonly host: CoveHost;
  readonly tvm: Tvm;
  readonly #drivers: GuestDriver[];
  /** Ranges of memory that can change. */
  readonly #changing: { at: number; size: number }[] = [];
  readonly #bytes: number;

  private constructor(host: CoveHost, tvm: Tvm, drivers: GuestDriver[]) {
    this.host = host;
    this.tvm = tvm;
    this.#drivers = drivers;
    const { state } = host.checker;
    const records = state.rawRecords();
    const nacl = new Set(
      state
        .vms()
        .flatMap((vm) => vm.vcpus().flatMap((vcpu) => [0, 1, 2].map((i) => vcpu.number("naclHpa") + i * PAGE))),
    );
    for (let page = 0; page < state.pages; page++) {
      const record = unpackRecord(records[page * 2], records[page * 2 + 1]);
      const at = state.pageAddress(page);
      const idle = record.state === PageState.Reserved || (record.state === PageState.Owned && record.owner === 0);
      if (idle && !nacl.has(at)) continue;
      const last = this.#changing.at(-1);
      if (last && last.at + last.size === at) last.size += PAGE;
      else this.#changing.push({ at, size: PAGE });
    }
    this.#bytes = this.#changing.reduce((sum, { size }) => sum + size, 0);
    host.machine.afterEntry.length = 0;
  }

  static async boot(door?: DoorReplacement): Promise<BindWorld> {
    const options = {
      ram: [{ base: RAM_BASE, size: 16 * MiB }],
      hostImage: { base: RAM_BASE + 6 * MiB, bytes: new Uint8Array(16).fill(1) },
      harts: [0, 1],
      guestFiles: 3,
      interruptIdentities: 63,
      vlenb: 0,
    };
    const host = await CoveHost.boot({ options, door });
    const second = new GuestDriver(host.machine, 1);
    assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
    while (host.machine.canStep(second.hart)) second.step();
    host.registerNacl();
    assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
    const tvm = host.buildTvm({ vcpus: VCPUS, finalize: false });
    giveInterruptFiles(host, tvm);
    host.must("tvmFinalize", tvm.id, TVM_MEMORY, 0);
    const world = new BindWorld(host, tvm, [host, second]);
    world.#prepare();
    return world;
  }

  /** Both vCPUs have been started, allow their host's interrupt and enable both; nothing is bound. */
  #prepare(): void {
    const { host } = this;
    const must = (fid: number, ...args: number[]): void =>
      assert.equal(errorName(host.call(Eid.covi, fid, ...args).error), "success", `COVI ${fid}`);
    must(Covi.convertImsic, this.filePage(0));
    host.fence();
    for (let vcpu = 0; vcpu < VCPUS; vcpu++) {
      must(Covi.bindImsic, Number(this.tvm.id), vcpu, 1 << 1);
      host.enter(this.tvm, vcpu);
      if (vcpu === 0) {
        assert("switched" in host.perform(operations.ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0)));
        host.runResult();
        host.enter(this.tvm, 0);
        assert("done" in host.resume());
      }
      assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.allowExternalInterrupt, INJECTED)));
      host.runResult();
      host.enter(this.tvm, vcpu);
      assert("done" in host.resume());
      for (const [register, value] of [
        [Irq.eidelivery, 1n],
        [Irq.eie, ENABLED],
      ] as const) {
        host.writeCsr("siselect", register);
        host.writeCsr("sireg", value);
      }
      host.leaveTvm();
      must(Covi.unbindImsicBegin, Number(this.tvm.id), vcpu);
      host.must("tvmInitiateFence", this.tvm.id);
      must(Covi.unbindImsicEnd, Number(this.tvm.id), vcpu);
    }
    must(Covi.reclaimImsic, this.filePage(0));
  }

  /** gpa of the page of file `index` in the host's address space. */
  filePage(index: number): number {
    const imsic = this.host.machine.imsic!;
    return imsic.base + FILES[index].hart * imsic.stride + FILES[index].number * PAGE;
  }

  save(): Saved {
    const memory = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const { at, size } of this.#changing) {
      memory.set(this.host.machine.memory.bytes.subarray(at, at + size), offset);
      offset += size;
    }
    return { harts: this.host.machine.saveHarts(), memory };
  }

  restore(saved: Saved): void {
    let offset = 0;
    for (const { at, size } of this.#changing) {
      this.host.machine.memory.bytes.set(saved.memory.subarray(offset, offset + size), at);
      offset += size;
    }
    this.host.machine.restore(saved.harts);
  }

  /** Does what the event says; the name of the answer, and what a run claimed. */
  perform(event: Event): { answer: string; claimed: number[] } {
    const { host, tvm } = this;
    const covi = (driver: GuestDriver, fid: number, ...args: (number | bigint)[]) => ({
      answer: errorName(driver.ecall(Eid.covi, fid, ...args).error),
      claimed: [],
    });
    switch (event.do) {
      case "convert":
        return covi(host, Covi.convertImsic, this.filePage(event.file));
      case "reclaim":
        return covi(host, Covi.reclaimImsic, this.filePage(event.file));
      case "fence":
        host.fence();
        return { answer: "success", claimed: [] };
      case "tvmFence":
        return { answer: errorName(host.covh("tvmInitiateFence", tvm.id).error), claimed: [] };
      case "inject":
        return covi(host, Covi.injectExternalInterrupt, tvm.id, event.vcpu, INJECTED);
      case "bind":
      case "rebindImsicBegin":
        return covi(
          this.#drivers[event.hart],
          event.do === "bind" ? Covi.bindImsic : Covi.rebindImsicBegin,
          tvm.id,
          event.vcpu,
          1 << FILES[event.file].number,
        );
      case "run":
        return this.#run(event.hart, event.vcpu, (driver) => {
          const claimed: number[] = [];
          for (;;) {
            const top = Number(driver.complete(operations.csrWrite("stopei", 0))) >> 16;
            if (top === 0) return claimed;
            claimed.push(top);
          }
        });
      case "send":
        return this.#run(event.hart, event.vcpu, (driver) => {
          driver.store(GUEST_FILES + (1 - event.vcpu) * PAGE, 4, SENT);
          return [];
        });
      default: {
        const fid = Covi[event.do];
        return covi(this.#drivers[event.hart], fid, tvm.id, event.vcpu);
      }
    }
  }

  /** The vCPU runs on that hart, does something, and waits for an interrupt. */
  #run(hart: number, vcpu: number, action: (driver: GuestDriver) => number[]) {
    const driver = this.#drivers[hart];
    const outcome = driver.perform(operations.ecall(Eid.covh, Covh.cpuRun, this.tvm.id, vcpu));
    if ("done" in outcome) return { answer: errorName((outcome.done as { error: bigint }).error), claimed: [] };
    assert("switched" in outcome);
    // The wfi that it left with is over.
    if (driver.context.pending) assert("done" in driver.resume());
    const claimed = action(driver);
    // What others send it meanwhile ends the wait; it does not wait then.
    const wait: Operation = operations.wfi();
    let left = driver.perform(wait);
    while (!("switched" in left)) left = driver.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0));
    assert("done" in driver.resume());
    return { answer: "success", claimed };
  }

  /** What is where, as the hypervisor's records and the hardware have it: compared with the model. */
  check(model: Model): void {
    const { machine } = this.host;
    const state = new HypervisorState(machine.memory, machine.root);
    const vm = state.vms().find(({ isHost }) => !isHost)!;
    const used = new Set<number>();
    model.vcpus.forEach((expected, id) => {
      const vcpu = vm.vcpus().find((candidate) => candidate.number("id") === id)!;
      const word = vcpu.word("binding");
      const names: BindState[] = ["unbound", "bound", "unbinding", "rebinding", "cloned"];
      assert.equal(names[Number(word & 0xffn)], expected.state, `bind state of vCPU ${id}`);
      const interrupts = vcpu.number("interrupts");
      let pending = machine.memory.read64(interrupts);
      let enabled =
        expected.state === "unbound" || expected.state === "cloned" ? machine.memory.read64(interrupts + 256) : 0n;
      for (const file of [expected.file, expected.next]) {
        if (file < 0) continue;
        used.add(file);
        const hardware = this.#file(file);
        pending |= hardware.pending;
        if (expected.state === "bound") {
          enabled = hardware.enabled;
          assert.equal(hardware.delivery, 1n, `delivery of vCPU ${id}`);
        }
      }
      const identities = [...Array(64).keys()].filter((bit) => ((pending >> BigInt(bit)) & 1n) !== 0n);
      assert.deepEqual(identities, expected.pending, `pending interrupts of vCPU ${id}`);
      if (["unbound", "cloned", "bound"].includes(expected.state))
        assert.equal(enabled, ENABLED, `enables of vCPU ${id}`);
    });
    FILES.forEach((place, file) => {
      const at = Number(machine.harts[place.hart].record.word("fileRecords")) + (place.number + 1) * 8;
      const word = machine.memory.read64(at);
      const record = unpackRecord(Number(word & 0xffff_ffffn), Number(word >> 32n));
      const isUsed = model.files[file] === "used";
      const expected = model.files[file] === "host" || isUsed ? PageState.Owned : PageState.Converted;
      assert.equal(record.state, expected, `record of file ${file}`);
      assert.equal(record.owner !== 0, isUsed, `owner of file ${file}`);
      assert.equal(used.has(file), isUsed);
      if (!isUsed) assert.equal(this.#file(file).pending, 0n, `file ${file}, which nobody has, has something pending`);
    });
  }

  #file(index: number) {
    const { hart, number } = FILES[index];
    return this.host.machine.imsic!.harts[hart].guest(number + 1)!;
  }
}

/** TvmAiaInit and an address for each vCPU. */
export function giveInterruptFiles(host: CoveHost, tvm: Tvm): void {
  const params = host.take(1);
  host.store(params, 8, GUEST_FILES);
  host.store(params + 8, 8, 24n << 32n);
  host.store(params + 16, 8, 8);
  host.store(params + 24, 8, 0);
  assert.equal(errorName(host.call(Eid.covi, Covi.tvmAiaInit, tvm.id, params, 32).error), "success");
  for (let vcpu = 0; vcpu < tvm.vcpus; vcpu++) {
    const gpa = GUEST_FILES + vcpu * PAGE;
    assert.equal(errorName(host.call(Eid.covi, Covi.setImsicAddress, tvm.id, vcpu, gpa).error), "success");
  }
}

export interface BindReport {
  states: number;
  transitions: number;
  refused: number;
  depth: number;
  /** Nothing new was left. */
  complete: boolean;
}

/** Goes through all states, breadth first, for at most so many seconds of processor time. A difference is an error with the events that lead to it. */
export async function exploreBindStates(seconds: number, door?: DoorReplacement): Promise<BindReport> {
  const world = await BindWorld.boot(door);
  const start: Model = {
    files: FILES.map(() => "host"),
    vcpus: Array.from({ length: VCPUS }, () => ({
      state: "unbound",
      file: -1,
      next: -1,
      fenced: false,
      pending: [],
      late: [],
    })),
  };
  world.check(start);
  interface Node {
    model: Model;
    saved: Saved | undefined;
    path: Event[];
  }
  const nodes: Node[] = [{ model: start, saved: world.save(), path: [] }];
  const found = new Set([JSON.stringify(start)]);
  const report: BindReport = { states: 1, transitions: 0, refused: 0, depth: 0, complete: true };
  const began = process.cpuUsage();
  for (let next = 0; next < nodes.length; next++) {
    const node = nodes[next];
    const { user, system } = process.cpuUsage(began);
    if (user + system > seconds * 1e6) {
      report.complete = false;
      break;
    }
    let changed = true;
    for (const event of EVENTS) {
      const model = structuredClone(node.model);
      const expected = predict(model, event);
      if (expected === undefined) continue;
      // What was refused has changed nothing, as has just been checked.
      if (changed) world.restore(node.saved!);
      changed = expected === "success";
      const path = [...node.path, event];
      try {
        const { answer, claimed } = world.perform(event);
        assert.equal(answer, expected);
        if (event.do === "run" && answer === "success") assert.deepEqual(claimed, node.model.vcpus[event.vcpu].pending);
        world.check(model);
      } catch (error) {
        const steps = path.map((step) => JSON.stringify(step)).join("\n  ");
        throw new Error(`${(error as Error).message}\nafter:\n  ${steps}`, { cause: error });
      }
      report.transitions++;
      if (expected !== "success") {
        report.refused++;
        continue;
      }
      const key = JSON.stringify(model);
      if (found.has(key)) continue;
      found.add(key);
      report.states++;
      report.depth = Math.max(report.depth, path.length);
      nodes.push({ model, saved: world.save(), path });
    }
    // What leads on from here is found.
    node.saved = undefined;
  }
  return report;
}
