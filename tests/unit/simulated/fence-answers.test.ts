import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { Operation } from "../../../machine/simulated/guest-script.ts";
import type { Hart } from "../../../machine/simulated/hart.ts";
import { Interleaver } from "../../../machine/simulated/interleaver.ts";
import { CoveHost, HOST_CODE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covh, Eid, Hsm, Rfence } from "../support/simulated/sbi.ts";

/**
 * A vCPU of a TVM makes a remote fence while another hart enters the vCPU that it is for, and has not said yet that it is the one that runs it: whoever waits
 * asks all other harts, gets its answer, and goes on.
 */

const MOST_CALLS = 2000;

describe("a remote fence for a vCPU that is being entered", () => {
  for (const [what, before] of [
    ["for the first time", "never"],
    ["and ran on the hart that waits", "here"],
    ["and ran on the hart that enters it", "there"],
  ] as const) {
    test(what, async () => {
      const host = await CoveHost.boot({ options: { harts: [0, 1, 2] } });
      const { machine } = host;
      const tvm = host.buildTvm({ vcpus: 2 });
      host.registerNacl();
      const others = [1, 2].map((id) => {
        assert.equal(host.call(Eid.hsm, Hsm.start, id, HOST_CODE, 0).error, 0n);
        const driver = new GuestDriver(machine, id);
        while (machine.canStep(driver.hart)) driver.step();
        assert.equal(driver.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, 0n);
        return driver;
      });
      const enters = others[0];
      host.enter(tvm);
      assert("switched" in host.perform(operations.ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0)));
      host.runResult();
      if (before !== "never") {
        const driver = before === "here" ? host : enters;
        assert("switched" in driver.perform(operations.ecall(Eid.covh, Covh.cpuRun, tvm.id, 1)));
        assert("switched" in driver.perform(operations.wfi()));
        assert("done" in driver.resume());
      }
      host.enter(tvm);

      host.checker.paused = true;
      const interleaver = new Interleaver(machine);
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
      const complete = (hart: Hart): Promise<void> => advance(hart, () => false);

      // The other hart has made the vCPU its own (state), and says next that it runs it.
      begin(enters.hart, operations.ecall(Eid.covh, Covh.cpuRun, tvm.id, 1));
      await advance(enters.hart, (call) => call === "cas32");
      await interleaver.advance(interleaver.entries.get(enters.hart)!);
      assert(interleaver.entries.has(enters.hart), "the vCPU is entered already");

      begin(host.hart, operations.ecall(Eid.rfence, Rfence.sfenceVma, 1 << 1, 0, 0, 4096));
      await complete(host.hart);
      assert.equal(host.hart.state, "waiting", "the fence is not done");
      await complete(enters.hart);
      // Whoever was asked answers, and so wakes the hart that waits.
      for (let round = 0; round < 20 && host.hart.state === "waiting"; round++) {
        for (const { hart } of [...others, host]) {
          if (!machine.canStep(hart)) continue;
          machine.step(hart);
          await complete(hart);
        }
      }
      assert.equal(host.hart.state, "guest", "nobody has woken the hart");
      assert.deepEqual([host.hart.registers[10], host.hart.registers[11]], [0n, 0n]);
      assert.equal(machine.contextOf(host.hart).key, `${tvm.id}:0`);
      assert.equal(machine.contextOf(enters.hart).key, `${tvm.id}:1`);
    });
  }
});
