import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTick } from "node:timers/promises";
import { buildControlledHost, command, hostReady } from "./support/controlled-host.ts";
import { breakPageRecord } from "./support/broken-record.ts";
import { addressOf, readSymbols } from "./support/elf-symbols.ts";
import { LiveMachine, type LiveOptions } from "./support/live-machine.ts";
import { inTime } from "./support/patience.ts";
import { ALL_PLACES, Secret } from "./support/secret-search.ts";

/**
 * A reset keeps RAM, and QEMU's too. Here it comes in the middle of a TVM's life, in every way; then all of RAM is searched for what the TVM
 * had in its memory and registers.
 */

const MEMORY_MIB = 128;
/** What a boot says that found secrets of the one before. */
const SCRUBBED = /^salus: the last run ended without scrubbing/;
const TP = 4;
const A0 = 10;
/** An address at which nothing is mapped. */
const NOWHERE = 0x10n;
const boot = await buildControlledHost();
const symbols = readSymbols(boot.hypervisor);

/** A machine on whose second hart a TVM runs that is full of secrets. */
async function withSecrets(
  options: Partial<LiveOptions>,
  work: (machine: LiveMachine, secret: Secret) => Promise<void>,
): Promise<void> {
  await LiveMachine.use({ boot, machine: { memoryMiB: MEMORY_MIB }, ...options }, async (machine) => {
    const secret = new Secret();
    if (options.gdb) await machine.resume();
    await hostReady(machine);
    command(machine, "tvm", secret.argument);
    await machine.line(/^host: the TVM holds its secrets$/);
    command(machine, "run");
    await machine.line(/^host: the TVM runs$/);
    await machine.pause();
    // Without this, nothing that is found later would mean nothing.
    assert.deepEqual((await secret.search(machine, MEMORY_MIB)).places, ALL_PLACES);
    await work(machine, secret);
  });
}

/**
 * Lets all harts wait in HS-mode and stops them: QEMU 10.0 aborts if a hart that it resets runs a VM, because the hart's V bit outlives
 * the reset.
 */
async function restAndPause(machine: LiveMachine): Promise<void> {
  command(machine, "rest");
  await machine.line(/^host: resting$/);
  const waiting = async (): Promise<void> => {
    while ((await machine.qmp.hartsInVms()) > 0) await nextTick();
  };
  await inTime(waiting(), () => "a hart still runs its VM");
  await machine.pause();
}

async function assertNothingLeft(machine: LiveMachine, secret: Secret): Promise<void> {
  const found = await secret.search(machine, MEMORY_MIB);
  assert.equal(found.toString(), "", "the secret is still in RAM");
}

test("a shutdown by the host", async () => {
  await withSecrets({ whenShutDown: "pause" }, async (machine, secret) => {
    await machine.resume();
    command(machine, "reset", 0, 0);
    await machine.qmp.event("SHUTDOWN");
    await assertNothingLeft(machine, secret);
  });
});

test("a shutdown for a failure", async () => {
  await withSecrets({ whenShutDown: "pause" }, async (machine, secret) => {
    await machine.resume();
    command(machine, "reset", 0, 1);
    await machine.qmp.event("SHUTDOWN");
    await assertNothingLeft(machine, secret);
  });
});

for (const [type, name] of [
  [1, "cold"],
  [2, "warm"],
] as const) {
  test(`a ${name} reboot by the host`, async () => {
    await withSecrets({ whenReset: "reset" }, async (machine, secret) => {
      await machine.resume();
      command(machine, "reset", type, 0);
      await hostReady(machine);
      await machine.pause();
      await assertNothingLeft(machine, secret);
      assert(!machine.lines.some((line) => SCRUBBED.test(line)), "the second boot had to scrub");
    });
  });
}

test("a broken invariant on one hart while another one runs the TVM", async () => {
  await withSecrets({ whenShutDown: "pause", gdb: true }, async (machine, secret) => {
    await breakPageRecord(machine.gdb, symbols);
    await machine.resume();
    await machine.line(/^salus: panic on hart \d+: reference dropped that nobody held /);
    await assertEndOfPanic(machine, secret);
  });
});

test("a fault of the hypervisor on the hart that runs the TVM", async () => {
  await withSecrets({ whenShutDown: "pause", gdb: true }, async (machine, secret) => {
    // The interrupt that ends the run is the only trap of a guest but its calls.
    const handler = addressOf(symbols, "vm/trap.ts:handleTrap");
    await machine.gdb.setBreakpoint(handler);
    command(machine, "rest");
    await machine.gdb.resumeToStop();
    await machine.gdb.clearBreakpoint(handler);
    const context = await machine.gdb.read64(await machine.gdb.register(TP));
    assert.notEqual(await machine.gdb.read64(context), 0n, "the trap is not the TVM's");
    // The function's first argument is the hart's record.
    await machine.gdb.setRegister(A0, NOWHERE);
    await machine.resume();
    await machine.line(/^salus: panic on hart \d+: load page fault in the hypervisor$/);
    await machine.line(/vm\/trap\.ts:handleTrap$/);
    await assertEndOfPanic(machine, secret);
  });
});

/** The panic's last words, and what it leaves: an ended machine without secrets, by no means a hart that did not stop. */
async function assertEndOfPanic(machine: LiveMachine, secret: Secret): Promise<void> {
  await machine.line(/^salus: the machine is powered off$/);
  await machine.qmp.event("SHUTDOWN");
  assert(!machine.lines.some((line) => /^salus: a hart does not stop/.test(line)), "a hart did not stop");
  await assertNothingLeft(machine, secret);
}

test("a reset behind the hypervisor's back", async () => {
  await withSecrets({ whenReset: "reset" }, async (machine, secret) => {
    await machine.resume();
    await restAndPause(machine);
    assert.deepEqual((await secret.search(machine, MEMORY_MIB)).places, ALL_PLACES);

    await machine.qmp.execute("system_reset");
    await machine.resume();
    await machine.line(SCRUBBED);
    await hostReady(machine);
    await machine.pause();
    await assertNothingLeft(machine, secret);

    // The mark went with the secrets.
    await machine.resume();
    await restAndPause(machine);
    await machine.qmp.execute("system_reset");
    await machine.resume();
    await hostReady(machine);
    assert.equal(machine.lines.filter((line) => SCRUBBED.test(line)).length, 1);
  });
});
