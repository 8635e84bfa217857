import assert from "node:assert/strict";
import { test } from "node:test";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { Hart } from "../../../machine/simulated/hart.ts";
import { Interleaver } from "../../../machine/simulated/interleaver.ts";
import { CoveHost, HOST_CODE } from "../support/simulated/cove-host.ts";
import { Covh, Eid, Hsm, errorName } from "../support/simulated/sbi.ts";

/** Calls that made way for an interrupt, and that other harts make again than those that began them. */

const MOST_CALLS = 100_000;
const SOFTWARE = 1n << 1n;
/** Three batches. */
const LONG = 2 * 512 + 1;

test("a call that its own vCPU takes while another hart is about to: that one makes it from the start", async () => {
  const host = await CoveHost.boot({ options: { harts: [0, 1] } });
  const { machine } = host;
  assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, 0n);
  const other = new GuestDriver(machine, 1);
  while (machine.canStep(other.hart)) other.step();
  const call = operations.ecall(Eid.covh, Covh.convertPages, host.take(LONG), LONG, 0, 0, 0, 0);
  host.writeCsr("sie", SOFTWARE);
  host.writeCsr("sip", SOFTWARE);
  machine.begin(host.hart, call);
  machine.step(host.hart);
  assert.equal(host.context.ending, undefined, "the call is over already");

  host.checker.paused = true;
  const interleaver = new Interleaver(machine);
  const advance = async (hart: Hart, until: (door: string | undefined) => boolean): Promise<void> => {
    for (let calls = 0; calls < MOST_CALLS; calls++) {
      const entry = interleaver.entries.get(hart);
      if (!entry || until(entry.call)) return;
      await interleaver.advance(entry);
    }
    assert.fail("the entry does not end");
  };
  // It has seen that the first hart has left the call, and waits to take it: for the lock.
  machine.begin(other.hart, call);
  machine.step(other.hart);
  await advance(other.hart, (door) => door === "swap32");
  assert(interleaver.entries.has(other.hart), "it takes no lock");
  host.hart.csr.setRaw("hvip", 0n);
  machine.step(host.hart);
  await advance(host.hart, () => false);
  assert.deepEqual([errorName(host.hart.registers[10]), host.hart.registers[11]], ["success", BigInt(LONG)]);
  await advance(other.hart, () => false);
  assert.equal(errorName(BigInt.asIntN(64, other.hart.registers[10])), "invalidAddress", "they are converted");
});

test("a call is found among those that several harts have left", async () => {
  const host = await CoveHost.boot({ options: { harts: [0, 1, 2] } });
  const { machine } = host;
  const others = [1, 2].map((id) => {
    assert.equal(host.call(Eid.hsm, Hsm.start, id, HOST_CODE, 0).error, 0n);
    const other = new GuestDriver(machine, id);
    while (machine.canStep(other.hart)) other.step();
    return other;
  });
  const leave = (driver: GuestDriver): number => {
    const gpa = host.take(LONG);
    driver.writeCsr("sie", SOFTWARE);
    driver.writeCsr("sip", SOFTWARE);
    machine.begin(driver.hart, operations.ecall(Eid.covh, Covh.convertPages, gpa, LONG, 0, 0, 0, 0));
    for (let i = 0; i < 2; i++) machine.step(driver.hart);
    driver.context.pending = undefined;
    return gpa;
  };
  leave(host);
  const second = leave(others[0]);
  let entries = 0;
  machine.afterEntry.push(() => void entries++);
  const { error, value } = others[1].ecall(Eid.covh, Covh.convertPages, second, LONG, 0, 0, 0, 0);
  assert.deepEqual([errorName(error), value], ["success", BigInt(LONG)]);
  assert.equal(entries, 1, "nothing waits for that hart");
});
