import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { findOnPath } from "../../../tools/qemu/locate.ts";
import { runQemu, type RunOptions } from "../../../tools/qemu/runner.ts";

/** The runner with a Node script in QEMU's place. */
function run(script: string, options: Partial<RunOptions> = {}): ReturnType<typeof runQemu> {
  return runQemu({ executable: process.execPath, arguments: ["-e", script], ...options });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function eventually(condition: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 200 && !condition(); attempt++)
    await new Promise((resolve) => setTimeout(resolve, 25));
  assert(condition());
}

test("lines, messages and the exit status are collected", async () => {
  const seen: string[] = [];
  const script = `process.stdout.write("one\\r\\ntw"); process.stdout.write("o\\r\\r\\n\\u2714\\nlast");
    console.error("hm"); process.exitCode = 7`;
  const result = await run(script, { onLine: (line) => seen.push(line) });
  assert.deepEqual(result.lines, ["one", "two", "\u2714", "last"]);
  assert.deepEqual(seen, result.lines);
  assert.deepEqual(result.messages, ["hm"]);
  assert.equal(result.exitCode, 7);
  assert.equal(result.timedOut, false);
});

test("a machine that does not end is killed, and what it said is kept", async () => {
  // It does not listen to SIGTERM either.
  const script = `process.on("SIGTERM", () => {}); console.log(process.pid); setInterval(() => {}, 1000)`;
  const result = await run(script, { timeoutSeconds: 0.5 });
  assert.equal(result.timedOut, true);
  assert.equal(result.signal, "SIGKILL");
  assert.equal(isAlive(Number(result.lines[0])), false);
});

test("a machine is ended when it has said what was waited for", async () => {
  const result = await run(`setInterval(() => console.log("tick"), 5)`, { until: (line) => line === "tick" });
  assert.deepEqual(result.lines, ["tick"]);
  assert.equal(result.stopped, true);
  assert.equal(result.timedOut, false);
});

test("an error in a callback ends the machine", async () => {
  let pid = 0;
  const onLine = (line: string): void => {
    pid = Number(line);
    throw new Error("no more");
  };
  await assert.rejects(run(`console.log(process.pid); setInterval(() => {}, 1000)`, { onLine }), /no more/);
  await eventually(() => !isAlive(pid));
});

for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
  // Only the kernel can act for a process that is killed, and setpriv asks it to.
  const skip = signal === "SIGKILL" && findOnPath("setpriv") === undefined && "there is no setpriv";
  test(`no machine outlives a runner that ${signal} ends`, { skip }, async () => {
    const runner = path.resolve(import.meta.dirname, "../../../tools/qemu/runner.ts");
    const machine = `console.log(process.pid); process.on("SIGINT", () => {}); setInterval(() => {}, 1000)`;
    const script = `import { runQemu } from ${JSON.stringify(runner)};
      await runQemu({ executable: process.execPath, arguments: ["-e", ${JSON.stringify(machine)}], onLine: console.log });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = await new Promise<number>((resolve) => {
      child.stdout.setEncoding("utf8").on("data", (text: string) => resolve(Number(text)));
    });
    assert(isAlive(pid));
    child.kill(signal);
    await new Promise((resolve) => child.on("exit", resolve));
    assert.equal(child.signalCode, signal);
    await eventually(() => !isAlive(pid));
  });
}
