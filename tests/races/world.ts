import assert from "node:assert/strict";
import type { Ending, GuestContext } from "../../machine/simulated/guest-context.ts";
import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation, SbiResult } from "../../machine/simulated/guest-script.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import type { DoorReplacement } from "../../machine/simulated/door.ts";
import { Interleaver } from "../../machine/simulated/interleaver.ts";
import type { InterleaverOptions } from "../../machine/simulated/interleaver.ts";
import { playRaces } from "../../machine/simulated/races.ts";
import type { RaceResult } from "../../machine/simulated/races.ts";
import { randomNumbers } from "../../machine/simulated/schedule.ts";
import { CoveHost, PAGE, TVM_MEMORY } from "../unit/support/simulated/cove-host.ts";
import { Covg, Covh, Eid, Hsm, Pmu, Rfence, errorName } from "../unit/support/simulated/sbi.ts";
import type { CovhName } from "../unit/support/simulated/sbi.ts";

/**
 * Hosts on two to four harts and TVMs on all of them, whose calls are about the same few pages, vCPUs and interrupt files, so that they meet inside the
 * hypervisor. Everything follows from the seed.
 */

const HOST_CODE = 0x8020_0000;
const ARENA_PAGES = 8;
const TVM_PAGES = 4;
/** SOURCECFG and TARGET of the first source of the APLIC. */
const APLIC_SOURCE = 0x0d00_0004;
const APLIC_TARGET = 0x0d00_3004;
/** Counters of the PMU, and what it shall count: PMU extension of the SBI. */
const COUNTERS = 0b1111101;
const AUTO_START = 4;
const STOP_RESET = 1;
const INSTRUCTIONS = 2;
/** Where TVMs have their interrupt files. */
const TVM_IMSIC = 0x2800_0000;
const OPERATIONS = 30;
const MOST_TVMS = 4;
const TABLE_PAGES = 12;

export interface RaceSetup {
  harts?: number;
  module?: HypervisorModule;
  door?: DoorReplacement;
  interleaver?: InterleaverOptions;
}

export interface RaceTally {
  /** Calls that succeeded and failed, by name. */
  successes: Record<string, number>;
  errors: Record<string, number>;
  /** Operations of TVMs. */
  tvmOperations: number;
}

export class RaceWorld {
  readonly tally: RaceTally = { successes: {}, errors: {}, tvmOperations: 0 };
  readonly #host: CoveHost;
  readonly #setup: RaceSetup;
  readonly #interleaver: Interleaver;
  readonly #arena: number;
  readonly #params: number;
  readonly #nacl: number;
  readonly #files: number[];
  #tvms: bigint[];
  readonly #firstTvms: readonly bigint[];
  readonly #calls = new Map<string, { name: string; left: number; then: ((value: bigint) => void) | undefined }>();
  #random: (limit: number) => number = () => 0;

  static async boot(setup: RaceSetup = {}): Promise<RaceWorld> {
    const harts = Array.from({ length: setup.harts ?? 2 }, (_, index) => index * 3);
    const { module, door } = setup;
    const options = { harts, guestFiles: 3, counters: 4 };
    return new RaceWorld(
      await CoveHost.boot({ options, ...(module ? { module } : {}), ...(door ? { door } : {}) }),
      setup,
    );
  }

