import assert from "node:assert/strict";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { checkedModule } from "../../../machine/simulated/checked-module.ts";
import type { HypervisorModule } from "../../../machine/simulated/hypervisor-module.ts";
import { LOCK_FIELDS } from "../../../machine/simulated/lock-monitor.ts";
import { hypervisorSources, writeSources } from "../../../tools/coverage/sources.ts";
import { repository } from "../../../tools/repository.ts";
import { RaceWorld } from "../../races/world.ts";
import type { RaceSetup } from "../../races/world.ts";

/** Harts that are in the hypervisor at the same time, in orders that follow from seeds; and whether faults in how they agree are noticed. */

const SEEDS = 30;
/** Seeds that found something once: harts, seed. Each was a fault of the hypervisor. */
const FINDS: [harts: number, seed: number, what: string][] = [
  [3, 18, "a hart that waited for a fence was not woken: the vCPU had posted itself a fence when it looked"],
  [
    3,
    4724,
    "the ledger of interrupts took a software interrupt for lost that its vCPU had cleared before the sender came back",
  ],
];

let module: HypervisorModule;
before(async () => (module = await checkedModule()));

describe("harts that race through the hypervisor", () => {
  for (const harts of [2, 3, 4]) {
    test(`${harts} harts, ${SEEDS} seeds`, async () => {
      const world = await RaceWorld.boot({ harts, module });
      let together = 0;
      for (let seed = 1; seed <= SEEDS; seed++) together = Math.max(together, (await world.play(seed)).together);
      assert.equal(together, harts, "all harts were in the hypervisor at a time");
      const { successes, tvmOperations } = world.tally;
      for (const name of ["convertPages", "initiateFence", "tvmDestroy", "cpuRun", "rfence", "covi 2"]) {
        assert(successes[name] > 0, `${name} never succeeds`);
      }
      assert(tvmOperations > 0);
    });
  }

  for (const [harts, seed, what] of FINDS) {
    test(`once: ${what}`, async () => {
      await (await RaceWorld.boot({ harts, module })).play(seed);
    });
  }

  test("the same seed is the same run", async () => {
    const world = await RaceWorld.boot({ harts: 3, module });
    const first = await world.play(5);
    await world.play(6);
    assert.deepEqual(await world.play(5), first);
  });
});

describe("locks", () => {
  /** The machine of the races has no PCI and no IOMMU, and none of its guests asks for evidence. */
  const NOT_IN_RACES = new Set(["root.pciLock", "iommu.lock", "vm.layerLock", "platform.lock"]);

  test("all that the sources have are watched", () => {
    const folder = path.join(repository, "hypervisor");
    const inSources = globSync("**/*.ts", { cwd: folder }).flatMap((file) =>
      [...readFileSync(path.join(folder, file), "utf8").matchAll(/^export class (\w+) \{\n([^]*?)\n\}/gm)].flatMap(
        ([, name, body]) =>
          [...body.matchAll(/^ {2}(lock|\w+Lock): u32;$/gm)].map(([, field]) => `${name.toLowerCase()}.${field}`),
      ),
    );
    assert.deepEqual(inSources.sort(), LOCK_FIELDS.map((field) => field.join(".")).sort());
  });

  test("all but those of PCI, IOMMUs and evidence are taken in the races", async () => {
    const world = await RaceWorld.boot({ harts: 2, module });
    for (let seed = 1; seed <= SEEDS; seed++) await world.play(seed);
    const wanted = LOCK_FIELDS.map((field) => field.join(".")).filter((field) => !NOT_IN_RACES.has(field));
    assert.deepEqual([...world.locksTaken].sort(), wanted.sort());
  });
});

/** A change of the sources: file, what is replaced, by what. */
type Change = [file: string, from: string, to: string];

