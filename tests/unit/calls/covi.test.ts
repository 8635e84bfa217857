import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { CoviHost, TVM_IMSIC } from "../support/simulated/covi-host.ts";
import { Covg, Covh, Covi, EVERY, Eid } from "../support/simulated/sbi.ts";
import type { CoviName } from "../support/simulated/sbi.ts";

/** COVI, call by call: what each answers in which state, and that an error changes nothing. Calls are made on hart 0 unless they say another. */

let covi: CoviHost;
const NO_GUEST = 0x7777;

before(async () => {
  covi = await CoviHost.boot();
  covi.host.save("new");
  covi.finalize();
  covi.host.save("finalized");
  covi.bind(0, 1);
  covi.host.save("bound");
  covi.enter(0);
  covi.allowAll(0);
  covi.host.save("allowed");
});

const at = (state: string): CoviHost => {
  covi.host.restore(state);
  return covi;
};

describe("TvmAiaInit", () => {
  test("gives the TVM's vCPUs interrupt files; once more the same is no error", () => {
    const { tvm } = at("new");
    covi.must("tvmAiaInit", tvm, covi.geometry(), 32);
    covi.must("tvmAiaInit", tvm, covi.geometry(), 40);
    const others = [{ base: 0x2900_0000n }, { hartBits: 3 }, { groupShift: 25 }, { guestBits: 1 }];
    for (const changes of others) {
      covi.refuses("alreadyAvailable", "tvmAiaInit", tvm, covi.geometry(changes), 32);
    }
    covi.refuses("alreadyAvailable", "tvmAiaInit", tvm, covi.geometry({ groupBits: 1, groupShift: 24 }), 32);
  });

  test("refuses a geometry that cannot be", () => {
    const { tvm } = at("new");
    const impossible = [
      ...[{ groupBits: 8 }, { hartBits: 16 }, { guestBits: 7 }, { groupShift: 23 }, { groupShift: 64 }],
      ...[
        { groupShift: 24, hartBits: 13 },
        { groupShift: 24, hartBits: 7, guestBits: 6 },
      ],
      ...[{ groupShift: 63, groupBits: 1 }, { base: 0x2800_1000n }, { base: 0x2900_0000n, groupBits: 1 }, { base: 1n }],
    ];
    for (const changes of impossible) {
      covi.refuses("invalidParam", "tvmAiaInit", tvm, covi.geometry(changes), 32);
    }
  });

  test("takes the largest that there is", () => {
    const { tvm } = at("new");
    covi.must(
      "tvmAiaInit",
      tvm,
      covi.geometry({ groupBits: 6, groupShift: 24, hartBits: 6, guestBits: 6, base: 0n }),
      32,
    );
  });

  test("refuses guest files of the vCPUs, and regions where there is no room", () => {
    const { tvm } = at("new");
    covi.refuses("notSupported", "tvmAiaInit", tvm, covi.geometry({ guests: 1 }), 32);
    covi.refuses("invalidAddress", "tvmAiaInit", tvm, covi.geometry({ base: BigInt(TVM_MEMORY) }), 32);
    covi.refuses("invalidAddress", "tvmAiaInit", tvm, covi.geometry({ base: 1n << 60n }), 32);
    // The second group would lie over the TVM's memory: the first is taken back.
    covi.refuses("invalidAddress", "tvmAiaInit", tvm, covi.geometry({ base: 0n, groupBits: 1, groupShift: 31 }), 32);
    covi.refuses("failed", "tvmAiaInit", tvm, covi.geometry({ base: 0x10_0000_0000n, groupBits: 7 }), 32);
  });

  test("refuses a TVM that there is not, bad parameters, and a TVM that is finalized", () => {
    const { tvm } = at("new");
    covi.refuses("invalidParam", "tvmAiaInit", NO_GUEST, covi.geometry(), 32);
    covi.refuses("invalidParam", "tvmAiaInit", tvm, covi.geometry(), 31);
    covi.refuses("invalidAddress", "tvmAiaInit", tvm, 0x9_0000_0000, 32);
    at("finalized");
    covi.refuses("invalidParam", "tvmAiaInit", tvm, covi.geometry(), 32);
  });
});