  private constructor(host: CoveHost, setup: RaceSetup) {
    this.#host = host;
    this.#setup = setup;
    const { machine } = host;
    for (let id = 1; id < machine.harts.length; id++) {
      assert.equal(host.call(Eid.hsm, Hsm.start, id, HOST_CODE, 0).error, 0n);
      const hart = machine.harts[id];
      for (let tries = 0; tries < 10 && machine.canStep(hart); tries++) machine.step(hart);
      assert.equal(hart.state, "guest");
    }
    this.#arena = host.take(ARENA_PAGES, 4 * PAGE);
    this.#params = host.take(1);
    this.#nacl = host.take(3 * machine.harts.length);
    this.#files = this.#hostFiles();
    this.#firstTvms = [this.#tvmWithFiles(), host.buildTvm({ vcpus: 1, tables: TABLE_PAGES }).id];
    // For TvmCreate: a directory and state pages in the arena.
    host.store(this.#params, 8, this.#arena);
    host.store(this.#params + 8, 8, this.#arena + 4 * PAGE);
    this.#tvms = [...this.#firstTvms];
    host.save("start");
    this.#interleaver = new Interleaver(machine, setup.interleaver);
    host.checker.paused = true;
  }

  /** Guest files of the host: gpas of their pages. */
  #hostFiles(): number[] {
    const files: number[] = [];
    const vm = this.#host.checker.state.vms().find(({ isHost }) => isHost)!;
    vm.walk(
      ({ gpa, hpa, size }) => {
        if (size === PAGE && hpa >= 0x2400_0000 && hpa < 0x3000_0000 && gpa % PAGE === 0) files.push(gpa);
      },
      () => {},
    );
    return files;
  }

  /** A TVM with two vCPUs that have interrupt files. */
  #tvmWithFiles(): bigint {
    const host = this.#host;
    const id = host.createTvm();
    host.must("addMemoryRegion", id, TVM_MEMORY, 0x4000_0000);
    host.must("addPageTablePages", id, host.donated(TABLE_PAGES), TABLE_PAGES);
    const params = host.take(1);
    host.store(params, 8, TVM_IMSIC);
    host.store(params + 12, 4, 24);
    host.store(params + 16, 4, 2);
    assert.equal(errorName(host.call(Eid.covi, 0, id, params, 32).error), "success");
    for (let vcpu = 0; vcpu < 2; vcpu++) {
      host.must("cpuCreate", id, vcpu, host.donated(host.info().vcpuPages));
      assert.equal(errorName(host.call(Eid.covi, 1, id, vcpu, TVM_IMSIC + vcpu * PAGE).error), "success");
    }
    host.must("addMeasuredPages", id, HOST_CODE, host.donated(1), 0, 1, TVM_MEMORY);
    host.must("tvmFinalize", id, TVM_MEMORY, 0);
    return id;
  }

  /** Plays one run. Everything that goes wrong is an error with the seed. */
  async play(seed: number): Promise<RaceResult> {
    const { machine, checker } = this.#host;
    machine.entryPlayer = undefined;
    this.#host.restore("start");
    machine.entryPlayer = this.#interleaver;
    this.#random = randomNumbers(seed ^ 0x5a1);
    this.#calls.clear();
    this.#tvms = [...this.#firstTvms];
    try {
      const actor = (context: GuestContext, ending: Ending | undefined) => this.#act(context, ending);
      return await playRaces(this.#interleaver, { seed, actor, checker });
    } catch (error) {
      const again = `salus race --harts ${this.#setup.harts ?? 2} --seed ${seed} --runs 1`;
      if (error instanceof Error) error.message = `seed ${seed} (again: ${again}): ${error.message}`;
      throw error;
    }
  }

  #act(context: GuestContext, ending: Ending | undefined): Operation | undefined {
    return context.isHost ? this.#actHost(context, ending) : this.#actTvm();
  }

  #actHost(context: GuestContext, ending: Ending | undefined): Operation | undefined {
    const state = this.#calls.get(context.key) ?? { name: "", left: OPERATIONS, then: undefined };
    this.#calls.set(context.key, state);
    if (state.name !== "" && ending && "done" in ending && typeof ending.done === "object") {
      const { error, value } = ending.done as SbiResult;
      const counts = error === 0n ? this.tally.successes : this.tally.errors;
      counts[state.name] = (counts[state.name] ?? 0) + 1;
      if (error === 0n) state.then?.(value);
    }
    state.name = "";
    state.then = undefined;
    if (state.left === OPERATIONS) {
      state.left--;
      return operations.ecall(Eid.nacl, 1, this.#nacl + context.id * 3 * PAGE, 0, 0);
    }
    if (state.left === 0) return undefined;
    state.left--;
    const [name, operation, then] = this.#choose();
    state.name = name;
    state.then = then;
    return operation;
  }

