import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Checker } from "../../../machine/simulated/checker.ts";
import { GuestTrap, ecall, load, operations, store, wfi, writeCsr } from "../../../machine/simulated/guest-script.ts";
import type { GuestScript, Operation, Result } from "../../../machine/simulated/guest-script.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { run } from "../../../machine/simulated/run.ts";
import { randomNumbers, roundRobin, seededRandom } from "../../../machine/simulated/schedule.ts";
import { Covh, Eid, Hsm, Rfence, Sbi, errorName } from "../support/simulated/sbi.ts";

/**
 * Stories of several harts whose guests are scripts, played in many orders. Every entry into the hypervisor is checked; what
 * the guests see is asserted by the scripts themselves.
 */

const PAGE = 0x1000;
const HOST_CODE = 0x8020_0000;
/** Memory that the harts fight over, and memory of their own. */
const ARENA = 0x8080_0000;
const ARENA_PAGES = 8;
const DONATION = 0x8090_0000;
const NACL = 0x80a0_0000;
const TVM_MEMORY = 0x8000_0000;

type Step<T> = Generator<Operation, T, Result>;

function* covh(name: keyof typeof Covh, ...args: (number | bigint)[]): Step<{ error: bigint; value: bigint }> {
  return yield* ecall(Eid.covh, Covh[name], ...args);
}

function* must(name: keyof typeof Covh, ...args: (number | bigint)[]): Step<bigint> {
  const { error, value } = yield* covh(name, ...args);
  assert.equal(errorName(error), "success", name);
  return value;
}

/** Converts and fences until no hart of the host can reach the pages any more. */
function* donate(gpa: number, pages: number): Step<void> {
  yield* must("convertPages", gpa, pages);
  yield* completeFence();
}

/** A fence may have to wait for other harts, and for fences that they began. */
function* completeFence(): Step<void> {
  for (;;) {
    const { error } = yield* covh("initiateFence");
    if (error === Sbi.success) break;
    assert.equal(error, Sbi.alreadyStarted);
    yield* must("localFence");
  }
}

/** Tries a call until another hart's fence is complete. */
function* eventually(name: keyof typeof Covh, ...args: (number | bigint)[]): Step<bigint> {
  for (let tries = 0; ; tries++) {
    const { error, value } = yield* covh(name, ...args);
    if (error === Sbi.success) return value;
    assert(tries < 1000, `${name} never succeeds: ${errorName(error)}`);
    yield* must("localFence");
  }
}

function* start(id: number): Step<void> {
  assert.equal((yield* ecall(Eid.hsm, Hsm.start, id, HOST_CODE, 0)).error, Sbi.success);
}

/** A load that may find that the page was given away. */
function* tryLoad(gpa: number): Step<bigint | undefined> {
  try {
    return yield* load(gpa);
  } catch (error) {
    assert(error instanceof GuestTrap && error.cause === 5, String(error));
    return undefined;
  }
}

async function machineWith(scripts: GuestScript[], seed: number): Promise<Machine> {
  const machine = await Machine.create({
    options: { harts: scripts.map((_, index) => index * 3), cacheInvalid: seed % 2 === 1 },
  });
  scripts.forEach((script, id) => machine.script(0, id, script));
  machine.boot();
  Checker.attach(machine);
  return machine;
}

/** Plays the scripts until all have returned. */
function play(machine: Machine, seed: number, maxSteps = 20_000): void {
  const schedule = seed === 0 ? roundRobin() : seededRandom(seed);
  const end = run(machine, { schedule, maxSteps });
  assert("idle" in end, `the guests are not done: ${JSON.stringify(end)}`);
}

const seeds = [0, 1, 2, 3, 4, 5];

describe("convert and reclaim, with a hart that touches the pages all the time", () => {
  for (const seed of seeds) {
    test(`schedule ${seed}`, async () => {
      let finished = 0;
      const owner: GuestScript = function* () {
        yield* start(1);
        for (let round = 0; round < 6; round++) {
          const page = ARENA + (round % 3) * PAGE;
          yield* store(page, 8, round + 1);
          yield* must("convertPages", page, 2);
          // Until this hart fences it may still use the translation that it has.
          const early = yield* tryLoad(page);
          assert(early === undefined || early === BigInt(round + 1));
          yield* completeFence();
          assert.equal(yield* tryLoad(page), undefined);
          yield* eventually("reclaimPages", page, 2);
          assert.equal(yield* load(page), 0n);
        }
        finished++;
      };
      const toucher: GuestScript = function* () {
        const random = randomNumbers(seed);
        for (let round = 0; round < 60; round++) {
          const value = yield* tryLoad(ARENA + random(5) * PAGE);
          assert(value === undefined || value < 10n);
          if (random(4) === 0) yield* must("localFence");
        }
        // As long as a hart is in the host, fences wait for it.
        while (finished === 0) yield* must("localFence");
        finished++;
      };
      const machine = await machineWith([owner, toucher], seed);
      play(machine, seed);
      assert.equal(finished, 2);
    });
  }
});