describe("while pages are added to the TVM, a batch at a time", () => {
  const PAGES = 600;
  const TARGET = TVM_MEMORY + 0x20_0000;

  /** Hart 0 has begun to add pages; the tables that they need have been counted, and not been taken yet. */
  function begun(): void {
    const { tvm, host } = at("finalized");
    covi.convert(1, 1);
    const pages = host.donated(PAGES);
    host.writeCsr("sie", 2n);
    host.writeCsr("sip", 2n);
    host.machine.begin(host.hart, operations.ecall(Eid.covh, Covh.addZeroPages, tvm, pages, 0, PAGES, TARGET));
    for (let i = 0; i < 2; i++) host.machine.step(host.hart);
    assert.equal(host.context.ending, undefined);
  }

  test("a file is bound when that is over: its table may be the last one", () => {
    begun();
    const { tvm, host, drivers } = covi;
    host.machine.begin(drivers[1].hart, operations.ecall(Eid.covi, Covi.bindImsic, tvm, 0, 2));
    for (let i = 0; i < 3; i++) drivers[1].step();
    assert.equal(drivers[1].context.ending, undefined, "it waits");
    const added = host.resume();
    assert("done" in added && (added.done as { error: bigint }).error === 0n);
    const bound = drivers[1].resume();
    assert("done" in bound && (bound.done as { error: bigint }).error === 0n);
  });

  test("the vCPU that called it off has it carried out", () => {
    begun();
    const { host } = covi;
    host.context.pending = undefined;
    assert.equal(covi.call(0, "bindImsic", covi.tvm, 0, 0).error, -3n);
    host.hart.csr.setRaw("hvip", 0n);
    assert.equal(host.checker.state.rangeCalls().length, 0);
    assert.equal(host.covh("addZeroPages", covi.tvm, host.donated(1), 0, 1, TARGET).error, -5n);
  });
});

describe("SetImsicAddress", () => {
  test("can be changed until the TVM is finalized", () => {
    const { tvm } = at("new");
    covi.refuses("notSupported", "setImsicAddress", tvm, 0, TVM_IMSIC);
    covi.must("tvmAiaInit", tvm, covi.geometry(), 32);
    covi.must("setImsicAddress", tvm, 0, TVM_IMSIC + PAGE);
    covi.must("setImsicAddress", tvm, 0, TVM_IMSIC);
    covi.refuses("invalidParam", "setImsicAddress", tvm, 2, TVM_IMSIC);
    covi.refuses("invalidParam", "setImsicAddress", tvm, EVERY, TVM_IMSIC);
    for (const address of [TVM_IMSIC + 1, TVM_IMSIC + 4 * PAGE, TVM_IMSIC - PAGE, 0, EVERY]) {
      covi.refuses("invalidAddress", "setImsicAddress", tvm, 0, address);
    }
    at("finalized");
    covi.refuses("invalidParam", "setImsicAddress", tvm, 0, TVM_IMSIC);
  });

  test("with guest bits only the supervisor's file of a hart is one", () => {
    const { tvm } = at("new");
    covi.must("tvmAiaInit", tvm, covi.geometry({ guestBits: 1, groupBits: 1, groupShift: 26 }), 32);
    covi.refuses("invalidAddress", "setImsicAddress", tvm, 0, TVM_IMSIC + PAGE);
    covi.must("setImsicAddress", tvm, 0, TVM_IMSIC + 2 * PAGE);
    covi.must("setImsicAddress", tvm, 0, TVM_IMSIC + 0x400_0000 + 2 * PAGE);
    covi.refuses("invalidAddress", "setImsicAddress", tvm, 0, TVM_IMSIC + 0x800_0000);
  });

  test("every vCPU needs one of its own before TvmFinalize, which can be tried again", () => {
    const { tvm, host } = at("new");
    covi.must("tvmAiaInit", tvm, covi.geometry(), 32);
    const refusesFinalize = (): void => host.refuses("invalidState", "tvmFinalize", tvm, TVM_MEMORY, 0);
    refusesFinalize();
    covi.must("setImsicAddress", tvm, 0, TVM_IMSIC);
    refusesFinalize();
    covi.must("setImsicAddress", tvm, 1, TVM_IMSIC);
    refusesFinalize();
    covi.must("setImsicAddress", tvm, 1, TVM_IMSIC + PAGE);
    host.must("tvmFinalize", tvm, TVM_MEMORY, 0);
  });

  test("geometry and addresses are measured", () => {
    const measured = (addresses: number[], changes = {}): string => {
      const { tvm, host } = at("new");
      covi.must("tvmAiaInit", tvm, covi.geometry(changes), 32);
      addresses.forEach((address, vcpu) => covi.must("setImsicAddress", tvm, vcpu, address));
      host.must("tvmFinalize", tvm, TVM_MEMORY, 0);
      const vm = host.checker.state.vms().find(({ id }) => id === tvm)!;
      const bytes = host.machine.memory.slice(vm.record.number("measurements"), 8 * 48);
      return Buffer.from(bytes).toString("hex");
    };
    const all = [
      measured([TVM_IMSIC, TVM_IMSIC + PAGE]),
      measured([TVM_IMSIC + PAGE, TVM_IMSIC]),
      measured([TVM_IMSIC, TVM_IMSIC + PAGE], { hartBits: 3 }),
      measured([TVM_IMSIC, TVM_IMSIC + PAGE], { groupBits: 1 }),
      measured([TVM_IMSIC, TVM_IMSIC + PAGE], { groupShift: 25 }),
    ];
    assert.equal(new Set(all).size, all.length);
    assert.equal(measured([TVM_IMSIC, TVM_IMSIC + PAGE]), all[0]);
  });
});

