import { chart } from "../../bench/chart.ts";
import { writeChart, writePart } from "../../bench/document.ts";
import { buildBench } from "../../bench/run.ts";
import { curveTable, measureCurves, TOLERATED_GROWTH } from "../../bench/scale.ts";
import { ensureTools } from "../../setup/index.ts";
import { coloursFor } from "../../terminal.ts";
import { progress } from "../report.ts";
import type { BenchFlags } from "./bench.ts";

/**
 * `salus bench scale`: how costs grow with memory, harts, TVMs and vCPUs. With --update the table and the image go into docs/performance.md.
 *
 * @returns false if --check found a cost that grows faster than its work
 */
export async function benchScale(flags: BenchFlags): Promise<boolean> {
  const { nativeCompiler, qemu } = await ensureTools({
    needs: ["compiler", "qemu", "nativeCompiler"],
    qemu: flags.qemu ?? (process.env["QEMU"] || undefined),
    log: progress,
  });
  const images = await buildBench(nativeCompiler!, progress);
  const curves = await measureCurves(qemu!, images, progress);
  const table = curveTable(curves);
  process.stdout.write(`${flags.json ? JSON.stringify(curves) : table}\n`);
  if (flags.update) {
    writePart("curves", table);
    writeChart(chart(curves));
  }
  const { red } = coloursFor(process.stderr, flags.plain);
  const found = curves.filter(({ growth }) => growth > TOLERATED_GROWTH);
  for (const { title, along, growth } of found) {
    process.stderr.write(`${red(`${title}, by ${along}: grows ${growth.toFixed(2)} times as fast as its work`)}\n`);
  }
  return !flags.check || found.length === 0;
}
