import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, describe, test } from "node:test";
import { hypervisorModule, hypervisorModuleOf } from "../../../machine/simulated/hypervisor-module.ts";
import type { HypervisorModule } from "../../../machine/simulated/hypervisor-module.ts";
import { Meter, weight } from "../../../machine/simulated/meter.ts";
import { METER, addMeter, meteredModule } from "../../../machine/simulated/metered-module.ts";
import { hypervisorSources, writeSources } from "../../../tools/coverage/sources.ts";
import { MACHINES } from "../../fuzz/machines.ts";
import { World } from "../../fuzz/world.ts";
import { worstJson } from "../../fuzz/worst-table.ts";
import { worstCases } from "../../fuzz/worst.ts";
import type { WorstCases } from "../../fuzz/worst.ts";
import { Covh, Eid } from "../support/simulated/sbi.ts";

/** Operations, and words moved, that no entry may need without a look at what is pending. The longest that is known is 512 pages zeroed without Zicboz. */
const BOUND = 330_000;
/** The same of a call that derives a key, once in the life of a VM; and while one of the two locks is held under which that is done: nobody waits for them who does not want the same key. */
const KEY_BOUND = 480_000;
const SEARCH = { seed: 1, seconds: 0, runs: 66 };

/** The same while a lock is held, which other harts may wait for. The longest that is known is a pass over 512 pages of a TVM that are to be blocked. */
const LOCK_BOUND = 80_000;
/** What a call on no range, which has no page to zero, may need, whatever its vCPU was doing before. */
const SMALL_BOUND = 4_000;
const SMALL = ["tsmGetInfo", "initiateFence", "localFence", "tvmInitiateFence", "addMemoryRegion"];

let found: WorstCases;
before(async () => {
  found = await worstCases(SEARCH);
});

const DERIVES = /\.evidence/;

/** The most of all calls that derive no key, with the call's name. */
function most({ calls }: WorstCases): [string, number] {
  const all = [...calls].map(([name, { stretch }]): [string, number] => [name, weight(stretch)]);
  assert(all.length > 100, `${all.length} entries of hosts and TVMs`);
  return all.filter(([name]) => !DERIVES.test(name)).reduce((a, b) => (a[1] >= b[1] ? a : b));
}

describe("between two looks at what is pending", () => {
  test("a bounded amount of work is done", () => {
    const [name, amount] = most(found);
    assert(amount <= BOUND, `${name}: ${amount}`);
    // A search that gets nowhere bounds nothing.
    assert(amount > BOUND / 2, `${name}: ${amount}`);
  });

  test("one key is derived", () => {
    const evidence = [...found.calls].filter(([name]) => DERIVES.test(name));
    assert(evidence.length > 0);
    for (const [name, { stretch }] of evidence) assert(weight(stretch) <= KEY_BOUND, `${name}: ${weight(stretch)}`);
  });

  test("a call on a range that does not give way is noticed", async () => {
    const [name, amount] = most(await worstCases({ ...SEARCH, module: await withoutGivingWay() }));
    assert(amount > BOUND, `${name}: ${amount}`);
  });

  test("a call does its own work only, also after one that was called off", () => {
    for (const name of SMALL) {
      const case_ = found.calls.get(`covh.${name} of a host`);
      assert(case_ !== undefined && weight(case_.stretch) <= SMALL_BOUND, `${name}: ${case_ && weight(case_.stretch)}`);
    }
  });
});

