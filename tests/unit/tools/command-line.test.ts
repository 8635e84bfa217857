import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../../tools/failure.ts";
import { machineFrom, qemuChoice, type RunFlags } from "../../../tools/cli/machine-options.ts";
import { main, type Commands } from "../../../tools/cli/program.ts";
import { DEFAULT_MACHINE } from "../../../tools/qemu/machine.ts";

interface Call {
  command: string;
  args: unknown[];
}

/** Runs the command line with commands that only remember how they were called. */
async function runCommandLine(
  args: string[],
  outcome = true,
): Promise<{ status: number; calls: Call[]; out: string; err: string }> {
  const calls: Call[] = [];
  const remember =
    (command: string) =>
    (...received: unknown[]) => {
      calls.push({ command, args: received });
      return Promise.resolve(outcome);
    };
  const names = ["build", "run", "runLinux", "gdb", "image", "test", "coverage", "mutants", "bench", "check", "setup"];
  const commands = Object.fromEntries(names.map((name) => [name, remember(name)])) as unknown as Commands;
  let out = "";
  let err = "";
  const status = await main(args, commands, { out: (text) => (out += text), err: (text) => (err += text) });
  return { status, calls, out, err };
}

test("flags of a run reach the command, with their values read", async () => {
  const { status, calls } = await runCommandLine(
    ["run", "tellus", "--smp", "4", "--memory", "2G", "--numa", "2", "--no-iommu", "--plain", "--timeout", "9"].concat([
      "--guest-image",
      "x.bin",
      "--cpu",
      "max",
      "--qemu",
      "/q",
      "--qemu-args",
      "-d int",
      "--debug",
    ]),
  );
  assert.equal(status, 0);
  assert.equal(calls[0].command, "run");
  assert.deepEqual(
    { ...(calls[0].args[0] as RunFlags) },
    {
      smp: 4,
      memory: 2048,
      numa: 2,
      iommu: false,
      plain: true,
      timeout: 9,
      guestImage: "x.bin",
      cpu: "max",
      qemu: "/q",
      qemuArgs: "-d int",
      debug: true,
    },
  );
});

test("a failed command ends with status 1", async () => {
  assert.equal((await runCommandLine(["check"], false)).status, 1);
});

test("names of tests and files of an image are passed on", async () => {
  const tests = await runCommandLine(["test", "unit", "presenter", "--only", "panic"]);
  assert.deepEqual(tests.calls[0].args[0], ["unit", "presenter"]);
  const image = await runCommandLine(["image", "host.bin", "guest.bin", "-o", "out.bin"]);
  assert.deepEqual(image.calls[0].args, ["host.bin", "guest.bin", { output: "out.bin" }]);
});

test("a command line without a meaning is one sentence and status 2", async () => {
  const wrong = [
    ["run"],
    ["run", "windows"],
    ["run", "linux", "--ssh-port", "x"],
    ["run", "tellus", "--smp", "0"],
    ["run", "tellus", "--memory", "lots"],
    ["run", "tellus", "--colour"],
    ["run", "tellus", "--bare"],
    ["run", "tellus", "--kernel", "x"],
    ["run", "tellus", "--ssh-port", "0"],
    ["image", "host.bin", "guest.bin"],
    ["dance"],
  ];
  for (const args of wrong) {
    const { status, calls, err } = await runCommandLine(args);
    assert.equal(status, 2, args.join(" "));
    assert.deepEqual(calls, []);
    assert.match(err, /^salus: [^\n]+\n$/, args.join(" "));
  }
});

test("every command explains itself", async () => {
  for (const command of ["build", "run", "gdb", "image", "test", "coverage", "mutants", "bench", "check", "setup"]) {
    const { status, out } = await runCommandLine([command, "--help"]);
    assert.equal(status, 0);
    assert.match(out, new RegExp(`^Usage: salus ${command} `));
  }
});

test("flags win over the environment, which wins over the defaults", () => {
  assert.deepEqual(machineFrom({}, {}), DEFAULT_MACHINE);
  assert.deepEqual(machineFrom({}, { NCPU: "", MEM_SIZE: "", EXTRA_QEMU_ARGS: "" }), DEFAULT_MACHINE);
  const environment = { NCPU: "4", MEM_SIZE: "4096", EXTRA_QEMU_ARGS: "-d int", QEMU: "/tree" };
  const fromEnvironment = machineFrom({}, environment);
  assert.equal(fromEnvironment.harts, 4);
  assert.equal(fromEnvironment.memoryMiB, 4096);
  assert.deepEqual(fromEnvironment.extraArguments, ["-d", "int"]);
  const fromFlags = machineFrom({ smp: 8, memory: 256, qemuArgs: "" }, environment);
  assert.equal(fromFlags.harts, 8);
  assert.equal(fromFlags.memoryMiB, 256);
  assert.deepEqual(fromFlags.extraArguments, []);
  assert.equal(qemuChoice({}, environment), "/tree");
  assert.equal(qemuChoice({ qemu: "/other" }, environment), "/other");
  assert.equal(qemuChoice({}, { QEMU: "" }), undefined);
});

test("a variable without a meaning is named", () => {
  assert.throws(() => machineFrom({}, { NCPU: "many" }), /variable NCPU is "many"/);
  assert.throws(() => machineFrom({}, { MEM_SIZE: "0" }), UsageError);
});
