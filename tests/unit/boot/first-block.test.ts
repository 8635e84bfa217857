import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildFdt, cells64, node, type Fdt, type FdtNode } from "../support/fdt.ts";
import { Machine } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";
import { sampleRoot, type TreeOptions } from "../support/trees.ts";

/** The first memory that boot writes to (hypervisor/boot/first-block.ts), and how much a kernel's header says that it needs (kernel-image.ts). */

const IMAGE = { start: 0x8020_0000n, end: 0x8023_f000n };
/** The page with the mark is the last of the image. */
const AFTER_IMAGE = 0x8024_0000n;
const BYTES = 0x4000n;
const NO_PLACE = (1n << 64n) - 1n;
const IMAGE_HEADER = 2 * TEST_MEMORY;

const module = await compileModule({
  files: [],
  source: `
    import { findFirstBlock as find } from "../../../hypervisor/boot/first-block";
    import { kernelSpan as span } from "../../../hypervisor/boot/kernel-image";
    export function findFirstBlock(fdt: usize, bytes: u64): u64 { return find(fdt, bytes); }
    export function kernelSpan(hpa: u64, size: u64): u64 { return span(hpa, size); }`,
});
const machine = new Machine(module, 4 * TEST_MEMORY, {
  imageAddress: (symbol: number) => (symbol === 0 ? IMAGE.start : IMAGE.end),
});

/** Where the block comes to lie in such a machine. */
function firstBlock(options: Partial<TreeOptions>, change: (root: FdtNode) => void = () => {}): bigint {
  const root = sampleRoot({ harts: 1, modules: [], ...options });
  change(root);
  const tree: Fdt | FdtNode = root;
  machine.bytes.fill(0, TEST_MEMORY, IMAGE_HEADER);
  machine.put(TEST_MEMORY, buildFdt(tree, options.reservations));
  return BigInt.asUintN(64, machine.exports.findFirstBlock(BigInt(TEST_MEMORY), BYTES));
}

const reserved = (base: bigint, size: bigint): FdtNode => node(`r@${base.toString(16)}`, { reg: cells64(base, size) });
const moduleAt = (base: bigint, size: bigint): FdtNode =>
  node(`module@${base.toString(16)}`, {
    compatible: ["multiboot,kernel", "multiboot,module"],
    reg: cells64(base, size),
  });

describe("the first block", () => {
  test("lies right after the image", () => {
    assert.equal(firstBlock({}), AFTER_IMAGE);
  });

  test("lies after what is reserved there", () => {
    assert.equal(firstBlock({ reserved: [reserved(AFTER_IMAGE, 0x1800n)] }), AFTER_IMAGE + 0x2000n);
    assert.equal(firstBlock({ reserved: [reserved(AFTER_IMAGE + BYTES - 1n, 1n)] }), AFTER_IMAGE + BYTES);
    assert.equal(firstBlock({ reserved: [reserved(AFTER_IMAGE + BYTES, 0x1000n)] }), AFTER_IMAGE);
    assert.equal(firstBlock({ reserved: [reserved(AFTER_IMAGE - 0x1000n, 0x1000n)] }), AFTER_IMAGE);
    const reservations = [{ address: AFTER_IMAGE + 0x1000n, size: 0x1000n }];
    assert.equal(firstBlock({ reservations }), AFTER_IMAGE + 0x2000n);
    const behind = [
      { address: AFTER_IMAGE + BYTES, size: 0x1000n },
      { address: 0x8000_0000n, size: 0x1000n },
    ];
    assert.equal(firstBlock({ reservations: behind }), AFTER_IMAGE);
  });

  test("lies after images, and after several things one behind the other", () => {
    assert.equal(firstBlock({ modules: [moduleAt(AFTER_IMAGE + 0x2000n, 0x5000n)] }), AFTER_IMAGE + 0x7000n);
    const options = {
      modules: [moduleAt(AFTER_IMAGE, 0x5000n)],
      reserved: [reserved(AFTER_IMAGE + 0x6000n, 0x2000n)],
    };
    assert.equal(firstBlock(options), AFTER_IMAGE + 0x8000n);
  });

  test("without /chosen, or with nodes in it that are no images", () => {
    assert.equal(
      firstBlock({}, (root) =>
        root.children.splice(
          root.children.findIndex(({ name }) => name === "chosen"),
          1,
        ),
      ),
      AFTER_IMAGE,
    );
    assert.equal(firstBlock({ modules: [node("empty", {}), node("short", { reg: [1] })] }), AFTER_IMAGE);
  });

  test("lies elsewhere if the image's range is full, and nowhere if all are", () => {
    const full = reserved(0x8000_0000n, 0x4000_0000n);
    const memory = [
      { base: 0x8000_0000n, size: 0x4000_0000n },
      { base: 0xe000_0800n, size: 0x2000n },
      { base: 0x1_0000_0800n, size: 0x10_0000n },
    ];
    assert.equal(firstBlock({ memory, reserved: [full] }), 0x1_0000_1000n);
    assert.equal(firstBlock({ memory: memory.slice(0, 2), reserved: [full] }), NO_PLACE);
  });

  test("lies in front of the image if there is no room behind it", () => {
    const memory = [{ base: 0x8000_0000n, size: AFTER_IMAGE - 0x8000_0000n }];
    assert.equal(firstBlock({ memory }), 0x8000_0000n);
    assert.equal(firstBlock({ memory, reserved: [reserved(0x8000_0000n, 0x20_0000n)] }), NO_PLACE);
  });

  test("does not lie in the tree", () => {
    const memory = [{ base: BigInt(TEST_MEMORY) - 0x1000n, size: 0x4_0000n }];
    const found = firstBlock({ memory });
    assert(found > BigInt(TEST_MEMORY) && found < BigInt(TEST_MEMORY) + 0x4_0000n, found.toString(16));
  });
});

describe("a kernel's header", () => {
  const SIZE = 0x1000n;
  const span = (imageSize: bigint, magic = 0x05435352, size = SIZE): bigint => {
    machine.view.setBigUint64(IMAGE_HEADER + 16, imageSize, true);
    machine.view.setUint32(IMAGE_HEADER + 56, magic, true);
    return machine.exports.kernelSpan(BigInt(IMAGE_HEADER), size) as bigint;
  };

  test("says how much it uses", () => {
    assert.equal(span(0x3456_789n), 0x3456_789n);
    assert.equal(span(1n << 30n), 1n << 30n);
  });

  test("counts only if it is one, and says something possible", () => {
    assert.equal(span(0x3456_789n, 0x05435353), SIZE);
    assert.equal(span(SIZE), SIZE);
    assert.equal(span(SIZE - 1n), SIZE);
    assert.equal(span((1n << 30n) + 1n), SIZE);
    assert.equal(span(0x3456_789n, 0x05435352, 63n), 63n);
    assert.equal(span(0x3456_789n, 0x05435352, 64n), 0x3456_789n);
  });
});
