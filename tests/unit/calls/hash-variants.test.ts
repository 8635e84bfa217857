import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { DoorReplacement } from "../../../machine/simulated/door.ts";
import { CoveHost, PAGE, TVM_MEMORY, TVM_MEMORY_SIZE } from "../support/simulated/cove-host.ts";

/** Pages are measured with the instructions that the harts have; the digest is the same. */

const REGISTER = 48;
const PAGES_REGISTER = 2;

const machines: [string, { zbb?: boolean; zknh?: boolean }, string[]][] = [
  ["neither Zbb nor Zknh", {}, []],
  ["Zbb", { zbb: true }, ["reverseBytes64", "rotateRight64"]],
  ["Zbb and Zknh", { zbb: true, zknh: true }, ["reverseBytes64", "sha512Sum0"]],
  ["Zknh alone, which is not enough", { zknh: true }, []],
];

for (const [name, options, expected] of machines) {
  test(name, async () => {
    const used = new Set<string>();
    const door: DoorReplacement = (usual) =>
      Object.fromEntries(
        ["reverseBytes64", "rotateRight64", "sha512Sum0"].map((each) => [
          each,
          (...args: never[]) => {
            used.add(each);
            return usual[each](...args);
          },
        ]),
      );
    const host = await CoveHost.boot({ options, door });
    const tvm = host.createTvm();
    host.must("addMemoryRegion", tvm, TVM_MEMORY, TVM_MEMORY_SIZE);
    host.must("addPageTablePages", tvm, host.donated(16), 16);
    const source = host.take(1);
    host.fill(source, 1, 0x5a);
    host.must("addMeasuredPages", tvm, source, host.donated(1), 0, 1, TVM_MEMORY);

    const { record } = host.checker.state.vms().find(({ id }) => id === tvm)!;
    const at = record.number("measurements") + PAGES_REGISTER * REGISTER;
    const gpa = Buffer.alloc(8);
    gpa.writeBigUInt64LE(BigInt(TVM_MEMORY));
    const page = host.machine.memory.slice(host.hpaOf(source), PAGE);
    const digest = createHash("sha384").update(Buffer.alloc(REGISTER)).update(gpa).update(page).digest("hex");
    assert.equal(Buffer.from(host.machine.memory.slice(at, REGISTER)).toString("hex"), digest);
    assert.deepEqual([...used].sort(), expected);
  });
}