describe("ConvertImsic and ReclaimImsic", () => {
  test("take a guest file from the host, and give it back after a fence", () => {
    const { host } = at("finalized");
    const page = covi.filePage(0, 1);
    host.store(page, 4, 5);
    covi.must("convertImsic", page);
    covi.refuses("invalidAddress", "convertImsic", page);
    covi.refuses("invalidAddress", "reclaimImsic", page);
    host.fence();
    assert.equal(host.trapOf(operations.store(page, 4, 5)).cause, 7);
    covi.must("reclaimImsic", page);
    covi.refuses("invalidAddress", "reclaimImsic", page);
    host.store(page, 4, 5);
  });

  test("refuse what is no guest file of the host", () => {
    const { host } = at("finalized");
    const wrong = [
      ...[covi.filePage(0, 0), covi.filePage(1, 0), covi.filePage(0, 1) + 4, covi.filePage(0, 3)],
      ...[host.take(1), 0x9_0000_0000, 0, EVERY, 1n << 50n],
    ];
    for (const page of wrong) {
      covi.refuses("invalidAddress", "convertImsic", page);
      covi.refuses("invalidAddress", "reclaimImsic", page);
    }
    const parked = host.donated(1);
    covi.refuses("invalidAddress", "reclaimImsic", parked);
  });

  test("a file of another hart, too; a page that the page calls leave alone", () => {
    const { host } = at("finalized");
    covi.must("convertImsic", covi.filePage(1, 2));
    host.refuses("invalidAddress", "convertPages", covi.filePage(0, 1), 1);
    host.refuses("invalidAddress", "reclaimPages", covi.filePage(1, 2), 1);
  });
});

