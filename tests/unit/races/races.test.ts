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
import { RaceWorld, SCENES } from "../../races/world.ts";
import type { RaceSetup, SceneName } from "../../races/world.ts";

/** Harts that are in the hypervisor at the same time, in orders that follow from seeds; and whether faults in how they agree are noticed. */

/** Seeds of each scene on each number of harts. */
const SEEDS: Record<SceneName, number> = { pages: 30, files: 15, devices: 15, parked: 10 };
/** Until harts have met at every lock: those that are held for a few instructions are rarely found held. */
const LOCK_SEEDS = 60;
/** Seeds that found something once: scene, harts, seed. Each was a fault of the hypervisor. */
const FINDS: [scene: SceneName, harts: number, seed: number, what: string][] = [
  ["pages", 3, 18, "a hart that waited for a fence was not woken: the vCPU had posted itself a fence when it looked"],
  [
    "pages",
    3,
    4724,
    "the ledger of interrupts took a software interrupt for lost that its vCPU had cleared before the sender came back",
  ],
  [
    "files",
    2,
    1828,
    "a hart that waited for a fence asked itself to answer: the vCPU had run there last, and was being entered elsewhere",
  ],
];
/** What succeeds in some run of each scene. */
const SUCCEED: Record<SceneName, string[]> = {
  pages: ["convertPages", "initiateFence", "tvmDestroy", "cpuRun", "rfence", "convertImsic", "counters"],
  files: [
    ...["bindImsic", "unbindImsicBegin", "unbindImsicEnd", "injectExternalInterrupt"],
    ...["rebindImsicBegin", "rebindImsicClone", "rebindImsicEnd", "convertImsic", "reclaimImsic", "cpuRun"],
  ],
  devices: ["convertPages", "initiateFence", "getEvidence", "counters", "cpuRun"],
  parked: ["convertPages", "reclaimPages", "initiateFence"],
};

let module: HypervisorModule;
before(async () => (module = await checkedModule()));

describe("harts that race through the hypervisor", () => {
  for (const scene of Object.keys(SCENES) as SceneName[]) {
    for (const harts of [2, 3, 4]) {
      const seeds = SEEDS[scene];
      test(`${scene}, ${harts} harts, ${seeds} seeds`, async () => {
        const world = await RaceWorld.boot({ scene, harts, module });
        let together = 0;
        for (let seed = 1; seed <= seeds; seed++) together = Math.max(together, (await world.play(seed)).together);
        assert.equal(together, harts, "all harts were in the hypervisor at a time");
        const { successes, tvmOperations } = world.tally;
        for (const name of SUCCEED[scene]) assert(successes[name] > 0, `${name} never succeeds`);
        if (scene !== "parked") assert(tvmOperations > 0);
      });
    }
  }

  test("every lock is taken, and found held by another hart", async () => {
    const world = await RaceWorld.boot({ scene: "devices", harts: 4, module });
    for (let seed = 1; seed <= LOCK_SEEDS; seed++) await world.play(seed);
    const wanted = LOCK_FIELDS.map((field) => field.join("."));
    assert.deepEqual([...world.locks.keys()].sort(), wanted.sort());
    for (const [field, { waited }] of world.locks) assert(waited > 0, `nobody ever waits for ${field}`);
  });

  for (const [scene, harts, seed, what] of FINDS) {
    test(`once: ${what}`, async () => {
      await (await RaceWorld.boot({ scene, harts, module })).play(seed);
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

  async function isFound(setup: RaceSetup, message: RegExp, seeds = 150, first = 1): Promise<void> {
    try {
      const world = await RaceWorld.boot(setup);
      for (let seed = first; seed < first + seeds; seed++) await world.play(seed);
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
    await isFound({ scene: "files", harts: 3, module: changed }, /lost wake-up/, 600);
  });

  test("a hart that waits for a fence and asks itself for the answer", async () => {
    const ask = "  if (!ranHere && sendRequestToRunner(";
    const changed = await withChanges([["hypervisor/vm/wait.ts", ask, "  if (sendRequestToRunner("]]);
    await isFound({ scene: "files", harts: 2, module: changed }, /lost wake-up/, 400, 1800);
  });

  test("a call that two harts take at once", async () => {
    const file = "hypervisor/sbi/covh/parked-calls.ts";
    const found = "  const found = isParked(from) && isSameCall(caller, from);\n";
    const changed = await withChanges([
      [file, `  lockAcquire(lockOfVm(vm));\n${found}`, found],
      [
        file,
        "  }\n  lockRelease(lockOfVm(vm));\n  return found;\n}\n\n/** `vcpu`",
        "  }\n  return found;\n}\n\n/** `vcpu`",
      ],
    ]);
    await isFound({ scene: "parked", harts: 3, module: changed }, /./);
  });

  test("calls on interrupt files that hold no lock", async () => {
    const file = "hypervisor/sbi/covi.ts";
    const changed = await withChanges([
      [file, "  lockAcquire(lockOfVm(vm));\n", ""],
      [file, "  lockRelease(lockOfVm(vm));\n", ""],
    ]);
    await isFound({ scene: "files", harts: 3, module: changed }, /./);
  });

  test("configuration space that is written without a lock", async () => {
    const file = "hypervisor/devices/pci/virtual-config.ts";
    const write = "  if (pci != null) writeRegister(pci, offset & 0xffc, value, lanes);\n";
    const changed = await withChanges([
      [
        file,
        `  lockAcquire(lockOf(root));\n  const pci = functionAt(segment, offset);\n${write}`,
        `  const pci = functionAt(segment, offset);\n${write}`,
      ],
      [file, `${write}  lockRelease(lockOf(root));\n`, write],
    ]);
    await isFound(
      { scene: "devices", harts: 2, module: changed },
      /writes to configuration space .* does not hold the lock/,
    );
  });

  test("an IOMMU that two harts give commands to", async () => {
    const file = "hypervisor/devices/iommu/commands.ts";
    // Whoever asks, asks again, or looks takes it.
    const everywhere = [1, 2, 3].flatMap((): Change[] => [
      [file, "    lockAcquire(iommu.lockAddress());\n", ""],
      [file, "    lockRelease(iommu.lockAddress());\n", ""],
    ]);
    const changed = await withChanges(everywhere);
    await isFound({ scene: "devices", harts: 3, module: changed }, /writes to an IOMMU .* does not hold the lock/);
  });

  test("a key that two harts derive at once", async () => {
    const changed = await withChanges([
      ["hypervisor/attestation/platform.ts", "  lockAcquire(lock);\n", ""],
      ["hypervisor/attestation/platform.ts", "  lockRelease(lock);\n", ""],
    ]);
    await isFound(
      { scene: "devices", harts: 3, module: changed },
      /writes to the platform's keys .* does not hold the lock/,
    );
  });

  test("memory of the host that is read twice", async () => {
    const file = "hypervisor/memory/guest-access.ts";
    const copy = "    copyBytes(to + <usize>done, hpa, part);\n";
    const changed = await withChanges([[file, copy, copy + copy]]);
    await isFound({ harts: 2, module: changed }, /double fetch/);
  });
});