describe("two harts that convert, fence and reclaim the same pages against each other", () => {
  for (const seed of seeds) {
    test(`schedule ${seed}`, async () => {
      const counts = { success: 0, refused: 0 };
      let finished = 0;
      const fighter = (id: number): GuestScript =>
        function* () {
          if (id === 0) yield* start(1);
          const random = randomNumbers(seed * 10 + id);
          for (let round = 0; round < 60; round++) {
            const first = random(ARENA_PAGES);
            const pages = 1 + random(ARENA_PAGES - first);
            const call = (["convertPages", "reclaimPages", "initiateFence", "localFence"] as const)[random(4)];
            const { error } = yield* covh(call, ARENA + first * PAGE, pages);
            if (error === Sbi.success) counts.success++;
            else counts.refused++;
            assert(
              ([Sbi.success, Sbi.invalidAddress, Sbi.alreadyStarted] as bigint[]).includes(error),
              errorName(error),
            );
            yield* tryLoad(ARENA + random(ARENA_PAGES) * PAGE);
          }
          finished++;
          while (finished < 2) yield* must("localFence");
        };
      const machine = await machineWith([fighter(0), fighter(1)], seed);
      play(machine, seed);
      assert(counts.success > 20 && counts.refused > 5, JSON.stringify(counts));
    });
  }
});

describe("a TVM with two vCPUs on two harts, whose memory comes and goes", () => {
  for (const seed of seeds) {
    test(`schedule ${seed}`, async () => {
      let tvm = 0n;
      let done = 0;
      const shared = TVM_MEMORY + 0x40_0000;
      const boss: GuestScript = function* () {
        tvm = yield* buildTvm(2);
        machine.script(tvm, 0, guest(0));
        machine.script(tvm, 1, guest(1));
        yield* start(1);
        yield* runVcpu(tvm, 0, NACL);
        done++;
        while (done < 2) yield* must("localFence");
        yield* eventually("tvmDestroy", tvm);
      };
      const helper: GuestScript = function* () {
        yield* writeCsr("sie", 2);
        while ((yield* ecall(Eid.nacl, 1, NACL + 0x10_0000, 0, 0)).error !== Sbi.success) yield* must("localFence");
        yield* runVcpu(tvm, 1, NACL + 0x10_0000);
        done++;
        while (done < 2) yield* must("localFence");
      };
      const guest = (id: number): GuestScript =>
        function* () {
          if (id === 0) assert.equal((yield* ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0)).error, Sbi.success);
          for (let round = 0; round < 8; round++) {
            // Each page is touched by both vCPUs; whoever comes first makes it come.
            const page = shared + round * PAGE;
            yield* store(page + 8 * id, 8, round * 2 + id + 1);
            const other = yield* load(page + 8 * (1 - id));
            assert(other === 0n || other === BigInt(round * 2 + (1 - id) + 1), `vCPU ${id} reads ${other}`);
            if (round % 3 === 0) yield* ecall(Eid.rfence, Rfence.sfenceVma, 0, -1, 0, -1);
            if (round % 4 === 1) yield* wfi();
          }
          yield operations.ecall(Eid.hsm, Hsm.stop);
        };
      const machine = await machineWith([boss, helper], seed);
      play(machine, seed, 40_000);
      assert.equal(done, 2);
    });
  }

  let nextDonation = DONATION;

  function* freshPages(pages: number, alignment = PAGE): Step<number> {
    nextDonation = Math.ceil(nextDonation / alignment) * alignment;
    const gpa = nextDonation;
    nextDonation += pages * PAGE;
    yield* donate(gpa, pages);
    return gpa;
  }

  function* buildTvm(vcpus: number): Step<bigint> {
    nextDonation = DONATION;
    given.clear();
    assert.equal((yield* ecall(Eid.nacl, 1, NACL, 0, 0)).error, Sbi.success);
    const directory = yield* freshPages(4, 4 * PAGE);
    const state = yield* freshPages(2);
    yield* store(ARENA, 8, directory);
    yield* store(ARENA + 8, 8, state);
    const id = yield* must("tvmCreate", ARENA, 16);
    yield* must("addMemoryRegion", id, TVM_MEMORY, 0x1000_0000);
    yield* must("addPageTablePages", id, yield* freshPages(8), 8);
    for (let vcpu = 0; vcpu < vcpus; vcpu++) yield* must("cpuCreate", id, vcpu, yield* freshPages(1));
    yield* must("addMeasuredPages", id, HOST_CODE, yield* freshPages(1), 0, 1, TVM_MEMORY);
    yield* must("tvmFinalize", id, TVM_MEMORY, 0);
    return id;
  }

  /** Runs a vCPU until it is off; gives it pages where it faults. */
  function* runVcpu(tvm: bigint, vcpu: number, nacl: number): Step<void> {
    for (;;) {
      const { error, value } = yield* covh("cpuRun", tvm, vcpu);
      if (error === Sbi.invalidState) {
        // Not started by its sibling yet.
        yield* must("localFence");
        continue;
      }
      assert.equal(errorName(error), "success");
      if (value === 1n) return;
      const cause = (yield operations.csrRead("scause")) as bigint;
      if (cause === 21n || cause === 23n) {
        const gpa = (yield* load(nacl + 0x1000 + 8 * 0x143)) << 2n;
        // The sibling's host may have been faster.
        if (given.has(gpa)) continue;
        given.add(gpa);
        yield* eventually("addZeroPages", tvm, yield* freshPages(1), 0, 1, gpa);
      } else if (cause === (1n << 63n) + 1n) {
        yield operations.csrWrite("sip", 0);
      }
    }
  }

  /** Pages of the TVM that have been given, or are being given. */
  const given = new Set<bigint>();
});
