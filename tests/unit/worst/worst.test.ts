import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { hypervisorModuleOf } from "../../../machine/simulated/hypervisor-module.ts";
import type { HypervisorModule } from "../../../machine/simulated/hypervisor-module.ts";
import { weight } from "../../../machine/simulated/meter.ts";
import { METER, addMeter } from "../../../machine/simulated/metered-module.ts";
import { hypervisorSources, writeSources } from "../../../tools/coverage/sources.ts";
import { worstCases } from "../../fuzz/worst.ts";

/** Operations, and words moved, that no entry may need without a look at what is pending. The longest that is known is 512 pages zeroed without Zicboz. */
const BOUND = 330_000;
const SEARCH = { seed: 1, seconds: 0, runs: 33 };

/** The most of all calls, with the call's name. */
async function most(module?: HypervisorModule): Promise<[string, number]> {
  const found = await worstCases({ ...SEARCH, module });
  const all = [...found].map(([name, { stretch }]): [string, number] => [name, weight(stretch)]);
  assert(all.length > 100, `${all.length} entries of hosts and TVMs`);
  return all.reduce((a, b) => (a[1] >= b[1] ? a : b));
}

describe("between two looks at what is pending", () => {
  test("a bounded amount of work is done", async () => {
    const [name, amount] = await most();
    assert(amount <= BOUND, `${name}: ${amount}`);
    // A search that gets nowhere bounds nothing.
    assert(amount > BOUND / 2, `${name}: ${amount}`);
  });

  test("a call on a range that does not give way is noticed", async () => {
    const [name, amount] = await most(await withoutGivingWay());
    assert(amount > BOUND, `${name}: ${amount}`);
  });
});

/** The hypervisor, with a range call that never looks at what is pending. */
async function withoutGivingWay(): Promise<HypervisorModule> {
  const file = "hypervisor/sbi/covh/range-call.ts";
  const sources = hypervisorSources();
  const text = sources.get(file)!;
  const look = "if ((long || looked) && mustGiveWay(hart)) return callAgain();";
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
