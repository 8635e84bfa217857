import assert from "node:assert/strict";
import { test } from "node:test";
import { Atst, Eid } from "../support/simulated/sbi.ts";
import { CoveHost, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";

/** Spin locks where harts take turns: what is given back was held, and nothing is held when a call has ended. */
test("every lock is taken before it is given back, in the life of a TVM", async () => {
  const held = new Map<bigint, boolean>();
  let taken = 0;
  const host = await CoveHost.boot({
    door: (usual) => ({
      swap32: (at: bigint, value: number) => {
        const before = (usual["swap32"] as (...of: unknown[]) => number)(at, value);
        if (value === 1 && before === 0) {
          held.set(at, true);
          taken++;
        }
        return before;
      },
      storeRelease32: (at: bigint, value: number) => {
        // Other words that are published like that are never swapped.
        if (held.has(at) && value === 0) {
          assert(held.get(at), `the lock at 0x${at.toString(16)} is given back, and nobody has it`);
          held.set(at, false);
        }
        (usual["storeRelease32"] as (...of: unknown[]) => void)(at, value);
      },
    }),
  });
  const twice = (call: () => void): void => {
    for (let turn = 0; turn < 2; turn++) {
      const before = taken;
      call();
      assert(taken > before, "no lock was taken");
      assert(![...held.values()].includes(true), "a lock is still held");
    }
  };
  const target = TVM_MEMORY + 0x40_0000;
  const tvm = host.buildTvm();
  let next = target;
  twice(() => host.must("addZeroPages", tvm.id, host.donated(4), 0, 4, (next += 4 * PAGE)));
  twice(() => host.must("addPageTablePages", tvm.id, host.donated(1), 1));
  next = target;
  twice(() => {
    host.must("blockPages", tvm.id, (next += 4 * PAGE), PAGE);
    host.must("tvmInitiateFence", tvm.id);
    host.must("unblockPages", tvm.id, next, PAGE);
  });
  twice(() => host.refuses("invalidAddress", "removePages", tvm.id, target, PAGE));
  next = target + 0x20_0000;
  twice(() => host.shareRange(tvm, (next += PAGE), 1));
  host.enter(tvm);
  twice(() => assert.equal(host.call(Eid.atst, Atst.extend, target + 4 * PAGE, 48, 17).error, 0n));
  host.leaveTvm();
  host.must("tvmDestroy", tvm.id);
  assert(![...held.values()].includes(true));
});
