import assert from "node:assert/strict";
import { test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { Operation } from "../../../machine/simulated/guest-script.ts";
import type { Hart } from "../../../machine/simulated/hart.ts";
import { Interleaver } from "../../../machine/simulated/interleaver.ts";
import { CoviHost } from "../support/simulated/covi-host.ts";
import { Covg, Covi, Eid } from "../support/simulated/sbi.ts";

/** An injection that has begun when the guest denies the interrupt: it is over before the guest hears that nothing comes any more. */

const IDENTITY = 9;
const MOST_CALLS = 2000;

test("a guest that denies an interrupt waits for the injection that has already been allowed", async () => {
  const covi = await CoviHost.boot();
  covi.finalize();
  covi.bind(0, 1);
  covi.enter(0);
  covi.allowAll(0);
  covi.enter(0);
  const { machine } = covi.host;
  covi.host.checker.paused = true;
  const interleaver = new Interleaver(machine);
  const [guest, host] = [covi.drivers[0].hart, covi.drivers[1].hart];
  const begin = (hart: Hart, operation: Operation): void => {
    machine.begin(hart, operation);
    machine.step(hart);
  };
  const advance = async (hart: Hart, until: (call: string | undefined) => boolean): Promise<void> => {
    for (let calls = 0; calls < MOST_CALLS; calls++) {
      const entry = interleaver.entries.get(hart);
      if (!entry || until(entry.call)) return;
      await interleaver.advance(entry);
    }
    assert.fail("the entry does not end");
  };

  begin(host, operations.ecall(Eid.covi, Covi.injectExternalInterrupt, covi.tvm, 0, IDENTITY));
  await advance(host, (call) => call === "mmioWrite32");
  assert(interleaver.entries.has(host), "the injection is not sent yet");

  begin(guest, operations.ecall(Eid.covg, Covg.denyExternalInterrupt, IDENTITY));
  await advance(guest, (call) => call === "pause");
  assert(interleaver.entries.has(guest), "the guest's call is over before the injection");
  await advance(host, () => false);
  assert.equal((covi.file(0, 1).pending >> BigInt(IDENTITY)) & 1n, 1n);
  await advance(guest, () => false);
  assert.equal(interleaver.entries.size, 0);

  // From now on nothing is injected.
  begin(host, operations.ecall(Eid.covi, Covi.injectExternalInterrupt, covi.tvm, 0, IDENTITY));
  await advance(host, () => false);
  assert.equal(BigInt.asIntN(64, host.registers[10]), -4n);
});
