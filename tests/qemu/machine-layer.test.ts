import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";
import { buildModule, type BuildResult, type Flavour } from "../../tools/build/index.ts";
import { HYPERVISOR, workloadModule, type ImageModule } from "../../tools/build/modules.ts";
import { buildFolder } from "../../tools/repository.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, qemuArguments } from "../../tools/qemu/machine.ts";
import { runQemu } from "../../tools/qemu/runner.ts";

/**
 * The machine layer (machine/riscv) alone: a hypervisor that only drives trap entry, context switches, waits, recoveries and
 * panics, and a test VM that tries its primitives right above the firmware.
 */

const found = locateQemu(process.env["QEMU"]);
assert(found !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
const qemu = found;

async function run(module: ImageModule, flavour: Flavour): Promise<{ lines: string[]; built: BuildResult }> {
  const built = await buildModule(module, {
    flavour,
    outputFolder: path.join(buildFolder, "tests", "machine", flavour),
  });
  const { lines } = await runQemu({
    executable: qemu,
    arguments: qemuArguments(DEFAULT_MACHINE, { hypervisor: built.elf }),
    timeoutSeconds: 60,
  });
  return { lines: lines.map((line) => line.trim()), built };
}

function assertAllOk(lines: string[], least: number): void {
  const results = lines.filter((line) => /^(ok|FAIL) /.test(line));
  assert.deepEqual(
    results.filter((line) => line.startsWith("FAIL")),
    [],
  );
  assert.ok(lines.includes("done"), `it did not finish:\n${lines.slice(-10).join("\n")}`);
  assert.ok(results.length >= least, `only ${results.length} checks ran`);
}

for (const flavour of ["release", "debug"] as const) {
  describe(flavour, () => {
    test("traps, context switches, waits, recoveries, panics and backtraces of the hypervisor", async () => {
      const entry = "workloads/machine-layer/hypervisor.ts";
      const { lines } = await run({ ...HYPERVISOR, entry, output: "hypervisor", namePrefix: "workloads/" }, flavour);
      assertAllOk(lines, 40);
      const frames = lines
        .filter((line) => /^0x[0-9a-f]+ /.test(line))
        .map((line) => line.slice(line.indexOf(" ") + 1));
      const end = frames.indexOf("image_TrapEntry");
      assert.match(frames[0], /printBacktrace$/, "a trace of the place itself");
      assert.ok(frames.slice(0, end).includes("machine-layer/hypervisor.ts:trap"));
      assert.deepEqual(frames.slice(end + 1), ["machine-layer/hypervisor.ts:trap", "image_TrapEntry"], "of a fault");
    });

    test("primitives of a test VM", async () => {
      const module = { ...workloadModule("vm"), entry: "workloads/machine-layer/vm.ts" };
      assertAllOk((await run(module, flavour)).lines, 19);
    });
  });
}
