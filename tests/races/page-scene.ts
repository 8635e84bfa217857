import assert from "node:assert/strict";
import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";
import { HOST_CODE, PAGE, TVM_MEMORY } from "../unit/support/simulated/cove-host.ts";
import type { CoveHost } from "../unit/support/simulated/cove-host.ts";
import { Covg, Covi, Eid, Pmu, Rfence, errorName } from "../unit/support/simulated/sbi.ts";
import { covh, pick } from "./scene.ts";
import type { Choice, Random, Scene } from "./scene.ts";

/** Every call of hosts that concerns the same few pages, TVMs, counters and wires, in any order: most calls fail, as another hart was faster. */

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
const MOST_TVMS = 4;
const TABLE_PAGES = 12;

export class PageScene implements Scene {
  static readonly options: Partial<MachineOptions> = { guestFiles: 3, counters: 4 };
  readonly operations: number = 30;
  protected random: Random = () => 0;
  protected readonly arena: number;
  readonly #params: number;
  readonly #files: number[];
  #tvms: bigint[] = [];
  readonly #firstTvms: readonly bigint[];

  constructor(host: CoveHost) {
    this.arena = host.take(ARENA_PAGES, 4 * PAGE);
    this.#params = host.take(1);
    this.#files = hostFiles(host);
    this.#firstTvms = [tvmWithFiles(host), host.buildTvm({ vcpus: 1, tables: TABLE_PAGES }).id];
    // For TvmCreate: a directory and state pages in the arena.
    host.store(this.#params, 8, this.arena);
    host.store(this.#params + 8, 8, this.arena + 4 * PAGE);
  }

  begin(random: Random): void {
    this.random = random;
    this.#tvms = [...this.#firstTvms];
  }

  check(): void {
    // Nothing but what the checker knows.
  }

  host(): Choice {
    const { random, arena } = this;
    const page = arena + random(ARENA_PAGES) * PAGE;
    const pages = 1 + random(3);
    const tvm = pick(random, this.#tvms);
    const vcpu = random(2);
    const gpa = TVM_MEMORY + random(TVM_PAGES) * PAGE;
    const covi = (fid: number, ...args: (number | bigint)[]): Choice => [
      COVI_NAMES[fid],
      operations.ecall(Eid.covi, fid, ...args),
    ];
    const file = this.#files.length > 0 ? pick(random, this.#files) : 0;
    const choices: (() => Choice)[] = [
      () => covh("convertPages", page, pages),
      () => covh("convertPages", arena, ARENA_PAGES),
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
      () => this.useDevices((page - arena) / PAGE),
      () => ["putchar", operations.ecall(Eid.putchar, 0, 0x41)],
    ];
    return pick(random, choices)();
  }

  /** What has a lock of its own, besides VMs: counters, the APLIC. `which` < ARENA_PAGES. */
  protected useDevices(which: number): Choice {
    const configure = [0, COUNTERS, AUTO_START, INSTRUCTIONS, 0];
    const choices: Choice[] = [
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

  /** Touches its memory, shares it, sends fences, and comes back to the host soon. */
  tvm(): Operation {
    const { random } = this;
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

const COVI_NAMES = Object.keys(Covi);

/** Guest files of the host: gpas of their pages. */
function hostFiles(host: CoveHost): number[] {
  const files: number[] = [];
  const vm = host.checker.state.vms().find(({ isHost }) => isHost)!;
  vm.walk(
    ({ gpa, hpa, size }) => {
      if (size === PAGE && hpa >= 0x2400_0000 && hpa < 0x3000_0000 && gpa % PAGE === 0) files.push(gpa);
    },
    () => {},
  );
  return files;
}

/** A TVM with two vCPUs that have interrupt files. */
export function tvmWithFiles(host: CoveHost): bigint {
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
