import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Checker } from "../../../machine/simulated/checker.ts";
import { machineTreeBlob } from "../../../machine/simulated/device-tree-builder.ts";
import { HypervisorPanic, MachineEnded } from "../../../machine/simulated/errors.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { PciChecker } from "../../../machine/simulated/pci-checker.ts";
import { MACHINES } from "../../fuzz/machines.ts";
import { allNodes, buildFdt, parseFdt, type FdtNode } from "../support/fdt.ts";
import { seededRandom } from "../support/fuzz.ts";

/**
 * Device trees of good machines with a few things wrong: a property is missing, cut short or has another value; a node is missing, there twice, disabled.
 * The hypervisor boots its host and everything is as it must be, or it says in one sentence what is wrong with the tree.
 *
 * A tree that lies about where memory and devices are cannot be found out: the machine then faults where it would on hardware. That counts as an end, too, but
 * only after such a change.
 */

/** More of them: SALUS_TREES=5000 */
const TREES = Number(process.env["SALUS_TREES"] ?? 240);
const BENT = ["PCI, a platform IOMMU", "PCI behind an IOMMU", "four harts"];

/** Says where something is, or how many cells say so. */
const PLACE = /^(reg|ranges|interrupts-extended|#.*|.*index.*|bus-range|numa-node-id|phandle)$/;
const ODD = [0, 1, 2, 3, 4, 5, 0x7f, 0xff, 0x1000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_f000, 0xffff_ffff];
const DISABLED = new TextEncoder().encode("disabled\0");

interface Change {
  text: string;
  /** The tree may now say of something that it is elsewhere. */
  lie: boolean;
}

/** Changes something of the tree; undefined if chance picked nothing. */
function bend(root: FdtNode, random: () => number): Change | undefined {
  const pick = <T>(list: readonly T[]): T => list[random() % list.length];
  const nodes = [...allNodes(root)];
  const node = pick(nodes);
  const parent = nodes.find(({ children }) => children.includes(node));
  const kind = random() % 9;
  if (kind === 0) {
    node.properties.set("status", DISABLED);
    return { text: `${node.name} is disabled`, lie: false };
  }
  if (kind === 1 || kind === 2) {
    if (!parent) return undefined;
    if (kind === 1) parent.children = parent.children.filter((child) => child !== node);
    else parent.children.push({ ...node, properties: new Map(node.properties) });
    return { text: `${node.name} is ${kind === 1 ? "missing" : "there twice"}`, lie: kind === 2 };
  }
  const name = pick([...node.properties.keys()]);
  const value = node.properties.get(name);
  if (value === undefined) return undefined;
  const text = `${node.name}/${name}`;
  const lie = PLACE.test(name);
  if (kind === 3) {
    node.properties.delete(name);
    return { text: `${text} is missing`, lie };
  }
  if (kind === 4 || value.length < 4) {
    node.properties.set(name, value.slice(0, random() % (value.length + 1)));
    return { text: `${text} is cut short`, lie };
  }
  const bytes = value.slice();
  const view = new DataView(bytes.buffer);
  const cell = 4 * (random() % (bytes.length >> 2));
  const near = view.getUint32(cell) + (random() % 2 === 0 ? 1 : -1);
  view.setUint32(cell, random() % 3 === 0 ? near : pick(ODD));
  node.properties.set(name, bytes);
  return { text: `${text}: cell ${cell / 4} is 0x${view.getUint32(cell).toString(16)}`, lie };
}

/** What became of the machine; throws if that must not be. */
async function boot(options: Partial<MachineOptions>, deviceTree: Uint8Array, lie: boolean): Promise<string> {
  const machine = await Machine.create({ options, deviceTree });
  try {
    machine.boot();
    assert(
      machine.harts.some(({ state }) => state === "guest"),
      "no hart is in the host",
    );
    new Checker(machine).check();
    // A bridge that is not there, or not used, is not touched: its functions stay as the firmware left them.
    if (/PCI/.test(machine.console)) new PciChecker(machine).check();
    return "boots";
  } catch (error) {
    if (error instanceof MachineEnded) {
      assert.equal(error.reason, 1);
      const [, sentence] = /salus: panic on hart \d+: (.*)/.exec(machine.console) ?? [];
      assert(sentence !== undefined, machine.console);
      return sentence;
    }
    if (error instanceof HypervisorPanic && /two uses for one address/.test(error.message)) return "overlaps";
    if (lie && !(error instanceof assert.AssertionError)) return "lies";
    throw error;
  }
}

describe("bent device trees", () => {
  const outcomes = new Map<string, number>();

  for (const name of BENT) {
    test(`of the machine "${name}"`, async () => {
      const options = MACHINES[name];
      const { imsic, bridges, iommu, options: all } = await Machine.create({ options });
      const good = machineTreeBlob(all, imsic, bridges, iommu);
      for (let seed = 0; seed < TREES / BENT.length; seed++) {
        const random = seededRandom(seed);
        const { root } = parseFdt(good);
        const changes = Array.from({ length: 1 + (random() % 3) }, () => bend(root, random)).filter(
          (each) => each !== undefined,
        );
        const lie = changes.some((change) => change.lie);
        try {
          const outcome = await boot(options, buildFdt(root), lie);
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        } catch (error) {
          const what = changes.map(({ text }) => text).join("; ");
          throw new Error(`tree ${seed}: ${what}: ${(error as Error).message}`, { cause: error });
        }
      }
    });
  }

  test("end in many ways", () => {
    assert((outcomes.get("boots") ?? 0) > TREES / 4, JSON.stringify([...outcomes]));
    assert(outcomes.size > 12, JSON.stringify([...outcomes]));
    assert((outcomes.get("lies") ?? 0) < TREES / 20, JSON.stringify([...outcomes]));
  });
});
