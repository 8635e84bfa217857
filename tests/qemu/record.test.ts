import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, suite, test } from "node:test";
import { readRecording, type Recording } from "../../machine/simulated/recording.ts";
import { Replay, ReplayDifference } from "../../machine/simulated/replay.ts";
import { buildArtifacts } from "../../tools/artifacts.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, qemuArguments } from "../../tools/qemu/machine.ts";
import { lastLines, ProtocolReader, shortcomings } from "../../tools/qemu/protocol.ts";
import { RecordingSession } from "../../tools/qemu/recording-session.ts";
import { runQemu, type RunResult } from "../../tools/qemu/runner.ts";

/** A whole run of the test host is recorded and replayed, and what is not the same is noticed. */

/** More than a number in the log has. */
const LOST = 16;
const TIMEOUT_SECONDS = 180;
const options = { flavour: "release", log: () => {} } as const;

suite("record and replay", () => {
  let run: RunResult;
  let recording: Recording;

  before(async () => {
    const qemu = locateQemu(process.env["QEMU"]);
    assert(qemu !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
    const artifacts = await buildArtifacts(options);
    const hostImage = { file: artifacts.hostImage, bytes: statSync(artifacts.hostImage).size };
    const machine = { ...DEFAULT_MACHINE, harts: 1 };
    const session = await RecordingSession.begin(options);
    const folder = mkdtempSync(path.join(tmpdir(), "salus-test-"));
    after(() => rmSync(folder, { recursive: true, force: true }));
    try {
      const boot = { hypervisor: session.hypervisor, hostImage, memoryFile: session.memoryFile };
      const args = qemuArguments(machine, boot);
      run = await runQemu({ executable: qemu, arguments: args, timeoutSeconds: TIMEOUT_SECONDS });
      const file = path.join(folder, "recording");
      session.save(file, machine.memoryMiB);
      recording = readRecording(file);
    } finally {
      session.end();
    }
  });

  test("the hypervisor that records does what it should, and says that it is not safe", () => {
    const reader = new ProtocolReader();
    for (const line of run.lines) reader.read(line);
    const reasons = shortcomings(reader, run);
    assert(reasons.length === 0, `${reasons.join("\n")}\nThe last lines:\n${lastLines(run.lines)}`);
    assert(run.lines.some((line) => line.includes("UNSAFE: this build records")));
  });

  test("the whole run replays", () => {
    assert(!recording.cutOff);
    const result = new Replay(recording).run();
    assert.equal(result.end, "in the hypervisor", "tellus ends the machine by a call");
    assert(result.entries > 10_000 && result.calls > 100_000, JSON.stringify(result));
    assert.equal(result.logBytes, recording.log.length);
  });

  test("a module that fences the wrong translations is noticed at its first fence", () => {
    // Both are imports without arguments and results, and their names are equally long.
    const module = Buffer.from(recording.module);
    const at = module.indexOf("hfenceGvmaAll");
    assert(at > 0);
    module.write("hfenceVvmaAll", at);
    assert.throws(() => new Replay(recording, module).run(), {
      name: "ReplayDifference",
      message: /it calls hfenceVvmaAll\(\), recorded was hfenceGvmaAll/,
    });
  });

  // A single byte can be one of the many of a time, whose loss moves nothing.
  test("a log that lacks some bytes is noticed", () => {
    for (const part of [0.01, 0.1, 0.4]) {
      const at = Math.floor(recording.log.length * part);
      const log = Buffer.concat([recording.log.subarray(0, at), recording.log.subarray(at + LOST)]);
      assert.throws(
        () => new Replay({ ...recording, log }).run(),
        ReplayDifference,
        `byte ${at} of ${recording.log.length}`,
      );
    }
  });

  test("an ordinary build says nothing of recording, and has no room for it", async () => {
    const { buildHypervisor } = await import("../../tools/build/index.ts");
    const build = await buildHypervisor(options);
    assert.equal(build.recordLog, undefined);
  });
});
