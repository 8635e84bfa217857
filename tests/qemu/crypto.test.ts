import assert from "node:assert/strict";
import path from "node:path";
import { before, describe, test } from "node:test";
import { buildModule, type Flavour } from "../../tools/build/index.ts";
import { HYPERVISOR, workloadModule } from "../../tools/build/modules.ts";
import { buildFolder } from "../../tools/repository.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, qemuArguments } from "../../tools/qemu/machine.ts";
import { runQemu } from "../../tools/qemu/runner.ts";
import { oracle } from "../unit/crypto/oracle.ts";

/** The package crypto/ as RISC-V code (workloads/crypto-check): the same results, all versions of the hash, instructions, nothing left on the stack. */

const found = locateQemu(process.env["QEMU"]);
assert(found !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
const qemu = found;

interface Line {
  name: string;
  parameter: number;
  instructions: number;
  result: string;
}

async function run(flavour: Flavour): Promise<Line[]> {
  const module = workloadModule("crypto-check");
  const built = await buildModule(
    {
      ...module,
      ...(HYPERVISOR.packages ? { packages: HYPERVISOR.packages } : {}),
      rawMemoryFolders: [...module.rawMemoryFolders, "crypto/"],
    },
    { flavour, outputFolder: path.join(buildFolder, "tests", "machine", flavour) },
  );
  const { lines } = await runQemu({
    executable: qemu,
    arguments: qemuArguments(
      { ...DEFAULT_MACHINE, harts: 1, cpu: "rv64,zbb=on,zknh=on", extraArguments: ["-icount", "shift=0"] },
      { hypervisor: built.elf },
    ),
    timeoutSeconds: 60,
  });
  assert.ok(lines.map((line) => line.trim()).includes("done"), `it did not finish:\n${lines.slice(-5).join("\n")}`);
  return lines
    .map((line) => /^([a-z0-9-]+) (\d+) (\d+) ([0-9a-f]*)\s*$/.exec(line))
    .filter((match) => match !== null)
    .map(([, name, parameter, instructions, result]) => ({
      name,
      parameter: Number(parameter),
      instructions: Number(instructions),
      result,
    }));
}

const input = Uint8Array.from({ length: 8192 }, (_, i) => i * 7 + (i >> 8) + 1);
const seedAt = (s: number): Uint8Array => input.slice(s, s + 32);

/** What each line has to say. */
const expected: Record<string, (parameter: number) => string> = {
  "sha384-plain": (length) => oracle.hash(384, input.slice(0, length)).toString("hex"),
  "sha384-zbb": (length) => oracle.hash(384, input.slice(0, length)).toString("hex"),
  "sha384-zknh": (length) => oracle.hash(384, input.slice(0, length)).toString("hex"),
  hmac: (length) => oracle.hmac(input.slice(0, 100), input.slice(0, length)).toString("hex"),
  hkdf: (length) => oracle.hkdf(input.slice(0, 40), input.slice(0, 100), input.slice(0, 50), length).toString("hex"),
  "public-key": (s) => oracle.publicKey(seedAt(s)).toString("hex"),
  sign: (s) => oracle.sign(seedAt(s), input.slice(0, s)).toString("hex"),
};

for (const flavour of ["release", "debug"] as const) {
  describe(flavour, () => {
    let lines: Line[] = [];
    const named = (name: string): Line[] => lines.filter((line) => line.name === name);
    before(async () => {
      lines = await run(flavour);
    });

    for (const [name, result] of Object.entries(expected)) {
      test(name, () => {
        assert.ok(named(name).length > 0);
        for (const line of named(name)) assert.equal(line.result, result(line.parameter), `${line.parameter}`);
      });
    }

    test("signatures are verified, changed ones are not", () => {
      const verdicts = lines.filter(({ name }) => /^(verified|refused)$/.test(name)).map(({ name }) => name);
      assert.equal(verdicts.length, 10);
      verdicts.forEach((verdict, i) => assert.equal(verdict, i % 2 === 0 ? "verified" : "refused"));
    });

    test("keys and signatures take the same number of instructions for all seeds", () => {
      assert.equal(named("equal-sign").length, 8);
      for (const name of ["public-key", "equal-sign"]) {
        assert.equal(new Set(named(name).map(({ instructions }) => instructions)).size, 1, name);
      }
    });

    test("nothing secret is left in scratch and on the stack", () => {
      assert.deepEqual(
        named("left-in-scratch").map(({ instructions }) => instructions),
        [0, 0, 0, 0, 0],
      );
      assert.deepEqual(
        named("left-on-stack").map(({ instructions }) => instructions),
        [0, 0, 0, 0, 0],
      );
      // What is there after a call that wipes no stack, and after one that does: a few words of its own frame, if at all.
      for (const { instructions } of named("words-left-by-hash")) assert.ok(instructions > 20, `${instructions} words`);
      for (const { instructions } of named("words-left-by-sign")) assert.ok(instructions < 10, `${instructions} words`);
    });

    if (flavour === "debug") return;
    test("instructions", () => {
      const most = (name: string, parameter?: number): number =>
        Math.max(
          ...named(name)
            .filter((line) => line.instructions > 0 && (parameter === undefined || line.parameter === parameter))
            .map(({ instructions }) => instructions),
        );
      const figures: [string, number, number][] = [
        ["sha384-plain", most("sha384-plain", 4152), 165_000],
        ["sha384-zbb", most("sha384-zbb", 4152), 105_000],
        ["sha384-zknh", most("sha384-zknh", 4152), 66_000],
        ["public-key", most("public-key"), 1_200_000],
        ["sign", most("sign"), 1_200_000],
        ["verified", most("verified"), 2_000_000],
      ];
      for (const [name, actual, budget] of figures) {
        assert.ok(actual <= budget, `${name} takes ${actual} instructions, ${budget} are allowed`);
      }
    });
  });
}
