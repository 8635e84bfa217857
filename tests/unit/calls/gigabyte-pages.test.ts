import assert from "node:assert/strict";
import { test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covg, Covh, Eid, errorName, Sbi } from "../support/simulated/sbi.ts";

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

test("where the root's entries are of 1 GiB, such a page is found in the second of its four pages", async () => {
  const behind = 512 * GIB;
  const options = { gStageModes: ["sv39" as const], ram: [{ base: 0x8000_0000, size: 3 * GIB }] };
  const host = await CoveHost.boot({ options });
  const { id } = host.buildTvm({ finalize: false });
  for (const region of [behind - GIB, behind]) host.must("addMemoryRegion", id, region, GIB);
  host.must("tvmFinalize", id, TVM_MEMORY, 0);
  host.must("addZeroPages", id, host.donated(PAGES, GIB), 2, 1, behind);
  host.enter(id);
  host.store(behind + GIB - 8, 8, 0x1234);
  assert.equal(host.load(behind + GIB - 8), 0x1234n);
  assert("switched" in host.perform(operations.load(behind - 8)), "what is before it is still missing");
});

test("1 GiB of the host that does not lie in one piece becomes no page of a TVM", async () => {
  // The host's kernel was loaded into it, and is elsewhere for the host: what took its place comes from elsewhere too.
  const scattered = 0xc000_0000;
  const hostImage = { base: scattered + 0x80_0000, bytes: new Uint8Array(100) };
  const host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 3 * GIB }], hostImage } });
  assert.equal(host.hpaOf(scattered), scattered);
  assert.notEqual(host.hpaOf(hostImage.base), hostImage.base);
  const tvm = host.buildTvm({ finalize: false });
  for (const region of [TARGET, TARGET + GIB]) host.must("addMemoryRegion", tvm.id, region, GIB);
  host.must("tvmFinalize", tvm.id, TVM_MEMORY, 0);
  host.shareRange(tvm, TARGET, PAGES);
  assert.equal(errorName(host.covh("addSharedPages", tvm.id, scattered, 2, 1, TARGET).error), "invalidAddress");
  host.must("convertPages", scattered, PAGES);
  host.fence();
  assert.equal(errorName(host.covh("addZeroPages", tvm.id, scattered, 2, 1, TARGET + GIB).error), "invalidAddress");
  host.must("reclaimPages", scattered, PAGES);
});