describe("BindImsic", () => {
  test("needs a converted and fenced file of this hart, and a vCPU that is unbound", () => {
    const { tvm, host } = at("finalized");
    covi.refuses("invalidAddress", "bindImsic", tvm, 0, 2);
    covi.must("convertImsic", covi.filePage(0, 1));
    covi.refuses("invalidAddress", "bindImsic", tvm, 0, 2);
    host.fence();
    for (const mask of [0, 1, 6, 8, 1n << 63n]) covi.refuses("invalidParam", "bindImsic", tvm, 0, mask);
    covi.refusesOn(1, "invalidAddress", "bindImsic", tvm, 0, 2);
    covi.must("bindImsic", tvm, 0, 2);
    covi.refuses("invalidState", "bindImsic", tvm, 0, 2);
    covi.refuses("invalidAddress", "bindImsic", tvm, 1, 2);
    covi.refuses("invalidAddress", "reclaimImsic", covi.filePage(0, 1));
    covi.refuses("invalidAddress", "convertImsic", covi.filePage(0, 1));
  });

  test("needs a TVM that is finalized, and has interrupt files and tables for them", () => {
    const { tvm, host } = at("new");
    covi.refuses("notSupported", "bindImsic", tvm, 0, 2);
    covi.must("tvmAiaInit", tvm, covi.geometry(), 32);
    for (const name of ["bindImsic", "unbindImsicBegin", "injectExternalInterrupt", "rebindImsicBegin"] as const) {
      covi.refuses("invalidState", name, tvm, 0, 2);
    }
    const poor = host.createTvm();
    host.must("addPageTablePages", poor, host.donated(1), 1);
    host.must("cpuCreate", poor, 0, host.donated(host.info().vcpuPages));
    covi.must("tvmAiaInit", poor, covi.geometry(), 32);
    covi.must("setImsicAddress", poor, 0, TVM_IMSIC);
    host.must("tvmFinalize", poor, TVM_MEMORY, 0);
    covi.convert(0, 1);
    covi.refuses("failed", "bindImsic", poor, 0, 2);
  });

  test("what the host left in the file is gone", () => {
    const { tvm } = at("finalized");
    covi.file(0, 1).setPending(7);
    covi.file(0, 1).enabled = 0xffn;
    covi.file(0, 1).delivery = 1n;
    covi.file(0, 1).threshold = 3n;
    covi.bind(0, 1);
    assert.deepEqual(covi.file(0, 1).save(), [0n, 0n, 0n, 0n]);
    assert.equal(tvm, covi.tvm);
  });

  test("a vCPU runs only on the hart of its file", () => {
    const { tvm, host } = at("finalized");
    const run = (hart: number, vcpu: number): bigint =>
      covi.drivers[hart].ecall(Eid.covh, Covh.cpuRun, tvm, vcpu).error;
    assert.equal(run(0, 0), -10n);
    at("bound");
    assert.equal(run(1, 0), -10n);
    assert.equal(run(0, 1), -10n);
    covi.enter(0);
    assert.equal(host.hart.csr.guestFile(), 2);
  });

  test("a TVM stores to its sibling's file: an exit until it is bound, then an interrupt", () => {
    const { host } = at("bound");
    covi.enter(0);
    assert("switched" in host.perform(operations.store(covi.address(1), 4, 6)));
    host.runResult();
    assert.equal(host.readCsr("scause"), 23n);
    assert.equal(host.naclCsr(0x643) << 2n, BigInt(covi.address(1)));
    covi.bind(0, 2, 1);
    covi.enter(0);
    host.resume();
    assert.equal(covi.file(0, 2).pending, 1n << 6n);
    // A load there is nothing that a host could resolve.
    const [, second] = covi.drivers;
    assert.equal(second.hart.state, "guest");
  });

  test("a load of a file that is not bound ends the vCPU", () => {
    const { host } = at("bound");
    covi.enter(0);
    assert("switched" in host.perform(operations.load(covi.address(1), 4)));
    assert.equal(host.runResult().value, 1n);
  });
});

describe("UnbindImsicBegin and UnbindImsicEnd", () => {
  test("keep what the file held, with what arrives until the fence", () => {
    const { tvm } = at("allowed");
    const file = covi.file(0, 1);
    file.enabled = (1n << 5n) | (1n << 200n);
    file.delivery = 1n;
    file.threshold = 9n;
    covi.must("injectExternalInterrupt", tvm, 0, 5);
    covi.must("unbindImsicBegin", tvm, 0);
    assert.equal(file.delivery, 0n);
    file.setPending(200);
    // Injected while it is leaving.
    covi.must("injectExternalInterrupt", tvm, 0, 40);
    covi.refuses("invalidAddress", "unbindImsicEnd", tvm, 0);
    covi.refusesOn(1, "invalidState", "unbindImsicEnd", tvm, 0);
    covi.refuses("invalidState", "unbindImsicBegin", tvm, 0);
    covi.refuses("invalidState", "rebindImsicBegin", tvm, 0, 4);
    covi.fenceTvm();
    covi.must("unbindImsicEnd", tvm, 0);
    covi.refuses("invalidState", "unbindImsicEnd", tvm, 0);
    assert.deepEqual(file.save(), [0n, 0n, 0n, 0n]);
    // Injected while it has no file.
    covi.must("injectExternalInterrupt", tvm, 0, 64);
    covi.bind(1, 2);
    const expected = [(1n << 5n) | (1n << 200n) | (1n << 64n) | (1n << 40n), (1n << 5n) | (1n << 200n), 1n, 9n];
    assert.deepEqual(covi.file(1, 2).save(), expected);
    covi.must("reclaimImsic", covi.filePage(0, 1));
  });

  test("leave the host's own siselect as it was, as all that move a file do", () => {
    const { tvm, host } = at("allowed");
    const [, second] = covi.drivers;
    const keeps = (hart: number, name: CoviName, ...args: number[]): void => {
      const driver = covi.drivers[hart];
      driver.writeCsr("siselect", 0x72);
      covi.mustOn(hart, name, tvm, 0, ...args);
      assert.equal(driver.readCsr("siselect"), 0x72n, name);
    };
    keeps(0, "unbindImsicBegin");
    covi.fenceTvm();
    keeps(0, "unbindImsicEnd");
    keeps(0, "bindImsic", 2);
    covi.convert(1, 2);
    keeps(1, "rebindImsicBegin", 4);
    covi.fenceTvm();
    keeps(0, "rebindImsicClone");
    keeps(1, "rebindImsicEnd");
    assert.deepEqual([host.hart.state, second.hart.state], ["guest", "guest"]);
  });

  test("are made on the hart of the file", () => {
    const { tvm } = at("bound");
    covi.refusesOn(1, "invalidState", "unbindImsicBegin", tvm, 0);
    covi.refuses("invalidState", "unbindImsicBegin", tvm, 1);
    covi.refuses("invalidState", "unbindImsicEnd", tvm, 0);
  });
});

