import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { DoorFunctions } from "../../../machine/simulated/door.ts";
import { InvariantViolation } from "../../../machine/simulated/errors.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covg, Eid, Sbi } from "../support/simulated/sbi.ts";

/**
 * Stale translations: life cycles that are safe only because the hypervisor fences, on caches that never forget by themselves. Each
 * scenario passes as it is, and is noticed when the fence that it depends on is taken away: so the checker sees what it is there for.
 */

interface Scenario {
  name: string;
  options?: Partial<MachineOptions>;
  /** `breakFences`: from here on the mutant is broken. */
  play: (host: CoveHost, breakFences: () => void) => void;
  /** Functions of the door that do nothing any more, and how that is noticed. */
  mutants: [broken: string[], complaint: RegExp][];
}

const TARGET = TVM_MEMORY + 0x10_0000;
/** A second hart of the host, in its guest. */
function secondHart(host: CoveHost): GuestDriver {
  const id = host.machine.options.harts[1];
  assert.equal(host.call(Eid.hsm, 0, 1, 0x8020_0000, 0).error, Sbi.success);
  const driver = new GuestDriver(host.machine, id);
  while (host.machine.canStep(driver.hart)) driver.step();
  return driver;
}

const scenarios: Scenario[] = [
  {
    name: "a page that the host has used goes to a TVM",
    play: (host, breakFences) => {
      const tvm = host.buildTvm();
      breakFences();
      const page = host.take(1);
      host.store(page, 8, 1);
      host.must("convertPages", page, 1);
      host.fence();
      host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
    },
    mutants: [[["hfenceGvmaVmid"], /stale translation can still be used/]],
  },
  {
    name: "a page that two harts of the host have used goes to a TVM",
    options: { harts: [0, 1] },
    play: (host, breakFences) => {
      const tvm = host.buildTvm();
      const second = secondHart(host);
      breakFences();
      const page = host.take(1);
      host.store(page, 8, 1);
      second.load(page);
      host.must("convertPages", page, 1);
      host.must("initiateFence");
      assert.equal(second.ecall(Eid.covh, 4).error, Sbi.success);
      host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
      assert.throws(() => second.load(page), { cause: 5 });
    },
    mutants: [[["hfenceGvmaVmid"], /stale translation/]],
  },
  {
    name: "a hart that was in a TVM during the fence comes back to the host",
    options: { harts: [0, 1] },
    play: (host, breakFences) => {
      const tvm = host.buildTvm();
      const second = secondHart(host);
      breakFences();
      const page = host.take(1);
      second.load(page);
      assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
      assert("switched" in second.perform(operations.ecall(Eid.covh, 14, tvm.id, 0)));
      host.must("convertPages", page, 1);
      host.must("initiateFence");
      host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
      assert("switched" in second.perform(operations.wfi()));
      assert.throws(() => second.load(page), { cause: 5 });
    },
    mutants: [[["hfenceGvmaVmid"], /stale translation/]],
  },
  {
    name: "a page that a TVM has used is removed and reclaimed while its vCPU goes on",
    play: (host, breakFences) => {
      const tvm = host.buildTvm();
      breakFences();
      const page = host.donated(1);
      host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
      host.enter(tvm);
      host.store(TARGET, 8, 0x5ec7e7);
      assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.shareMemory, TARGET, PAGE)));
      host.runResult();
      host.must("blockPages", tvm.id, TARGET, PAGE);
      host.must("tvmInitiateFence", tvm.id);
      host.must("removePages", tvm.id, TARGET, PAGE);
      host.must("reclaimPages", page, 1);
      assert.equal(host.load(page), 0n);
      host.answer(0n);
      host.enter(tvm);
      host.resume();
      assert("switched" in host.perform(operations.load(TARGET)), "the page is gone");
    },
    mutants: [
      [["hfenceGvmaVmid"], /stale translation/],
      [["cboZero", "zeroBytes"], /arrived with what it held/],
    ],
  },
  {
    name: "a table that a promoted page replaced gets another use",
    play: (host, breakFences) => {
      const tvm = host.buildTvm({ tables: 5 });
      host.must("addZeroPages", tvm.id, host.donated(512, HUGE), 0, 512, TVM_MEMORY + 2 * HUGE);
      host.enter(tvm);
      for (const page of [0, 1, 511]) host.load(TVM_MEMORY + 2 * HUGE + page * PAGE);
      host.leaveTvm();
      breakFences();
      host.must("blockPages", tvm.id, TVM_MEMORY + 2 * HUGE, HUGE);
      host.must("tvmInitiateFence", tvm.id);
      host.must("promotePage", tvm.id, TVM_MEMORY + 2 * HUGE, 1);
      host.must("tvmInitiateFence", tvm.id);
      const more = host.donated(2);
      host.must("addZeroPages", tvm.id, more, 0, 1, TVM_MEMORY + 4 * HUGE);
      host.must("addZeroPages", tvm.id, more + PAGE, 0, 1, TVM_MEMORY + 6 * HUGE);
      host.enter(tvm);
    },
    mutants: [[["hfenceGvmaVmid"], /table|stale/]],
  },
  {
    name: "one VMID for host and TVMs",
    options: { vmidBits: 0 },
    play: (host, breakFences) => {
      const [first, second] = [host.buildTvm(), host.buildTvm()];
      breakFences();
      for (const [tvm, value] of [
        [first, 1],
        [second, 2],
        [first, 1],
        [second, 2],
      ] as const) {
        host.enter(tvm);
        const there = host.load(TVM_MEMORY + 0x800);
        assert(there === 0n || there === BigInt(value), "another TVM's memory");
        host.store(TVM_MEMORY + 0x800, 8, value);
        host.leaveTvm();
        assert.equal(host.load(TVM_MEMORY + 0x800), 0n);
      }
    },
    mutants: [[["hfenceGvmaVmid"], /translation of another VM|table .* of another VM/]],
  },
  {
    name: "four VMIDs for six TVMs with page tables of their own",
    options: { vmidBits: 2, ram: [{ base: 0x8000_0000, size: 48 << 20 }] },
    play: (host, breakFences) => {
      const tvms = Array.from({ length: 6 }, () => host.buildTvm({ vcpus: 1 }));
      // A root page table: gva 0 -> the first gigabyte of the TVM's memory.
      for (const tvm of tvms) host.must("addZeroPages", tvm.id, host.donated(2), 0, 2, TARGET);
      breakFences();
      for (let round = 0; round < 3; round++) {
        tvms.forEach((tvm, index) => {
          host.enter(tvm);
          if (round === 0) {
            host.store(TARGET, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
            host.store(TARGET + 8 * 2, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
            host.store(TARGET + PAGE, 8, index + 100);
            host.writeCsr("satp", (8n << 60n) | (BigInt(TARGET) >> 12n));
          }
          assert.equal(host.load(TARGET + PAGE - TVM_MEMORY), BigInt(index + 100), `TVM ${index}, round ${round}`);
          host.leaveTvm();
        });
      }
    },
    mutants: [
      [["hfenceGvmaVmid"], /of another VM/],
      [["hfenceVvmaAll"], /guest translation of another vCPU/],
    ],
  },
  {
    name: "two vCPUs of a TVM with different page tables on one hart",
    options: { vmidBits: 1 },
    play: (host, breakFences) => {
      const tvm = host.buildTvm({ vcpus: 2 });
      host.must("addZeroPages", tvm.id, host.donated(2), 0, 2, TARGET);
      breakFences();
      host.enter(tvm);
      host.store(TARGET, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
      host.store(TARGET + 8 * 2, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
      host.writeCsr("satp", (8n << 60n) | (BigInt(TARGET) >> 12n));
      host.load(0);
      assert("switched" in host.perform(operations.ecall(Eid.hsm, 0, 1, TVM_MEMORY, 0)));
      for (const vcpu of [1, 0, 1, 0]) {
        host.enter(tvm, vcpu);
        if (vcpu === 0) assert.notEqual(host.load(0), undefined);
        host.leaveTvm();
      }
    },
    mutants: [[["hfenceVvmaAll"], /guest translation of another vCPU/]],
  },
  {
    name: "pages of a large page of the host go to a TVM",
    play: (host, breakFences) => {
      const tvm = host.buildTvm();
      breakFences();
      const large = host.take(512, HUGE);
      host.store(large, 8, 1);
      host.must("convertPages", large + 5 * PAGE, 1);
      host.fence();
      host.must("addZeroPages", tvm.id, large + 5 * PAGE, 0, 1, TARGET);
      assert.throws(() => host.load(large + 5 * PAGE), { cause: 5 });
    },
    mutants: [[["hfenceGvmaVmid"], /stale translation/]],
  },
];

for (const { name, options, play, mutants } of scenarios) {
  describe(name, () => {
    for (const cacheInvalid of [false, true]) {
      test(
        cacheInvalid ? "nothing is stale, nor when caches keep what is not mapped" : "nothing is stale",
        async () => {
          play(await CoveHost.boot({ options: { ...options, cacheInvalid } }), () => {});
        },
      );
    }
    for (const [broken, complaint] of mutants) {
      test(`without ${broken.join(" and ")}: noticed`, async () => {
        let works = true;
        const door = (usual: DoorFunctions): DoorFunctions =>
          Object.fromEntries(
            broken.map((name) => [name, (...args: never[]) => (works ? usual[name](...args) : undefined)]),
          );
        let noticed: unknown;
        try {
          play(await CoveHost.boot({ ...(options ? { options } : {}), door }), () => (works = false));
        } catch (error) {
          noticed = error;
        }
        assert(noticed instanceof InvariantViolation, `not noticed: ${String(noticed)}`);
        assert.match(noticed.message, complaint);
      });
    }
  });
}
