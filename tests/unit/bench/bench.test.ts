import assert from "node:assert/strict";
import { test } from "node:test";
import { readBaseline, regressions, updated } from "../../../tools/bench/baseline.ts";
import { chart } from "../../../tools/bench/chart.ts";
import {
  figureTable,
  partOf,
  readDocument,
  readReadme,
  summaryTable,
  withPart,
} from "../../../tools/bench/document.ts";
import { figureOf, meetsBudget, type Figure } from "../../../tools/bench/figures.ts";
import { parseReport, pluginArguments } from "../../../tools/bench/plugin.ts";
import { costs } from "../../../tools/bench/profile.ts";
import { ROWS, SETUPS } from "../../../tools/bench/rows.ts";
import { combine, type BenchImages } from "../../../tools/bench/run.ts";
import { curveTable, growthOf, type Curve } from "../../../tools/bench/scale.ts";
import { number, tableLines } from "../../../tools/bench/table.ts";
import { coloursFor } from "../../../tools/terminal.ts";

const REPORT = `enter firmware other=6 firmware=0 hypervisor=0
enter hypervisor other=6 firmware=100 hypervisor=0
enter host other=6 firmware=150 hypervisor=4000
interval other=3000 firmware=0 hypervisor=107000
own other=10 firmware=0 hypervisor=7000
at 80200000 100000
at 80200006 7000
interval other=30 firmware=20 hypervisor=6500
`;
const LINES = [
  "bench: value host-memory 2134900736",
  "something else",
  "bench: measure null-call-host 1000",
  "bench: measure convert-100 1",
  "bench: done",
];
const IMAGES = { imageSize: 114_688 } as BenchImages;

function figure(name: string, hypervisor: number, budget: number | null = null): Figure {
  return { name, total: hypervisor + 1, hypervisor, budget, original: null };
}

function row(name: string) {
  return ROWS.find((candidate) => candidate.name === name)!;
}

test("figures are per operation and per page, with the firmware's share", () => {
  const run = combine(SETUPS.reference, LINES, parseReport(REPORT));
  assert.deepEqual(figureOf(row("null-call-host"), run, IMAGES), {
    name: "null-call-host",
    total: 110,
    hypervisor: 107,
    budget: 120,
    original: 516,
  });
  const convert = figureOf(row("convert-100"), run, IMAGES);
  assert.deepEqual([convert.total, convert.hypervisor], [65.5, 65.2]);
  // The firmware's start before the hypervisor's is not counted.
  assert.equal(figureOf(row("boot"), run, IMAGES).hypervisor, 4050);
  assert.equal(figureOf(row("memory-kept"), run, IMAGES).hypervisor, 10 << 20);
  assert.equal(figureOf(row("image-size"), run, IMAGES).total, 114_688);
  assert.throws(() => figureOf(row("create"), run, IMAGES), /did not measure create/);
});

test("on a machine with several harts a row may be about one of them", () => {
  const run = combine(SETUPS.busy2, LINES, parseReport(REPORT));
  const own = { ...row("ecall-exit-own-2"), from: "null-call-host" };
  assert.equal(figureOf(own, run, IMAGES).hypervisor, 7);
  assert.equal(figureOf({ ...own, share: "all" }, run, IMAGES).hypervisor, 107);
});

test("intervals that nobody announced, or that were not closed, are refused", () => {
  assert.throws(
    () => combine(SETUPS.reference, LINES.slice(0, 3), parseReport(REPORT)),
    /1 measurements were announced, 2 were counted/,
  );
  assert.throws(() => parseReport(`${REPORT}unclosed\n`), /in the middle/);
});

test("the plugin's arguments are hexadecimal, and commas in paths are kept", () => {
  const regions = [{ name: "host", start: 0xc0200000, end: 0xc0400000 }];
  const [flag, value] = pluginArguments("/a,b/plugin.so", "/tmp/out", regions, { name: "x", start: 16, end: 32 });
  assert.equal(flag, "-plugin");
  assert.equal(value, "/a,,b/plugin.so,output=/tmp/out,region=host:c0200000:c0400000,detail=10:20");
});

test("a profile sums instructions by the function that holds them", () => {
  const measurement = combine(SETUPS.reference, LINES, parseReport(REPORT)).measurements.get("null-call-host")!;
  const symbols = [
    { address: 0x80200000, name: "first" },
    { address: 0x80200004, name: "second" },
    { address: 0x80200100, name: "third" },
  ];
  assert.deepEqual(costs(measurement, symbols, 1), [
    { name: "first", instructions: 100 },
    { name: "second", instructions: 7 },
  ]);
});

