import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildControlledHost, hostReady } from "./support/controlled-host.ts";
import { breakPageRecord } from "./support/broken-record.ts";
import { addressOf, readSymbols } from "./support/elf-symbols.ts";
import { LiveMachine } from "./support/live-machine.ts";

/** Panics: what they say, and that they end the machine, all of it, with a failure. */

/** The firmware is below the hypervisor's image: there a stopped hart waits. */
const FIRMWARE_END = 0x8020_0000n;
/** An address at which nothing is mapped. */
const NOWHERE = 0x10n;
const PC = 32;

const boot = await buildControlledHost();
const symbols = readSymbols(boot.hypervisor);

/** Names in the backtrace, innermost first. */
function frames(lines: string[]): string[] {
  return lines.flatMap((line) => /^ {4}0x[0-9a-f]+ (\S+)$/.exec(line)?.[1] ?? []);
}

test("without a host image", async () => {
  await LiveMachine.use({ boot: { hypervisor: boot.hypervisor } }, async (machine) => {
    await machine.line(/^salus: panic on hart \d+: no image of a host kernel/);
    await machine.line(/^salus: the machine is powered off$/);
    assert.equal((await machine.exit()).code, 1);
  });
});

describe("a broken invariant", () => {
  test("is named with file and line, and with the functions that led to it", async () => {
    await LiveMachine.use({ boot, gdb: true }, async (machine) => {
      await machine.resume();
      await hostReady(machine);
      await machine.pause();
      await breakPageRecord(machine.gdb, symbols);
      await machine.resume();
      await machine.line(
        /^salus: panic on hart \d+: reference dropped that nobody held \(hypervisor\/memory\/page-record\.ts:\d+:\d+\)$/,
      );
      await machine.line(/^salus: the machine is powered off$/);
      assert.equal((await machine.exit()).code, 1);

      const names = frames(machine.lines);
      const begin = names.indexOf("memory/page-record.ts:dropReference");
      assert(begin >= 0, `the culprit is not among ${names.join(", ")}`);
      // What lies between depends on what the compiler inlined.
      assert(names.indexOf("main.ts:trap") > begin, `the way from the trap is not shown by ${names.join(", ")}`);
      for (const name of names.slice(begin, names.indexOf("main.ts:trap"))) assert.match(name, /^[\w/-]+\.ts:[\w.]+$/);
    });
  });

  test("stops all other harts", async () => {
    const harts = 4;
    const options = { boot, gdb: true, machine: { harts }, whenShutDown: "pause" } as const;
    await LiveMachine.use(options, async (machine) => {
      await machine.resume();
      await hostReady(machine);
      await machine.pause();
      await breakPageRecord(machine.gdb, symbols);
      await machine.resume();
      await machine.line(/^salus: the machine is powered off$/);
      await machine.qmp.event("SHUTDOWN");
      const places = [...(await machine.qmp.monitor("info registers -a")).matchAll(/^ pc\s+([0-9a-f]+)/gm)];
      const waiting = places.filter(([, pc]) => BigInt(`0x${pc}`) < FIRMWARE_END);
      assert.equal(places.length, harts);
      assert(waiting.length >= harts - 1, `only ${waiting.length} harts wait in the firmware`);
      assert(!machine.lines.some((line) => line.includes("a hart does not stop")));
    });
  });
});

test("a fault is shown with its cause and registers", async () => {
  await LiveMachine.use({ boot, gdb: true }, async (machine) => {
    await machine.resume();
    await hostReady(machine);
    await machine.pause();
    const pin = addressOf(symbols, "memory/guest-access.ts:pinPage");
    await machine.gdb.setBreakpoint(pin);
    await machine.gdb.resumeToStop();
    await machine.gdb.clearBreakpoint(pin);
    // An instruction that does not exist, where there was one.
    const original = await machine.gdb.read64(pin);
    await machine.gdb.write64(pin, original & ~0xffffn);
    await machine.resume();
    await machine.line(/^salus: panic on hart \d+: illegal instruction in the hypervisor$/);
    const [, pc] = await machine.line(/^salus: {3}pc (0x[0-9a-f]+) {2}scause 0x2 /);
    assert.equal(BigInt(pc), pin);
    await machine.line(/memory\/guest-access\.ts:pinPage$/);
    await machine.line(/main\.ts:trap$/);
    await machine.line(/^salus: the machine is powered off$/);
    assert.equal((await machine.exit()).code, 1);
  });
});

test("a panic in a panic ends the machine all the same", async () => {
  await LiveMachine.use({ boot, gdb: true }, async (machine) => {
    await machine.resume();
    await hostReady(machine);
    await machine.pause();
    await breakPageRecord(machine.gdb, symbols);
    const backtrace = addressOf(symbols, "boot/backtrace.ts:printBacktrace");
    await machine.gdb.setBreakpoint(backtrace);
    await machine.gdb.resumeToStop();
    await machine.gdb.clearBreakpoint(backtrace);
    await machine.gdb.setRegister(PC, NOWHERE);
    await machine.resume();
    assert.equal((await machine.exit()).code, 1);
    assert.equal(machine.lines.filter((line) => /^salus: panic on hart/.test(line)).length, 1);
  });
});