describe("InjectExternalInterrupt", () => {
  test("only what exists and the guest allows", () => {
    const { tvm, host } = at("bound");
    covi.refuses("denied", "injectExternalInterrupt", tvm, 0, 5);
    covi.enter(0);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.allowExternalInterrupt, 5)));
    host.runResult();
    covi.must("injectExternalInterrupt", tvm, 0, 5);
    for (const identity of [0, 4, 6, 256, 2048, 1n << 63n, EVERY]) {
      covi.refuses("denied", "injectExternalInterrupt", tvm, 0, identity);
    }
    assert.equal(covi.file(0, 1).pending, 1n << 5n);
    covi.enter(0);
    host.resume();
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.denyExternalInterrupt, 5)));
    host.runResult();
    covi.refuses("denied", "injectExternalInterrupt", tvm, 0, 5);
    assert.equal(covi.file(0, 1).pending, 1n << 5n);
  });

  test("all of them, then all but some", () => {
    const { tvm, host } = at("allowed");
    for (const identity of [1, 63, 64, 255]) covi.must("injectExternalInterrupt", tvm, 0, identity);
    covi.refuses("denied", "injectExternalInterrupt", tvm, 0, 256);
    const deny = (identity: number | bigint): void => {
      covi.enter(0);
      host.resume();
      assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.denyExternalInterrupt, identity)));
      host.runResult();
    };
    deny(64);
    covi.refuses("denied", "injectExternalInterrupt", tvm, 0, 64);
    covi.must("injectExternalInterrupt", tvm, 0, 63);
    deny(EVERY);
    covi.refuses("denied", "injectExternalInterrupt", tvm, 0, 63);
  });

  test("a guest cannot allow what does not exist", () => {
    const { host } = at("allowed");
    covi.enter(0);
    host.resume();
    for (const identity of [0, 256, 1n << 63n]) {
      assert.equal(host.ecall(Eid.covg, Covg.allowExternalInterrupt, identity).error, -3n);
      assert.equal(host.ecall(Eid.covg, Covg.denyExternalInterrupt, identity).error, -3n);
    }
  });
});

describe("rebinding", () => {
  test("to another hart loses nothing that is sent meanwhile", () => {
    const { tvm, host } = at("allowed");
    const [old, next] = [covi.file(0, 1), covi.file(1, 2)];
    old.enabled = 0xff00n;
    old.threshold = 77n;
    old.delivery = 1n;
    covi.must("injectExternalInterrupt", tvm, 0, 1);
    covi.convert(1, 2);
    covi.refusesOn(1, "invalidParam", "rebindImsicBegin", tvm, 0, 6);
    covi.refusesOn(1, "invalidAddress", "rebindImsicBegin", tvm, 0, 2);
    covi.refusesOn(1, "invalidState", "rebindImsicBegin", tvm, 1, 4);
    // It runs meanwhile, and goes on with its old file.
    covi.enter(0);
    host.resume();
    covi.mustOn(1, "rebindImsicBegin", tvm, 0, 4);
    covi.mustOn(1, "injectExternalInterrupt", tvm, 0, 2);
    assert.equal(next.pending, 1n << 2n);
    assert.equal(host.hart.csr.guestFile(), 2);
    covi.leave(0);
    assert.equal(host.ecall(Eid.covh, Covh.cpuRun, tvm, 0).error, -10n);
    old.setPending(3);
    covi.refusesOn(1, "invalidState", "rebindImsicBegin", tvm, 0, 4);
    covi.refusesOn(1, "invalidState", "rebindImsicEnd", tvm, 0);
    covi.refuses("invalidAddress", "rebindImsicClone", tvm, 0);
    covi.fenceTvm();
    covi.refusesOn(1, "invalidState", "rebindImsicClone", tvm, 0);
    covi.must("rebindImsicClone", tvm, 0);
    assert.deepEqual(old.save(), [0n, 0n, 0n, 0n]);
    covi.must("injectExternalInterrupt", tvm, 0, 4);
    covi.refuses("invalidState", "rebindImsicClone", tvm, 0);
    covi.refuses("invalidState", "rebindImsicEnd", tvm, 0);
    assert.equal(covi.drivers[1].ecall(Eid.covh, Covh.cpuRun, tvm, 0).error, -10n);
    covi.mustOn(1, "rebindImsicEnd", tvm, 0);
    assert.deepEqual(next.save(), [0b11110n, 0xff00n, 1n, 77n]);
    covi.enter(1);
    assert.equal(covi.drivers[1].hart.csr.guestFile(), 3);
    assert.equal(host.hart.state, "guest");
  });

  test("to another file of the same hart", () => {
    const { tvm } = at("allowed");
    covi.must("injectExternalInterrupt", tvm, 0, 9);
    covi.convert(0, 2);
    covi.must("rebindImsicBegin", tvm, 0, 4);
    covi.fenceTvm();
    covi.must("rebindImsicClone", tvm, 0);
    covi.must("rebindImsicEnd", tvm, 0);
    assert.equal(covi.file(0, 2).pending, 1n << 9n);
    covi.enter(0);
  });
});

