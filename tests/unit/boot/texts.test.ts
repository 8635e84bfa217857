import assert from "node:assert/strict";
import { test } from "node:test";
import { enumValues } from "../../../machine/simulated/record-layout.ts";
import { Machine } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";

/** Each fault of a device tree or of a machine has a sentence of its own for the console. */

const module = await compileModule({
  files: [],
  source: `
    import { treeErrorText } from "../../../hypervisor/boot/device-tree/check";
    import { describeErrorText } from "../../../hypervisor/boot/machine-description";
    import { layoutErrorText } from "../../../hypervisor/boot/host-layout";
    export function tree(error: u32): usize { return changetype<usize>(treeErrorText(error)); }
    export function describe(error: u32): usize { return changetype<usize>(describeErrorText(error)); }
    export function layout(error: u32): usize { return changetype<usize>(layoutErrorText(error)); }`,
});
const machine = new Machine(module, 2 * TEST_MEMORY);

const faults = {
  tree: enumValues("boot/device-tree/check", "TreeError"),
  describe: enumValues("boot/machine-description", "DescribeError"),
  layout: enumValues("boot/host-layout", "LayoutError"),
};

for (const [kind, errors] of Object.entries(faults)) {
  test(`${kind}: ${Object.keys(errors).length} faults, ${Object.keys(errors).length} sentences`, () => {
    const sentences = Object.values(errors).map((error) => machine.literal(machine.exports[kind](error) as bigint));
    assert.equal(new Set(sentences).size, sentences.length, sentences.join("\n"));
    for (const sentence of sentences) assert.match(sentence, /^[a-z"].{8,}[^.]$/);
  });
}
