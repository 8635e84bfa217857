import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { giveInterruptFiles } from "../../explore/bind-states.ts";
import { CoveHost, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covg, Covi, Eid, EVERY, errorName } from "../support/simulated/sbi.ts";

/** Machines with as many guest interrupt files and identities as there can be. */

/** Guest file `n` (the host's number) of hart 0. */
const filePage = (n: number): number => 0x2800_0000 + n * PAGE;

describe("63 guest files and 2047 identities", () => {
  const LAST_FILE = 62;
  const LAST_IDENTITY = 2047n;

  test("the last of each works, and its whole state moves", async () => {
    const many = await CoveHost.boot({ options: { guestFiles: 63, interruptIdentities: 2047 } });
    const call = (fid: number, ...args: (number | bigint)[]): string =>
      errorName(many.call(Eid.covi, fid, ...args).error);
    many.registerNacl();
    const guest = many.buildTvm({ finalize: false });
    giveInterruptFiles(many, guest);
    many.must("tvmFinalize", guest.id, TVM_MEMORY, 0);
    many.writeCsr("hgeie", EVERY);
    assert.equal(many.readCsr("hgeie"), ((1n << 63n) - 1n) & ~1n, "files 1 to 62");
    many.writeCsr("hgeie", 0);
    for (const file of [LAST_FILE, 1]) assert.equal(call(Covi.convertImsic, filePage(file)), "success");
    many.fence();
    assert.equal(call(Covi.bindImsic, guest.id, 0, 1n << BigInt(LAST_FILE)), "success");
    many.enter(guest);
    assert("switched" in many.perform(operations.ecall(Eid.covg, Covg.allowExternalInterrupt, LAST_IDENTITY)));
    many.runResult();
    many.enter(guest);
    assert("done" in many.resume());
    for (const [register, value] of [
      [0x70, 1n],
      [0x72, 0x7ffn],
      [0xc0 + 62, 1n << 63n],
      [0xc0 + 30, 0x5555n],
    ] as const) {
      many.writeCsr("siselect", register);
      many.writeCsr("sireg", value);
    }
    many.leaveTvm();
    assert.equal(call(Covi.injectExternalInterrupt, guest.id, 0, LAST_IDENTITY), "success");
    assert.equal(call(Covi.rebindImsicBegin, guest.id, 0, 2), "success");
    many.must("tvmInitiateFence", guest.id);
    assert.equal(call(Covi.rebindImsicClone, guest.id, 0), "success");
    assert.equal(call(Covi.rebindImsicEnd, guest.id, 0), "success");
    const file = many.machine.imsic!.harts[0].guest(2)!;
    assert.equal(file.pending, 1n << LAST_IDENTITY);
    assert.equal(file.enabled, (1n << LAST_IDENTITY) | (0x5555n << 960n));
    assert.deepEqual([file.delivery, file.threshold], [1n, 0x7ffn]);
    many.enter(guest);
    assert("done" in many.resume());
    // A threshold of 2047 lets everything below it through; the last one waits.
    assert.equal(many.complete(operations.csrWrite("stopei", 0)), 0n);
    many.writeCsr("siselect", 0x72);
    many.writeCsr("sireg", 0);
    assert.equal(many.complete(operations.csrWrite("stopei", 0)), (LAST_IDENTITY << 16n) | LAST_IDENTITY);
  });
});