describe("a TVM that is destroyed gives its files back, cleared", () => {
  const isFree = (hart: number, file: number): void => {
    assert.deepEqual(covi.file(hart, file).save(), [0n, 0n, 0n, 0n]);
    covi.must("reclaimImsic", covi.filePage(hart, file));
  };

  test("bound here, and on another hart, which clears it itself", () => {
    const { tvm, host } = at("bound");
    covi.bind(1, 2, 1);
    covi.file(0, 1).setPending(5);
    covi.file(1, 2).setPending(6);
    host.must("tvmDestroy", tvm);
    isFree(0, 1);
    const [, second] = covi.drivers;
    // Until the other hart has done so its file is nobody's: the call is made again and again.
    assert(host.machine.canStep(second.hart));
    while (host.machine.canStep(second.hart)) second.step();
    isFree(1, 2);
  });

  test("while it is unbound, rebound, or cloned", () => {
    for (const cloned of [false, true]) {
      const { tvm, host } = at("bound");
      covi.bind(0, 2, 1);
      covi.must("unbindImsicBegin", tvm, 1);
      covi.convert(1, 1);
      covi.mustOn(1, "rebindImsicBegin", tvm, 0, 2);
      if (cloned) {
        covi.fenceTvm();
        covi.must("rebindImsicClone", tvm, 0);
      }
      host.must("tvmDestroy", tvm);
      const [, second] = covi.drivers;
      while (host.machine.canStep(second.hart)) second.step();
      for (const [hart, file] of [
        [0, 1],
        [0, 2],
        [1, 1],
      ]) {
        isFree(hart, file);
      }
    }
  });
});

describe("no call knows a guest that is none, or a vCPU that the TVM lacks", () => {
  const onVcpu = ["unbindImsicBegin", "unbindImsicEnd", "rebindImsicClone", "rebindImsicEnd"] as const;
  for (const name of onVcpu) {
    test(`${name}: invalidParam`, () => {
      const { tvm } = at("bound");
      for (const [guest, vcpu] of [
        [NO_GUEST, 0],
        [0, 0],
        [tvm, 2],
        [tvm, -1],
      ] as const)
        covi.refuses("invalidParam", name, guest, vcpu);
    });
  }
  for (const name of ["bindImsic", "rebindImsicBegin", "injectExternalInterrupt"] as const) {
    test(`${name}: invalidParam`, () => {
      const { tvm } = at("bound");
      for (const [guest, vcpu] of [
        [NO_GUEST, 0],
        [tvm, 2],
      ] as const)
        covi.refuses("invalidParam", name, guest, vcpu, 1);
    });
  }
});

test("without guest files for TVMs there is no COVI: every function is notSupported, for hosts and TVMs", async () => {
  const host = await CoveHost.boot({ options: { guestFiles: 1 } });
  const refuseAll = (): void => {
    for (const [name, fid] of Object.entries(Covi))
      host.refusesCall("notSupported", () => host.call(Eid.covi, fid, 2, 0, 1), name);
  };
  refuseAll();
  const tvm = host.buildTvm();
  host.registerNacl();
  host.enter(tvm);
  refuseAll();
});
