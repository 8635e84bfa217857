/** Rules of vCPUs that are functions of numbers alone: deadlines, hart masks, and injected status. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { pureModule } from "./pure-module.ts";

const U64 = 1n << 64n;
const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
/** 64-bit values with many near the ends, where arithmetic goes wrong. */
const word = fc.oneof(
  fc.bigInt({ min: 0n, max: U64 - 1n }),
  fc.bigInt({ min: 0n, max: 100n }),
  fc.bigInt({ min: U64 - 100n, max: U64 - 1n }),
  fc.bigInt({ min: (U64 >> 1n) - 50n, max: (U64 >> 1n) + 50n }),
);

const { exports: timer } = await pureModule({ files: ["hypervisor/vm/timer"] });
const { exports: inject } = await pureModule({ files: ["hypervisor/vm/inject"] });
const masks = await pureModule({
  files: ["hypervisor/vm/hart-mask"],
  fields: { "hypervisor/vm/vm": { Vm: ["maxVcpus"] } },
  source: `
    export function placeVm(record: usize, vcpus: usize, count: u32): void {
      const vm = changetype<Vm>(record);
      vm.vcpus = vcpus;
      vm.maxVcpus = count;
    }`,
});

test("a deadline in guest time is reached at the first machine time whose guest time has passed it", () => {
  fc.assert(
    fc.property(word, word, fc.bigInt({ min: 0n, max: (U64 >> 1n) - 1n }), (deadline, delta, now) => {
      const at = unsigned(timer.machineDeadline(deadline, delta));
      // Guest time as one that does not wrap: negative before the VM's time began.
      const guestNow = now + BigInt.asIntN(64, delta);
      // Before its beginning guest time has passed nothing (hardware would see it wrapped, but no VM runs then).
      if (guestNow < 0n) return;
      assert.equal(now >= at, guestNow >= deadline, `deadline ${deadline} delta ${delta} now ${now} at ${at}`);
    }),
    { numRuns: 5000 },
  );
});

test("a timer that never fires for the guest never fires for the machine", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: (U64 >> 1n) - 1n }), (booted) => {
      assert.equal(unsigned(timer.machineDeadline(U64 - 1n, unsigned(-booted))), U64 - 1n);
    }),
  );
});

const SIE = 1n << 1n;
const SPIE = 1n << 5n;
const SPP = 1n << 8n;

test("a trap into VS-mode stacks SIE and SPP and leaves the rest of vsstatus", () => {
  fc.assert(
    fc.property(word, word, (vsstatus, sstatus) => {
      const after = unsigned(inject.trappedStatus(vsstatus, sstatus));
      assert.equal(after & SIE, 0n);
      assert.equal((after & SPIE) !== 0n, (vsstatus & SIE) !== 0n);
      assert.equal(after & SPP, sstatus & SPP);
      const others = ~(SIE | SPIE | SPP);
      assert.equal(after & others, vsstatus & others);
    }),
  );
});

/** A VM whose vCPUs exist where `exists` is true. */
function vm(exists: boolean[]): bigint {
  const record = 0x10_0000n;
  const table = 0x11_0000n;
  masks.exports.placeVm(record, table, exists.length);
  for (const [id, present] of exists.entries()) {
    masks.view.setBigUint64(Number(table) + 8 * id, present ? 0x12_0000n + BigInt(id) * 0x1000n : 0n, true);
  }
  return record;
}

function targets(exists: boolean[], mask: bigint, base: bigint): bigint[] {
  const record = vm(exists);
  const found: bigint[] = [];
  const next = (from: bigint): bigint => unsigned(masks.exports.nextTarget(record, mask, base, from));
  for (let id = next(0n); id !== U64 - 1n; id = next(id + 1n)) found.push(id);
  return found;
}

const vcpus = fc.array(fc.boolean(), { minLength: 1, maxLength: 130 });
const base = fc.oneof(word, fc.bigInt({ min: 0n, max: 130n }), fc.constant(U64 - 1n));

test("a hart mask names the harts it names", () => {
  fc.assert(
    fc.property(vcpus, word, base, (exists, mask, first) => {
      const all = first === U64 - 1n;
      const named = [...Array(64).keys()].filter((bit) => (mask >> BigInt(bit)) & 1n).map((bit) => first + BigInt(bit));
      const existing = (id: bigint): boolean => id < BigInt(exists.length) && exists[Number(id)];
      const valid = all || named.every(existing);
      assert.equal(masks.exports.maskIsValid(vm(exists), mask, first) !== 0, valid);
      const ids = exists.flatMap((present, id) => (present ? [BigInt(id)] : []));
      const expected = all ? ids : ids.filter((id) => named.includes(id));
      assert.deepEqual(targets(exists, mask, first), expected);
    }),
    { numRuns: 2000 },
  );
});
