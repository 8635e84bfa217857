import assert from "node:assert/strict";
import { test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covg, Covh, Eid, Sbi } from "../support/simulated/sbi.ts";

/** A page of 1 GiB leaves its TVM in many batches: the checker looks at it when some of it has left. */

const GIB = 0x4000_0000;
const PAGES = GIB / PAGE;
/** Where it is in the TVM. */
const TARGET = 0x1_0000_0000;
const SOFTWARE = 1n << 1n;

test("a 1 GiB page is blocked, removed and destroyed a part at a time", async () => {
  const host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 3 * GIB }] } });
  /** Lets the call do `steps` batches while an interrupt waits, and the rest when it is gone. */
  const inParts = (steps: number, name: keyof typeof Covh, ...args: (number | bigint)[]): void => {
    host.writeCsr("sie", SOFTWARE);
    host.writeCsr("sip", SOFTWARE);
    host.machine.begin(host.hart, operations.ecall(Eid.covh, Covh[name], ...args));
    for (let i = 0; i < steps; i++) host.machine.step(host.hart);
    assert.equal(host.context.ending, undefined, `${name} is over already`);
    host.hart.csr.setRaw("hvip", 0n);
    const outcome = host.resume();
    assert("done" in outcome);
    assert.equal((outcome.done as { error: bigint }).error, Sbi.success, name);
  };
  const build = (page: number): bigint => {
    const { id } = host.buildTvm({ finalize: false });
    host.must("addMemoryRegion", id, TARGET, GIB);
    host.must("tvmFinalize", id, TVM_MEMORY, 0);
    host.must("addZeroPages", id, page, 2, 1, TARGET);
    return id;
  };
  host.registerNacl();
  const page = host.donated(PAGES, GIB);
  const first = build(page);
  inParts(3, "blockPages", first, TARGET, GIB);
  host.must("unblockPages", first, TARGET, GIB);
  inParts(3, "tvmDestroy", first);

  const second = build(page);
  host.enter(second);
  assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.shareMemory, TARGET, GIB)));
  assert.equal(host.runResult().error, Sbi.success);
  host.must("blockPages", second, TARGET, GIB);
  host.must("tvmInitiateFence", second);
  inParts(4, "removePages", second, TARGET, GIB);
  host.must("tvmDestroy", second);
});
