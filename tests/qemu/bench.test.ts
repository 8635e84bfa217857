import assert from "node:assert/strict";
import { test } from "node:test";
import { compilerVersion, readBaseline, regressions, type Baseline } from "../../tools/bench/baseline.ts";
import { figureOf, meetsBudget } from "../../tools/bench/figures.ts";
import { measureRows } from "../../tools/bench/measure.ts";
import { ROWS } from "../../tools/bench/rows.ts";
import { buildBench } from "../../tools/bench/run.ts";
import { number } from "../../tools/bench/table.ts";
import { ensureTools } from "../../tools/setup/index.ts";

/** The gate: what `npm run bench -- --check` holds, with every `npm test`. Executed instructions are the same on every computer. */

const { compiler, nativeCompiler, qemu } = await ensureTools({
  needs: ["compiler", "qemu", "nativeCompiler"],
  qemu: process.env["QEMU"] || undefined,
  log: () => {},
});
const version = await compilerVersion(compiler!);
const images = await buildBench(nativeCompiler!, () => {});
/** The short set: counting with several harts is slow, one number of them is enough; and so are measured pages by the thousand, of which a hundred are in it. */
const LONG = ["busy2", "busy8", "measured", "gibibyte"];
const GATE = ROWS.filter(({ on }) => !LONG.includes(on));
const { figures, runs } = await measureRows(GATE, { qemu: qemu!, images, log: () => {} });
/** Another compiler has other figures: with it, these are what to compare with in the tests of the gate itself. */
const own: Baseline = Object.fromEntries([
  [
    version,
    Object.fromEntries(
      figures.map((figure) => {
        const budgetMet = figure.budget === null ? null : meetsBudget(figure);
        return [figure.name, { total: figure.total, hypervisor: figure.hypervisor, budgetMet }];
      }),
    ),
  ],
]);

test("every budget is met", () => {
  const broken = figures.filter((figure) => !meetsBudget(figure));
  assert.deepEqual(
    broken.map(({ name, hypervisor, budget }) => `${name}: ${number(hypervisor)} of ${number(budget)}`),
    [],
  );
});

test("no figure is more than two percent worse than bench/baseline.json", (context) => {
  const baseline = readBaseline();
  if (!(version in baseline)) return context.skip(`the file has no figures of ${version}, budgets alone are held`);
  assert.deepEqual(regressions(baseline, version, figures), []);
});

test("the gate bites: one figure that is three percent worse, and work that takes longer", () => {
  assert.deepEqual(regressions(own, version, figures), []);
  const exit = figures.find(({ name }) => name === "ecall-exit")!;
  const slower = { ...exit, hypervisor: exit.hypervisor * 1.03 };
  assert.match(regressions(own, version, [slower])[0], /^ecall-exit: hypervisor is .*, 3.0 % more/);
  // The same hypervisor on harts without cbo.zero executes more: counted, not made up.
  const row = ROWS.find(({ name }) => name === "add-zero-100")!;
  const withoutZicboz = figureOf(row, runs.get("plain")!, images);
  const found = regressions(own, version, [withoutZicboz]);
  assert.equal(found.length, 3);
  assert.match(found[0], /^add-zero-100: hypervisor/);
  assert.match(found[1], /^add-zero-100: total/);
  assert.match(found[2], /is over the budget of 200, which was met/);
});

test("a run repeats to the instruction", async () => {
  const names = ["boot", "ecall-exit", "convert-10000", "get-evidence"];
  const rows = ROWS.filter(({ name }) => names.includes(name));
  const again = await measureRows(rows, { qemu: qemu!, images, log: () => {} });
  assert.deepEqual(
    again.figures,
    names.map((wanted) => figures.find(({ name }) => name === wanted)),
  );
});
