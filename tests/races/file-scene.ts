import assert from "node:assert/strict";
import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import type { Hart } from "../../machine/simulated/hart.ts";
import { HypervisorState, PAGE, PageState } from "../../machine/simulated/hypervisor-state.ts";
import { RecordView, enumValues } from "../../machine/simulated/record-layout.ts";
import { TVM_MEMORY } from "../unit/support/simulated/cove-host.ts";
import type { CoveHost } from "../unit/support/simulated/cove-host.ts";
import { Covg, Covi, EVERY, Eid, Hsm, Rfence } from "../unit/support/simulated/sbi.ts";
import type { CoviName } from "../unit/support/simulated/sbi.ts";
import { tvmWithFiles } from "./page-scene.ts";
import { covh, covi, pick } from "./scene.ts";
import type { Choice, Random, Scene } from "./scene.ts";

/**
 * Hosts on all harts give guest interrupt files to the same few vCPUs, move them, take them back and inject interrupts, while vCPUs run, claim, and send each
 * other interrupts. Mostly a host does what the hypervisor's records say would succeed now: when its call is there, another hart has perhaps done it.
 */

const BIND = enumValues("vm/binding", "BindState");
const TVM_IMSIC = 0x2800_0000;
const STOPEI = 0x15c;
const IDENTITIES = [1, 5, 9, 63, 64, 255];
const TVMS = 2;
const VCPUS = 2;

export class FileScene implements Scene {
  static readonly options = { guestFiles: 3 };
  readonly operations = 60;
  #random: Random = () => 0;
  readonly #host: CoveHost;
  readonly #state: HypervisorState;
  readonly #tvms: bigint[];