  #choose(): [name: string, operation: Operation, then?: (value: bigint) => void] {
    const random = this.#random;
    const pick = <T>(list: readonly T[]): T => list[random(list.length)];
    const page = this.#arena + random(ARENA_PAGES) * PAGE;
    const pages = 1 + random(3);
    const tvm = pick(this.#tvms);
    const vcpu = random(2);
    const gpa = TVM_MEMORY + random(TVM_PAGES) * PAGE;
    const covh = (name: CovhName, ...args: (number | bigint)[]): [string, Operation] => [
      name,
      operations.ecall(Eid.covh, Covh[name], ...args),
    ];
    const covi = (fid: number, ...args: (number | bigint)[]): [string, Operation] => [
      `covi ${fid}`,
      operations.ecall(Eid.covi, fid, ...args),
    ];
    const file = this.#files.length > 0 ? pick(this.#files) : 0;
    const choices: (() => [string, Operation, ((value: bigint) => void)?])[] = [
      () => covh("convertPages", page, pages),
      () => covh("convertPages", this.#arena, ARENA_PAGES),
      () => covh("reclaimPages", page, pages),
      () => covh("initiateFence"),
      () => covh("localFence"),
      () => covh("localFence"),
      () => ["", operations.load(page)],
      () => ["", operations.store(page, 8, random(100))],
      () => covh("cpuRun", tvm, vcpu),
      () => covh("cpuRun", tvm, vcpu),
      () => covh("cpuRun", tvm, vcpu),
      () => covh("addZeroPages", tvm, page, 0, 1, gpa),
      () => covh("addSharedPages", tvm, page, 0, 1, gpa),
      () => covh("blockPages", tvm, gpa, pages * PAGE),
      () => covh("unblockPages", tvm, gpa, pages * PAGE),
      () => covh("tvmInitiateFence", tvm),
      () => covh("removePages", tvm, gpa, pages * PAGE),
      () => covh("tvmDestroy", tvm),
      () => {
        const [name, operation] = covh("tvmCreate", this.#params, 16);
        return [name, operation, (id) => this.#tvms.length < MOST_TVMS && this.#tvms.push(id)];
      },
      () => covh("addMemoryRegion", tvm, TVM_MEMORY, 0x4000_0000),
      () => covh("addPageTablePages", tvm, page, 1),
      () => covh("cpuCreate", tvm, vcpu, page),
      () => covh("tvmFinalize", tvm, TVM_MEMORY, 0),
      () => covi(2, file),
      () => covi(3, file),
      () => covi(4, tvm, vcpu, 1 + random(7)),
      () => covi(5, tvm, vcpu),
      () => covi(6, tvm, vcpu),
      () => covi(7, tvm, vcpu, 1 + random(20)),
      () => covi(8, tvm, vcpu, 1 + random(7)),
      () => covi(9, tvm, vcpu),
      () => covi(10, tvm, vcpu),
      () => ["rfence", operations.ecall(Eid.rfence, Rfence.sfenceVma, 0, -1, 0, 0)],
      () => ["fence.i", operations.ecall(Eid.rfence, Rfence.fenceI, 0, -1)],
      () => ["ipi", operations.ecall(Eid.ipi, 0, 0, -1)],
      () => this.#useDevices((page - this.#arena) / PAGE),
      () => ["putchar", operations.ecall(Eid.putchar, 0, 0x41)],
    ];
    return pick(choices)();
  }

  /** What has a lock of its own, besides VMs: counters, the APLIC. `which` < ARENA_PAGES. */
  #useDevices(which: number): [string, Operation] {
    const configure = [0, COUNTERS, AUTO_START, INSTRUCTIONS, 0];
    const choices: [string, Operation][] = [
      ["base", operations.ecall(Eid.base, 0)],
      ["counters", operations.ecall(Eid.pmu, Pmu.configMatching, ...configure)],
      ["counters", operations.ecall(Eid.pmu, Pmu.configMatching, ...configure)],
      ["counters", operations.ecall(Eid.pmu, Pmu.stop, 0, COUNTERS, STOP_RESET)],
      ["counters", operations.ecall(Eid.pmu, Pmu.stop, 0, COUNTERS, STOP_RESET)],
      ["", operations.store(APLIC_TARGET, 4, 2)],
      ["", operations.store(APLIC_SOURCE, 4, 6)],
      ["", operations.store(APLIC_TARGET, 4, 1)],
    ];
    return choices[which];
  }

  /** Fields of records that are locks and were taken in any run. */
  get locksTaken(): ReadonlySet<string> {
    return this.#interleaver.locks.taken;
  }

  /** Touches its memory, shares it, sends fences, and comes back to the host soon. */
  #actTvm(): Operation {
    this.tally.tvmOperations++;
    const random = this.#random;
    const gpa = TVM_MEMORY + random(TVM_PAGES) * PAGE;
    switch (random(8)) {
      case 0:
      case 1:
        return operations.load(gpa);
      case 2:
        return operations.store(gpa, 8, 7);
      case 3:
        return operations.ecall(Eid.covg, Covg[random(2) === 0 ? "shareMemory" : "unshareMemory"], gpa, PAGE);
      case 4:
        return operations.ecall(Eid.rfence, Rfence.sfenceVma, 0, -1, 0, 0);
      case 5:
        return operations.ecall(Eid.base, 0);
      default:
        return operations.wfi();
    }
  }
}
