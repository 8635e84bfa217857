import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { giveInterruptFiles } from "../../explore/bind-states.ts";
import { CoveHost, HOST_CODE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covg, Covi, Eid, EVERY, Hsm, Sbi, errorName } from "../support/simulated/sbi.ts";

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

describe("harts in two groups, and guest files with fewer identities than the harts' own", () => {
  const LAST_IDENTITY = 63;

  test("files are given, moved from group to group and taken back, and no interrupt is lost", async () => {
    const options = { harts: [4, 5, 8, 9], interruptGroups: 2, interruptIdentities: 255, guestIdentities: 63 };
    const host = await CoveHost.boot({ options });
    const { machine } = host;
    const imsic = machine.imsic!;
    assert.deepEqual(
      imsic.regions.map(({ base }) => base),
      [0x2800_0000, 0x2900_0000],
    );
    const last = new GuestDriver(machine, 9);
    assert.equal(host.call(Eid.hsm, Hsm.start, 3, HOST_CODE, 0).error, Sbi.success);
    while (machine.canStep(last.hart)) last.step();
    const call = (driver: GuestDriver, fid: number, ...args: (number | bigint)[]): string =>
      errorName(driver.ecall(Eid.covi, fid, ...args).error);
    host.registerNacl();
    assert.equal(last.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
    const guest = host.buildTvm({ finalize: false });
    giveInterruptFiles(host, guest);
    host.must("tvmFinalize", guest.id, TVM_MEMORY, 0);
    // Guest file 1 of each hart is the host's own.
    for (const hart of [0, 3]) assert.equal(call(host, Covi.convertImsic, imsic.pageOf(hart, 1)), "success");
    host.fence();
    assert.equal(call(host, Covi.bindImsic, guest.id, 0, 2), "success");
    host.enter(guest);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.allowExternalInterrupt, EVERY)));
    host.runResult();
    const inject = (identity: number): string => call(host, Covi.injectExternalInterrupt, guest.id, 0, identity);
    assert.equal(inject(LAST_IDENTITY + 1), "denied");
    assert.equal(inject(LAST_IDENTITY), "success");
    assert.equal(call(last, Covi.rebindImsicBegin, guest.id, 0, 2), "success");
    assert.equal(inject(5), "success");
    host.must("tvmInitiateFence", guest.id);
    assert.equal(call(host, Covi.rebindImsicClone, guest.id, 0), "success");
    assert.equal(call(last, Covi.rebindImsicEnd, guest.id, 0), "success");
    assert.equal(imsic.harts[3].guest(2)!.pending, (1n << 5n) | (1n << BigInt(LAST_IDENTITY)));
    assert.equal(call(host, Covi.reclaimImsic, imsic.pageOf(0, 1)), "success");
    // The host's message to its own file of a hart in the other group arrives there.
    host.store(imsic.pageOf(3, 0), 4, 7);
    assert.equal(imsic.harts[3].guest(1)!.pending, 1n << 7n);
    host.store(imsic.pageOf(3, 0), 4, LAST_IDENTITY + 1);
    assert.equal(imsic.harts[3].guest(1)!.pending, 1n << 7n, "there is no such identity");
  });
});

for (const guestFiles of [0, 1, 2, 7, 31]) {
  test(`${guestFiles} guest files a hart: the host has the first, and gives away the others`, async () => {
    const host = await CoveHost.boot({ options: { guestFiles } });
    assert.equal(host.call(Eid.base, 3, Eid.covi).value !== 0n, guestFiles >= 2);
    if (guestFiles === 0) return;
    host.writeCsr("hgeie", EVERY);
    assert.equal(host.readCsr("hgeie"), ((1n << BigInt(guestFiles)) - 1n) & ~1n);
    host.writeCsr("hgeie", 0);
    const convert = (file: number): string => errorName(host.call(Eid.covi, Covi.convertImsic, filePage(file)).error);
    if (guestFiles >= 2) assert.equal(convert(guestFiles - 1), "success");
    assert.equal(convert(guestFiles), guestFiles >= 2 ? "invalidAddress" : "notSupported");
  });
}

test("what the firmware has left in guest files is gone when the host gets them", async () => {
  const machine = await Machine.create({ options: { harts: [0, 1] } });
  for (const hart of machine.imsic!.harts) {
    for (const file of hart.files.slice(1))
      Object.assign(file, { pending: 6n, enabled: 6n, delivery: 1n, threshold: 3n });
  }
  machine.boot();
  for (const file of machine.imsic!.harts[0].files.slice(1)) {
    assert.deepEqual([file.pending, file.enabled, file.delivery, file.threshold], [0n, 0n, 0n, 0n]);
  }
});

test("each hart has its own records of files", async () => {
  const { machine } = await CoveHost.boot({ options: { harts: [0, 1, 2, 3] } });
  const at = machine.harts.map(({ record }) => record.number("fileRecords"));
  // One of 8 bytes for each file that a hart can have, one hart's behind the other's.
  assert.deepEqual(
    at.map((address) => address - at[0]),
    [0, 512, 1024, 1536],
  );
});