describe("what is wrong is found:", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "salus-races-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  async function withChanges(changes: Change[]): Promise<HypervisorModule> {
    const sources = hypervisorSources();
    for (const [file, from, to] of changes) {
      const text = sources.get(file)!;
      assert(text.includes(from), `${file} has no "${from}" any more`);
      sources.set(file, text.replace(from, to));
    }
    writeSources(folder, sources);
    return checkedModule(folder);
  }

  async function isFound(setup: RaceSetup, message: RegExp, seeds = 150): Promise<void> {
    try {
      const world = await RaceWorld.boot(setup);
      for (let seed = 1; seed <= seeds; seed++) await world.play(seed);
    } catch (error) {
      assert.match((error as Error).message, message);
      return;
    }
    assert.fail(`${seeds} seeds find nothing`);
  }

  test("atomics that are none", async () => {
    await isFound({ harts: 3, module, interleaver: { torn: true } }, /./);
  });

  test("a lock that does not lock", async () => {
    const from = "while (swap32(<u64>address, HELD) != FREE) {";
    const changed = await withChanges([
      ["hypervisor/lib/spinlock.ts", from, "swap32(<u64>address, HELD); while (false) {"],
    ]);
    await isFound({ harts: 3, module: changed }, /lock of .* (nobody holds|of hart)/);
  });

  test("a lock that is not given back", async () => {
    const release = "  lockRelease(lockOfVm(vm));\n  // Read after the entry is gone";
    const changed = await withChanges([
      ["hypervisor/sbi/covi/convert.ts", release, "  // Read after the entry is gone"],
    ]);
    await isFound({ harts: 2, module: changed }, /leaves with the lock of the host/);
  });

  test("locks in the wrong order", async () => {
    const call = "  lockAcquire(lockOfVm(vm));\n";
    const file = "hypervisor/sbi/covi.ts";
    const changed = await withChanges([
      [file, call, `  lockAcquire(lockOfVm(caller.vm));\n${call}  lockRelease(lockOfVm(caller.vm));\n`],
    ]);
    await isFound(
      { harts: 2, module: changed },
      /lock order: hart \d takes the lock of VM \d+ while it holds that of the host/,
    );
  });

  test("a lock of no VM that is not given back", async () => {
    const last = "  if (root.counterUsers++ == 0) or64(optionalStateOf(root), OptionalState.Counters);\n";
    const changed = await withChanges([["hypervisor/vm/counters.ts", `${last}  lockRelease(lock);\n`, last]]);
    await isFound({ harts: 2, module: changed }, /leaves with the lock of the users of counters/);
  });

  test("a lock that nobody has given a rank", async () => {
    const changed = await withChanges([
      [
        "hypervisor/vm/counters.ts",
        '  const lock = changetype<usize>(root) + offsetof<Root>("counterLock");\n',
        '  const lock = changetype<usize>(root) + offsetof<Root>("reserved2");\n',
      ],
    ]);
    await isFound({ harts: 2, module: changed }, /which has no rank/);
  });

  test("a VM that is destroyed while others use it", async () => {
    const file = "hypervisor/vm/vm-table.ts";
    const changed = await withChanges([
      [
        file,
        "  if (loadAcquire32(referencesOf(slot)) == 1) return true;\n",
        "  if (loadAcquire32(referencesOf(slot)) != 0) return true;\n",
      ],
    ]);
    await isFound({ harts: 3, module: changed }, /./);
  });

  test("a hart that is asked for a fence and gets no interrupt", async () => {
    const send = "  if (hart == thisHart()) return;\n";
    const changed = await withChanges([
      ["hypervisor/vm/hart-messages.ts", send, `${send}  if (requests == HartRequest.Fence) return;\n`],
    ]);
    await isFound({ harts: 3, module: changed }, /lost wake-up/);
  });

  test("harts that are asked for an answer when a fence is posted, and not when it is waited for", async () => {
    const file = "hypervisor/vm/wait.ts";
    const post = "    postMessage(changetype<Vcpu>(vm.vcpu(id)), messages);\n";
    const target = "changetype<Vcpu>(vm.vcpu(id))";
    const early = `    if (${target} != caller && !fencesServed(${target})) askForFence(hart, ${target});\n`;
    const changed = await withChanges([
      [file, "    askForFence(hart, target);\n", ""],
      [file, post, post + early],
    ]);
    await isFound({ harts: 3, module: changed }, /lost wake-up/, 600);
  });

  test("memory of the host that is read twice", async () => {
    const file = "hypervisor/memory/guest-access.ts";
    const copy = "    copyBytes(to + <usize>done, hpa, part);\n";
    const changed = await withChanges([[file, copy, copy + copy]]);
    await isFound({ harts: 2, module: changed }, /double fetch/);
  });
});
