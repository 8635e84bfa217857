import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { declaredPrimitives } from "../../../tools/build/checks.ts";
import { repository } from "../../../tools/repository.ts";

/** docs/simulated-machine.md names every function of the door, in the rows of the file that declares it, and none that is not there. */

const read = (file: string): string => readFileSync(path.join(repository, file), "utf8");
const DOORS = ["hypervisor/riscv/hw.ts", "crypto/hw.ts", "umode/hw.ts"];

/** Functions in the table of the section, by the file in whose rows they stand. */
function documented(): Map<string, string[]> {
  const section = /\n## The door\n([^]*?)\n## /.exec(read("docs/simulated-machine.md"))![1];
  const found = new Map<string, string[]>(DOORS.map((door) => [door, []]));
  let door = "";
  for (const line of section.split("\n")) {
    const [, first, functions] = /^\| ([^|]*)\| ([^|]*)\|/.exec(line) ?? [];
    if (functions === undefined) continue;
    door = DOORS.find((each) => first.includes(`\`${each}\``)) ?? door;
    for (const [, name] of functions.matchAll(/`(\w+)`/g)) found.get(door)?.push(name);
  }
  return found;
}

describe("the document of the door", () => {
  const found = documented();
  for (const door of DOORS) {
    test(`has the functions of ${door}`, () => {
      const declared = [...declaredPrimitives(read(door)).keys()];
      assert(declared.length > 0);
      assert.deepEqual(found.get(door)!.sort(), declared.sort());
    });
  }
});

describe("the doors", () => {
  for (const door of [...DOORS, "workloads/lib/hw.ts"]) {
    test(`${door} declares nothing that nobody calls`, () => {
      const files = globSync(`${door.split("/")[0]}/**/*.ts`, { cwd: repository }).filter((file) => file !== door);
      const text = files.map(read).join("\n");
      const unused = [...declaredPrimitives(read(door)).keys()].filter(
        (name) => !new RegExp(`\\b${name}\\(`).test(text),
      );
      assert.deepEqual(unused, []);
    });
  }
});
