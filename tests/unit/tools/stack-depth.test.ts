import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { depthsThrough, readStackGraph, worstDepths } from "../../../tools/build/stack-depth.ts";
import type { StackGraph } from "../../../tools/build/stack-depth.ts";
import { stackTable } from "../../fuzz/stack-table.ts";

/** A graph as gcc writes it. */
function graphOf(frames: Record<string, number>, calls: [string, string][]): StackGraph {
  const nodes = Object.entries(frames).map(
    ([name, bytes]) => `node: { title: "${name}" label: "${name}\\nx.c:1:1\\n${bytes} bytes (static)" }`,
  );
  const edges = calls.map(([from, to]) => `edge: { sourcename: "${from}" targetname: "${to}" }`);
  return readStackGraph([[...nodes, ...edges].join("\n")], []);
}

const PANICS = { panicAssert: 100, panicWasm: 50, env_abort: 4 };
const ABORT: [string, string] = ["env_abort", "panicAssert"];
/** gcc's clones are the same function. */
const plain = (name: string): string => name.replace(/\..*/, "");

describe("the deepest stack through each function", () => {
  test("is the longest way to it and the longest from it on", () => {
    const graph = graphOf({ ...PANICS, trap: 10, a: 20, b: 1, c: 5, unused: 1000 }, [
      ["trap", "a"],
      ["trap", "b"],
      ["a", "c"],
      ["b", "c"],
    ]);
    const through = depthsThrough(graph, "trap", plain);
    assert.deepEqual(Object.fromEntries(through), { trap: 35, a: 35, b: 16, c: 35 });
    assert.equal(worstDepths(graph, ["trap"], plain).get("trap")!.bytes, 35);
  });

  test("counts a panic, which may fail itself, where one may begin", () => {
    const graph = graphOf({ ...PANICS, trap: 10, a: 20, b: 1 }, [
      ["trap", "a"],
      ["trap", "b"],
      ["a", "env_abort"],
      ABORT,
    ]);
    const through = depthsThrough(graph, "trap", plain);
    assert.equal(through.get("a"), 10 + 20 + 4 + 2 * 100);
    assert.equal(through.get("b"), 11);
    assert.equal(through.get("env_abort"), 10 + 20 + 4 + 2 * 100);
  });

  test("is the deepest of all clones", () => {
    const graph = graphOf({ ...PANICS, trap: 10, "a.part.0": 7, a: 3 }, [
      ["trap", "a"],
      ["trap", "a.part.0"],
    ]);
    assert.equal(depthsThrough(graph, "trap", plain).get("a"), 17);
  });
});

test("the table has the entries and the functions of calls, the deepest first", () => {
  const stackThrough = {
    "vm/trap.ts:handleTrap": 800,
    "sbi/hsm.ts:hsmCall": 300,
    "sbi/covh/lifecycle.ts:tvmCreate": 1400,
    "sbi/covh/block.ts:begin": 500,
  };
  const rows = stackTable({ stackDepth: { boot: 1600, trap: 1500 }, stackThrough })
    .split("\n")
    .slice(2);
  const cells = rows.map((row) =>
    row
      .split("|")
      .map((cell) => cell.trim())
      .slice(1, 3),
  );
  assert.deepEqual(cells, [
    ["boot", "1,600"],
    ["any trap", "1,500"],
    ["sbi/covh/lifecycle.ts:tvmCreate", "1,400"],
    ["sbi/hsm.ts:hsmCall", "300"],
  ]);
});
