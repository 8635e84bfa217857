import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { repository } from "../../../tools/repository.ts";

/** docs/toolchain.md has a row for each file of C, assembly or linker script, with its lines: what has to be read beside the TypeScript. */

const MOST_IN_HYPERVISOR = 600;
const read = (file: string): string => readFileSync(path.join(repository, file), "utf8");

/** Lines that are neither empty nor comment alone. */
function codeLines(file: string): number {
  const text = read(file).replace(/\/\*[^]*?\*\//g, "");
  const isComment = /\.(S|inc)$/.test(file) ? /^\s*#(?!include|define|if|else|endif)/ : /^\s*\/\//;
  return text.split("\n").filter((line) => line.trim() !== "" && !isComment.test(line)).length;
}

const actual = new Map(
  globSync("{bench,crypto,hypervisor,machine,tests,tools,umode,verifier,workloads}/**/*.{c,h,S,s,inc,ld}", {
    cwd: repository,
  }).map((file) => [file, codeLines(file)]),
);

interface Row {
  file: string;
  lines: number;
  part: string;
}

const section = /\n## The C and assembly that is left\n([^]*?)\n## /.exec(read("docs/toolchain.md"))![1];
const rows: Row[] = [...section.matchAll(/^\| `([^`]+)` *\| (\d+) *\| ([\w ]+?) *\|/gm)].map(
  ([, name, lines, part]) => ({
    file: name.includes("/") ? name : `machine/riscv/${name}`,
    lines: Number(lines),
    part,
  }),
);

describe("the document of the machine layer", () => {
  test("has each file, with its lines", () => {
    const documented = rows.map(({ file, lines }): [string, number] => [file, lines]);
    assert.deepEqual(documented.sort(), [...actual].sort());
  });

  test(`the hypervisor has at most ${MOST_IN_HYPERVISOR} lines of C and assembly`, () => {
    const own = rows.filter(({ file, part }) => (part === "hypervisor" || part === "all") && !file.endsWith(".ld"));
    const lines = own.reduce((sum, { file }) => sum + actual.get(file)!, 0);
    assert(lines > 0 && lines <= MOST_IN_HYPERVISOR, `${lines} lines`);
  });
});