describe("locks", () => {
  test("are held for a bounded time", () => {
    for (const [name, { stretch, title }] of found.locks) {
      const bound = name.includes("layer") ? KEY_BOUND : LOCK_BOUND;
      assert(weight(stretch) <= bound, `the lock of ${name}, by ${title}: ${weight(stretch)}`);
    }
    for (const name of ["a TVM", "the host", "an IOMMU", "the console", "PCI", "the APLIC"]) {
      assert(found.locks.has(name), `the lock of ${name} was never taken`);
    }
    assert(weight(found.locks.get("a TVM")!.stretch) > LOCK_BOUND / 8);
  });

  test("are held for a batch, not for the call", async () => {
    const meter = new Meter();
    const world = await World.boot(MACHINES["one hart"], meteredModule(await hypervisorModule()), undefined, meter);
    const convert = (gpa: bigint, pages: bigint): { hold: number; call: number } => {
      meter.clear();
      world.execute({ hart: 0, do: "call", eid: Eid.covh, fid: Covh.convertPages, args: [gpa, pages] });
      const { stretch, carriedOn } = meter.holds.get("the host")!;
      assert.equal(carriedOn, undefined);
      return { hold: weight(stretch), call: weight(meter.longest.get(undefined)!) };
    };
    const one = convert(0x8040_0000n, 512n);
    // Small pages, whose entries are parked one by one.
    world.execute({ hart: 0, do: "call", eid: Eid.covh, fid: Covh.convertPages, args: [0x8060_0000n, 1n] });
    const two = convert(0x8060_1000n, 511n);
    assert(one.hold > 0 && one.hold < two.hold, `${one.hold}, ${two.hold}`);
    assert(two.hold > 512 && two.hold < two.call / 2, `${two.hold} of ${two.call}`);
  });
});

/** The hypervisor, with a range call that never looks at what is pending. */
async function withoutGivingWay(): Promise<HypervisorModule> {
  const file = "hypervisor/sbi/covh/range-call.ts";
  const sources = hypervisorSources();
  const text = sources.get(file)!;
  const look =
    "if ((long || looked) && mustGiveWay(hart)) {\n      parkCall(caller);\n      return callAgain();\n    }\n";
  assert(text.includes(look));
  sources.set(file, text.replace(look, ""));
  const folder = mkdtempSync(path.join(tmpdir(), "salus-worst-"));
  try {
    writeSources(folder, sources);
    return await hypervisorModuleOf(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("all of it is one JSON object", () => {
  const stacks = { stackDepth: { trap: 1000 }, stackThrough: { "sbi/hsm.ts:hsmCall": 500 } };
  const text = worstJson(1, found, { base: 60, ratio: 2 }, stacks);
  assert(!text.includes("\n"));
  const { seed, entries, locks, stack } = JSON.parse(text) as {
    seed: number;
    entries: { name: string; operations: number; zeroed: number; copied: number; instructions: number }[];
    locks: { name: string; call: string; machine: string }[];
    stack: unknown;
  };
  assert.equal(seed, 1);
  assert.equal(entries.length, found.calls.size);
  const [first] = entries;
  assert(entries.some(({ name }) => name === most(found)[0]));
  const instructions = 60 + 2 * first.operations + first.zeroed + 2 * first.copied;
  assert(Math.abs(first.instructions - instructions) < 1, `${first.instructions} and ${instructions}`);
  assert.equal(locks.length, found.locks.size);
  assert(locks.every(({ call, machine }) => call !== undefined && machine in MACHINES));
  assert.deepEqual(stack, { entries: { trap: 1000 }, through: { "sbi/hsm.ts:hsmCall": 500 } });
});

test("the meter counts the operations that are executed", () => {
  // f(n): loop: if n == 0 leave; n = n - 1; again. Two operations to leave, five for each turn.
  const body = [
    ...[0, 0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x45, 0x0d, 1],
    ...[0x20, 0, 0x41, 1, 0x6b, 0x21, 0, 0x0c, 0, 0x0b, 0x0b, 0x0b],
  ];
  const module = Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 5, 1, 0x60, 1, 0x7f, 0],
    ...[3, 2, 1, 0],
    ...[7, 5, 1, 1, "f".charCodeAt(0), 0, 0],
    ...[10, body.length + 2, 1, body.length, ...body],
  ]);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(addMeter(module)));
  const meter = exports[METER] as WebAssembly.Global;
  for (const turns of [0, 1, 7, 1000]) {
    meter.value = 0n;
    (exports["f"] as (turns: number) => void)(turns);
    assert.equal(meter.value, BigInt(5 * turns + 2));
  }
});