  constructor(host: CoveHost) {
    this.#host = host;
    this.#state = host.checker.state;
    this.#tvms = Array.from({ length: TVMS }, () => tvmWithFiles(host));
    for (const tvm of this.#tvms) for (let vcpu = 0; vcpu < VCPUS; vcpu++) this.#allowAll(tvm, vcpu);
  }

  /** The vCPU lets its host inject every interrupt: it runs for that, and is unbound again. */
  #allowAll(tvm: bigint, vcpu: number): void {
    const host = this.#host;
    const must = (name: CoviName, ...args: (number | bigint)[]): void => {
      assert.equal(host.call(Eid.covi, Covi[name], ...args).error, 0n, name);
    };
    const file = this.#files(host.hart)[0];
    if (!file.fenced) {
      must("convertImsic", file.gpa);
      host.fence();
    }
    must("bindImsic", tvm, vcpu, 1 << file.number);
    host.enter(tvm, vcpu);
    // The first one starts the next one, of which its host is told.
    if (vcpu + 1 < VCPUS) {
      assert("switched" in host.perform(operations.ecall(Eid.hsm, Hsm.start, vcpu + 1, TVM_MEMORY, 0)));
      host.runResult();
      host.enter(tvm, vcpu);
    }
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.allowExternalInterrupt, EVERY)));
    host.runResult();
    must("unbindImsicBegin", tvm, vcpu);
    host.must("tvmInitiateFence", tvm);
    must("unbindImsicEnd", tvm, vcpu);
  }

  check(): void {
    // Nothing but what the checker knows.
  }

  begin(random: Random): void {
    this.#random = random;
  }

  host(hart: Hart): Choice {
    const random = this.#random;
    const tvm = pick(random, this.#tvms);
    const vcpu = random(VCPUS);
    const choice = random(100);
    if (choice < 60) return this.#sensible(hart, tvm, vcpu);
    if (choice < 75) return covi("injectExternalInterrupt", tvm, vcpu, pick(random, IDENTITIES));
    if (choice < 82) return covh("localFence");
    if (choice < 85) return covh("initiateFence");
    if (choice < 88) return covi("reclaimImsic", pick(random, this.#files(hart)).gpa);
    if (choice < 91) return ["rfence", operations.ecall(Eid.rfence, Rfence.sfenceVma, 0, -1, 0, 0)];
    if (choice < 92) return covh("tvmDestroy", tvm);
    const name = pick(random, Object.keys(Covi) as CoviName[]);
    if (name === "convertImsic" || name === "reclaimImsic") return covi(name, pick(random, this.#files(hart)).gpa);
    return covi(name, tvm, vcpu, 1 << random(4));
  }

  /** What comes next for the vCPU's file, as far as it can be done on this hart. */
  #sensible(hart: Hart, tvm: bigint, vcpu: number): Choice {
    const random = this.#random;
    const binding = this.#binding(tvm, vcpu);
    const here = hart.record.number("index");
    const fence = (): Choice => covh("tvmInitiateFence", tvm);
    switch (binding?.state) {
      case undefined:
      case BIND["Unbound"]:
        return this.#withFile(hart, (mask) => covi("bindImsic", tvm, vcpu, mask));
      case BIND["Bound"]:
        if (binding.hart !== here) {
          return this.#withFile(hart, (mask) => covi("rebindImsicBegin", tvm, vcpu, mask));
        }
        return random(4) === 0 ? covi("unbindImsicBegin", tvm, vcpu) : covh("cpuRun", tvm, vcpu);
      case BIND["Unbinding"]:
        return binding.hart === here && random(2) === 0 ? covi("unbindImsicEnd", tvm, vcpu) : fence();
      case BIND["Rebinding"]:
        return binding.hart === here && random(2) === 0 ? covi("rebindImsicClone", tvm, vcpu) : fence();
      default:
        return covi("rebindImsicEnd", tvm, vcpu);
    }
  }

  /** `use` of a file of the hart, or what makes one ready. */
  #withFile(hart: Hart, use: (mask: number) => Choice): Choice {
    const random = this.#random;
    const files = this.#files(hart);
    const ready = files.filter(({ fenced }) => fenced);
    if (ready.length > 0) return use(1 << pick(random, ready).number);
    const convertible = files.filter(({ state }) => state === PageState.Owned);
    if (convertible.length > 0 && random(3) === 0) return covi("convertImsic", pick(random, convertible).gpa);
    return random(2) === 0 ? covh("initiateFence") : covh("localFence");
  }

  #binding(tvm: bigint, vcpu: number): { state: number; hart: number } | undefined {
    const vm = this.#state.vms().find(({ id }) => id === tvm);
    const record = vm?.vcpus()[vcpu];
    if (!record) return undefined;
    const word = record.word("binding");
    return { state: Number(word & 0xffn), hart: Number((word >> 16n) & 0xffffn) };
  }

  /** The guest files of the hart that its host may give away, as the host numbers them. */
  #files(hart: Hart): { number: number; gpa: number; state: number; fenced: boolean }[] {
    const { machine } = this.#host;
    const { memory, root } = machine;
    const host = new RecordView(memory, "vm", root.number("host"));
    let oldest = host.number("version");
    for (const each of this.#state.hartRecords()) {
      if (each.word("enteredVm") === 0n) oldest = Math.min(oldest, each.number("enteredVersion"));
    }
    const mask = root.number("guestFileMask");
    const records = hart.record.number("fileRecords");
    const found = [];
    // The host's file n is the machine's n + 1; the machine's 1 is the host's own.
    for (let number = 1; mask >>> (number + 1) !== 0; number++) {
      const word = memory.read64(records + (number + 1) * 8);
      const state = Number(word & 15n);
      const gpa = machine.imsic!.base + hart.index * machine.imsic!.stride + number * PAGE;
      const unowned = ((word >> 4n) & 0xfffn) === 0n;
      found.push({
        number,
        gpa,
        state: unowned ? state : -1,
        fenced: unowned && state === PageState.Converted && Number(word >> 16n) < oldest,
      });
    }
    return found;
  }

  /** Claims what is pending, sends interrupts to the other vCPU, and comes back to the host. */
  tvm(): Operation {
    const random = this.#random;
    switch (random(8)) {
      case 0:
      case 1:
        return operations.csrWrite(STOPEI, 0);
      case 2:
      case 3:
        return operations.store(TVM_IMSIC + random(VCPUS) * PAGE, 4, pick(random, IDENTITIES));
      case 4:
        return operations.ecall(Eid.rfence, Rfence.sfenceVma, 0, -1, 0, 0);
      case 5: {
        const call = random(3) === 0 ? "denyExternalInterrupt" : "allowExternalInterrupt";
        return operations.ecall(Eid.covg, Covg[call], random(2) === 0 ? EVERY : pick(random, IDENTITIES));
      }
      default:
        return operations.wfi();
    }
  }
}
