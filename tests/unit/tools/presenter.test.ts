import assert from "node:assert/strict";
import { test } from "node:test";
import { Presenter } from "../../../tools/qemu/presenter.ts";
import { ProtocolReader, shortcomings } from "../../../tools/qemu/protocol.ts";
import type { RunResult } from "../../../tools/qemu/runner.ts";
import { coloursFor } from "../../../tools/terminal.ts";

const WELL = `
OpenSBI v1.5
Platform Name             : riscv-virtio,qemu

salus: 2 harts
TEST: Salus Boot 0
PASS: Salus Boot 0
Tellus: Booting the test VM
TEST: booting tellus 0
PASS: booting tellus 0
Donating 12 pages for TVM creation
Hello world from Tellus guest
TEST: guestvm boot 0
PASS: guestvm boot 0
Exiting guest
Guest VM requested shutdown
Tellus - All OK`.split("\n");

const ENDED: RunResult = {
  lines: [],
  messages: [],
  exitCode: 0,
  signal: null,
  timedOut: false,
  stopped: false,
  seconds: 3.21,
};

function present(
  lines: string[],
  end: Partial<RunResult> = {},
  options: object = {},
): { shown: string[]; good: boolean } {
  const shown: string[] = [];
  const presenter = new Presenter({ write: (line) => shown.push(line), colours: coloursFor({}, true), ...options });
  for (const line of lines) presenter.line(line);
  return { good: presenter.finish({ ...ENDED, lines, ...end }), shown };
}

test("a good run: who speaks, the steps, the counts", () => {
  const { shown, good } = present(WELL);
  assert(good);
  assert.deepEqual(shown, [
    "Firmware",
    "  OpenSBI v1.5",
    "Salus",
    "  2 harts",
    "  ✔ Salus Boot 0",
    "Tellus",
    "  Tellus: Booting the test VM",
    "  ✔ booting tellus 0",
    "  Donating 12 pages for TVM creation",
    "Guest",
    "  Hello world from Tellus guest",
    "  ✔ guestvm boot 0",
    "  Exiting guest",
    "Tellus",
    "  Guest VM requested shutdown",
    "  Tellus - All OK",
    "",
    "3 passed, 0 failed in 3.2 s",
  ]);
});

test("raw output is the serial port's lines and the summary", () => {
  const { shown } = present(WELL, {}, { raw: true });
  assert.deepEqual(shown.slice(0, -1), WELL);
  assert.equal(shown.at(-1), "3 passed, 0 failed in 3.2 s");
});

test("verbose output has the firmware's lines, once", () => {
  const { shown } = present(WELL, {}, { verbose: true });
  assert.deepEqual(shown.slice(0, 4), [
    "Firmware",
    "  OpenSBI v1.5",
    "  Platform Name             : riscv-virtio,qemu",
    "Salus",
  ]);
});

test("colours are used only where they are wanted", () => {
  assert.equal(coloursFor({ isTTY: true }, false, {}).isColorSupported, true);
  assert.equal(coloursFor({ isTTY: true }, true, {}).isColorSupported, false);
  assert.equal(coloursFor({ isTTY: true }, false, { NO_COLOR: "1" }).isColorSupported, false);
  assert.equal(coloursFor({ isTTY: true }, false, { TERM: "dumb" }).isColorSupported, false);
  assert.equal(coloursFor({}, false, {}).isColorSupported, false);
  const { shown } = present(["PASS: x"], {}, { colours: coloursFor({ isTTY: true }, false, {}) });
  assert.equal(shown[0], "  \x1b[32m✔\x1b[39m x");
});

test("a failed step fails the run, even if the host says that all is well", () => {
  const { shown, good } = present(["TEST: a", "FAIL: a: got 3", "Tellus - All OK"]);
  assert(!good);
  assert(shown.includes("  ✖ a: got 3"));
  assert(shown.includes("✖ step failed: a: got 3"));
  assert.equal(shown.at(-1), "0 passed, 1 failed in 3.2 s");
});

test("a panic fails the run and says where QEMU's status came from", () => {
  const { shown, good } = present(["Salus: PANIC: assertion failed", "  at memory/page-map.ts:12"], { exitCode: 3 });
  assert(!good);
  assert(shown.includes("✖ Salus: PANIC: assertion failed"));
  assert(shown.includes("✖ QEMU ended with status 3"));
});

test("a run that ends early, hangs or is killed is no success", () => {
  const early = present(["TEST: fence"]);
  assert(!early.good);
  assert(early.shown.some((line) => line.includes("was not seen; the last step without a result is: fence")));
  assert.equal(early.shown.at(-1), "0 passed, 0 failed, 1 without a result in 3.2 s");

  const hung = present(WELL, { exitCode: null, signal: "SIGTERM", timedOut: true, seconds: 180 });
  assert(!hung.good);
  assert(hung.shown.includes("✖ the machine did not end: stopped after 180 s"));

  const killed = present(WELL, { exitCode: null, signal: "SIGKILL" });
  assert(killed.shown.includes("✖ QEMU was ended by SIGKILL"));

  const refused = present([], { exitCode: 1, messages: ["qemu-system-riscv64: no such CPU"] });
  assert(refused.shown.includes("✖ qemu-system-riscv64: no such CPU"));
});

test("a run that never leaves the firmware shows what the firmware said", () => {
  const { shown } = present(["OpenSBI v1.5", "Runtime SBI Version: 2.0"], { timedOut: true });
  assert(shown.some((line) => line.includes("Runtime SBI Version")));
});

test("steps of the same name, nested steps and results without a beginning are counted", () => {
  const reader = new ProtocolReader();
  const lines = ["TEST: mmio", "TEST: inner", "PASS: inner", "PASS: mmio", "TEST: mmio", "PASS: mmio", "PASS: alone"];
  for (const line of lines) reader.read(line);
  assert.deepEqual(
    reader.steps.map(({ name, outcome }) => `${name} ${outcome}`),
    ["mmio passed", "inner passed", "mmio passed", "alone passed"],
  );
  assert.deepEqual(shortcomings(reader, ENDED), [`"Tellus - All OK" was not seen`]);
});

test("evidence is shown by the number of its bytes, and as it is with --plain", () => {
  const lines = ["EVIDENCE: nonce 00ff", "EVIDENCE: chain 0102", "EVIDENCE: chain 03", "EVIDENCE: end"];
  const { shown } = present([...WELL.slice(0, 12), ...lines, ...WELL.slice(12)]);
  assert(shown.some((line) => line.includes("evidence for the verifier: nonce 2 bytes, chain 3 bytes")));
  assert(!shown.some((line) => line.includes("EVIDENCE")));
  const raw = present([...WELL.slice(0, 12), ...lines, ...WELL.slice(12)], {}, { raw: true });
  for (const line of lines) assert(raw.shown.includes(line));
});