test("a figure may be two percent worse than the baseline, and a budget that was met stays met", () => {
  const before = updated({}, "gcc 12.2.0", [figure("a", 100), figure("b", 990, 1000), figure("c", 70, 50)]);
  const check = (...figures: Figure[]): string[] => regressions(before, "gcc 12.2.0", figures);
  assert.deepEqual(check(figure("a", 102), figure("b", 1000, 1000), figure("c", 71, 50)), []);
  assert.match(check(figure("a", 103))[0], /a: hypervisor is 103, 3.0 % more than the 100 of the baseline/);
  assert.match(check(figure("b", 1001, 1000))[0], /over the budget of 1000, which was met/);
  assert.match(check(figure("d", 1))[0], /not in bench\/baseline.json/);
  assert.throws(() => regressions(before, "gcc 13.1.0", []), /has figures for gcc 12.2.0, not for gcc 13.1.0/);
});

test("an update changes the rows that were measured, of this compiler", () => {
  const before = updated({}, "gcc 12.2.0", [figure("a", 100), figure("b", 200, 100)]);
  const after = updated(updated(before, "gcc 13.1.0", [figure("a", 1)]), "gcc 12.2.0", [figure("b", 90, 100)]);
  assert.equal(after["gcc 12.2.0"]["a"].hypervisor, 100);
  assert.deepEqual(after["gcc 12.2.0"]["b"], { total: 91, hypervisor: 90, budgetMet: true });
  assert.equal(after["gcc 13.1.0"]["a"].budgetMet, null);
});

test("the table shows every row", () => {
  const figures = [figure("create", 2981, 20_000), { ...figure("convert-100", 65.4, 50), original: 619.2 }];
  const lines = tableLines(figures, coloursFor({}, true));
  assert.equal(lines.length, 3);
  assert.match(lines[1], /^✔ create a TVM +2,981 +2,982 +20,000$/);
  assert.match(lines[2], /^✖ convert 100 pages, per page +65.4 +66.4 +50 +619.2 +9.5 x$/);
  assert.equal(number(null), "");
  assert.ok(meetsBudget(figures[0]) && !meetsBudget(figures[1]));
});

test("row names are unique, and their machines exist", () => {
  assert.equal(new Set(ROWS.map(({ name }) => name)).size, ROWS.length);
  for (const { on, per } of ROWS) assert.ok(on in SETUPS && per > 0);
});

test("docs/performance.md and the README have the figures of the baseline", () => {
  assert.equal(partOf(readDocument(), "figures"), figureTable(readBaseline()));
  assert.equal(partOf(readReadme(), "summary"), summaryTable(readBaseline()));
  const document = withPart("a\n<!-- made by the suite: x -->\nold\n<!-- end of x -->\nb", "x", "new");
  assert.equal(document, "a\n<!-- made by the suite: x -->\n\nnew\n\n<!-- end of x -->\nb");
  assert.throws(() => withPart(document, "y", "new"), /has no place for its part "y"/);
});

test("growth is that of the steps against their work, or of the cost where the work stays the same", () => {
  const points = (work: (x: number) => number, y: (x: number) => number) =>
    [1, 2, 4, 8].map((x) => ({ x, y: y(x), work: work(x) }));
  const same = (x: number): number => x;
  assert.equal(growthOf(points(same, (x) => 1000 + 7 * x)), 1);
  assert.equal(growthOf(points(same, (x) => 1000 + x * x)), 4);
  assert.equal(
    growthOf(
      points(
        () => 1,
        () => 656,
      ),
    ),
    1,
  );
  assert.equal(
    growthOf(
      points(
        () => 1,
        (x) => 100 + x,
      ),
    ),
    108 / 101,
  );
});

test("curves are a table and an image that hold their points", () => {
  const points = [1, 2, 4].map((x) => ({ x, y: 1000 * x, work: x }));
  const curve: Curve = { title: "boot", unit: "instructions", along: "harts", points, growth: growthOf(points) };
  assert.match(curveTable([curve]), /\| 1: 1,000; 2: 2,000; 4: 4,000 +\| harts +\| 1.00 +\|/);
  const image = chart([curve, curve, curve, curve]);
  assert.match(image, /viewBox="0 0 900 380"/);
  assert.equal(image.match(/<polyline points="62,122.2 172,99.3 282,53.7"/g)?.length ?? 0, 4, image);
});
