import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { repository } from "../../../tools/repository.ts";

/** Functions and classes that are exported and that nothing names, not even their own file, are refused: the compilers of both worlds drop them in silence. */

/** What AssemblyScript looks for by name. */
const BY_NAME = /^tools\/build\/rt\//;
const FOLDERS = "{bench,crypto,hypervisor,machine,tests,tools,umode,verifier,workloads}";

test("no exported function or class is dead", () => {
  const files = globSync(`${FOLDERS}/**/*.{ts,js}`, { cwd: repository });
  const mentions = new Map<string, number>();
  const exported: [string, string][] = [];
  for (const file of files) {
    const text = readFileSync(path.join(repository, file), "utf8");
    for (const [word] of text.matchAll(/\b\w+\b/g)) mentions.set(word, (mentions.get(word) ?? 0) + 1);
    if (BY_NAME.test(file)) continue;
    for (const [, name] of text.matchAll(/^export (?:async )?(?:abstract )?(?:function\*?|class) (\w+)/gm))
      exported.push([file, name]);
  }
  assert(exported.length > 1000);
  const dead = exported.filter(([, name]) => mentions.get(name) === 1);
  assert.deepEqual(dead, []);
});
