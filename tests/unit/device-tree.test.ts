import assert from "node:assert/strict";
import { test } from "node:test";
import { compileModule, TEST_MEMORY } from "./support/module.ts";
import { AssertionFailed, Machine } from "./support/machine.ts";
import { allNodes, buildFdt, cells64, node, nodeAt, parseFdt, type FdtNode } from "./support/fdt.ts";
import { limitSize, mutations, seededRandom } from "./support/fuzz.ts";
import { sampleTree } from "./support/trees.ts";

const module = await compileModule({
  files: ["check", "reader", "cells", "writer"].map((name) => `hypervisor/boot/device-tree/${name}`),
  source: `
    import * as writer from "../../../hypervisor/boot/device-tree/writer";
    import * as reader from "../../../hypervisor/boot/device-tree/reader";
    export function isNamed(fdt: usize, node: u32): bool { return reader.nodeNameIs(fdt, node, "cpu"); }
    export function reg(fdt: usize, node: u32): u32 { return reader.findProperty(fdt, node, "reg"); }
    export function compatible(fdt: usize, after: u32): u32 { return reader.nextCompatible(fdt, after, "device"); }
    export function listHas(fdt: usize, node: u32): bool {
      return reader.propertyHas(fdt, reader.findProperty(fdt, node, "compatible"), "device");
    }
    export function writeEmpty(buffer: usize, capacity: u64): i64 {
      const tree = writer.beginTree(buffer, capacity);
      writer.beginNode(tree, "");
      for (let i = 0; i < 100; i++) writer.putEmpty(tree, "abc");
      writer.endNode(tree);
      return writer.finishTree(tree, capacity);
    }
    export function writeNested(buffer: usize, capacity: u64, depth: u32): i64 {
      const tree = writer.beginTree(buffer, capacity);
      for (let i: u32 = 0; i < depth; i++) writer.beginNode(tree, i == 0 ? "" : "n");
      for (let i: u32 = 0; i < depth; i++) writer.endNode(tree);
      return writer.finishTree(tree, capacity);
    }
    export function writeSample(buffer: usize, capacity: u64, from: usize): i64 {
      const tree = writer.beginTree(buffer, capacity);
      writer.beginNode(tree, "");
      writer.putNumber32(tree, "#address-cells", 2);
      writer.putString(tree, "model", "a model");
      const root = reader.rootNode(from);
      for (let p = reader.firstProperty(from, root); p != 0; p = reader.nextProperty(from, p)) {
        writer.copyProperty(tree, from, p);
      }
      writer.beginNodeAt(tree, "memory", 0xffff_ffff_8000_0001);
      writer.putNumber64(tree, "reg", 0x1234_5678_9abc_def0);
      writer.putEmpty(tree, "no-map");
      writer.endNode(tree);
      writer.beginNodeAt(tree, "cpu", 0);
      writer.putString(tree, "model", "");
      writer.beginProperty(tree, "list");
      writer.putText(tree, "one");
      writer.putText(tree, "three");
      writer.endProperty(tree);
      writer.endNode(tree);
      writer.endNode(tree);
      return writer.finishTree(tree, capacity);
    }`,
});

const FDT = TEST_MEMORY;
const BUFFER = 4 * TEST_MEMORY;
const machine = new Machine(module, 8 * TEST_MEMORY);
const calls = machine.exports;

function load(blob: Uint8Array): bigint {
  machine.bytes.fill(0xee, FDT, BUFFER);
  machine.put(FDT, blob);
  machine.allow({ start: FDT, size: blob.length });
  return BigInt(FDT);
}

/** treeCheck's answer by the name of its TreeError. */
const ERRORS = [
  "None",
  "Address",
  "Magic",
  "Version",
  "Size",
  "Layout",
  "Reservations",
  "Truncated",
  "Name",
  "Property",
].concat(["PropertyName", "PropertyOrder", "Nesting", "Depth", "Token"]);
const check = (blob: Uint8Array): string => ERRORS[calls.treeCheck(load(blob))];

/** The tree as the reader under test sees it. */
function readTree(fdt: bigint, at: number): FdtNode {
  const text = (address: bigint) => {
    const start = Number(address);
    return new TextDecoder("latin1").decode(machine.bytes.slice(start, machine.bytes.indexOf(0, start)));
  };
  const result: FdtNode = { name: text(calls.nodeName(fdt, at)), properties: new Map(), children: [] };
  for (let property = calls.firstProperty(fdt, at); property !== 0; property = calls.nextProperty(fdt, property)) {
    const value = machine.get(calls.propertyValue(fdt, property), calls.propertyLength(fdt, property));
    result.properties.set(text(calls.propertyName(fdt, property)), value);
  }
  for (let child = calls.firstChild(fdt, at); child !== 0; child = calls.nextSibling(fdt, child)) {
    assert.equal(calls.parentOf(fdt, child), at);
    result.children.push(readTree(fdt, child));
  }
  return result;
}

test("the reader sees every node and property of a tree", () => {
  for (const harts of [1, 3, 40]) {
    const blob = sampleTree({ harts });
    const fdt = load(blob);
    assert.equal(calls.treeCheck(fdt), 0);
    const expected = parseFdt(blob);
    assert.deepEqual(readTree(fdt, calls.rootNode(fdt)), expected.root);
    assert.equal(calls.reservationCount(fdt), BigInt(expected.reservations.length));
    expected.reservations.forEach(({ address, size }, index) => {
      assert.equal(calls.reservationAddress(fdt, BigInt(index)), address);
      assert.equal(calls.reservationSize(fdt, BigInt(index)), size);
    });
    const names: string[] = [];
    for (let at = calls.rootNode(fdt); at !== 0; at = calls.nextNode(fdt, at)) {
      const start = Number(calls.nodeName(fdt, at));
      names.push(new TextDecoder().decode(machine.bytes.slice(start, machine.bytes.indexOf(0, start))));
    }
    assert.deepEqual(
      names,
      Array.from(allNodes(expected.root), (item) => item.name),
    );
  }
});

test("NOPs anywhere are stepped over", () => {
  const blob = buildFdt(
    node("", { nop: true, reg: [1, 2] }, [node("cpu@1", { nop: true }), node("x", {}, [node("y")])]),
  );
  const view = new DataView(blob.buffer);
  // Turn each empty "nop" property (token, length 0, name) into three NOPs.
  const structure = view.getUint32(8);
  for (let at = structure; at < structure + view.getUint32(36) - 8; at += 4) {
    if (view.getUint32(at) !== 3 || view.getUint32(at + 4) !== 0) continue;
    for (const offset of [0, 4, 8]) view.setUint32(at + offset, 4);
  }
  const fdt = load(blob);
  assert.equal(calls.treeCheck(fdt), 0);
  const root = readTree(fdt, calls.rootNode(fdt));
  assert.deepEqual([...root.properties.keys()], ["reg"]);
  assert.deepEqual(
    root.children.map((child) => child.name),
    ["cpu@1", "x"],
  );
});

test("names and string lists are compared as a whole", () => {
  const blob = buildFdt(
    node("", {}, [
      node("cpu", { compatible: ["devices", "device"] }),
      node("cpu@0", { compatible: "devic" }),
      node("cpus", { compatible: new TextEncoder().encode("x\0device") }),
      node("cp", { compatible: "device", status: "disabled" }),
    ]),
  );
  const fdt = load(blob);
  assert.equal(calls.treeCheck(fdt), 0);
  const children: number[] = [];
  for (let at = calls.firstChild(fdt, calls.rootNode(fdt)); at !== 0; at = calls.nextSibling(fdt, at))
    children.push(at);
  assert.deepEqual(
    children.map((at) => calls.isNamed(fdt, at)),
    [1, 1, 0, 0],
  );
  assert.deepEqual(
    children.map((at) => calls.listHas(fdt, at)),
    [1, 0, 1, 1],
  );
  assert.equal(calls.compatible(fdt, 0), children[0]);
  assert.equal(calls.compatible(fdt, children[0]), children[2]);
  assert.equal(calls.compatible(fdt, children[2]), 0);
});

test("reg is read in the bus's cells and translated through every ranges", () => {
  const bus = (name: string, address: number, size: number, properties: object, children: FdtNode[]) =>
    node(name, { "#address-cells": [address], "#size-cells": [size], ...properties }, children);
  const deviceIn = (name: string) => node(name, { reg: [0, 0x10, 0x10] });
  const root = bus("", 2, 2, {}, [
    bus("soc", 1, 1, { ranges: [0x1000, 0x8, 0x0, 0x1000, 0x8000, 0x9, 0x0, 0x2000] }, [
      node("inside", { reg: [0x8010, 0x10, 0x1000, 0x1000] }),
      node("outside", { reg: [0x1ff0, 0x20] }),
      bus("inner", 2, 1, { ranges: true }, [node("deep", { reg: [0, 0x9000, 0x10] })]),
      bus("closed", 1, 1, {}, [node("hidden", { reg: [0x1000, 0x10] })]),
      bus("pci", 3, 2, { ranges: true }, [node("function", { reg: [0, 0, 0, 0, 0] })]),
    ]),
    node("top", { reg: cells64(0xffff_0000_0000n, 0x1000n) }),
    node("wraps", { reg: cells64(0xffff_ffff_ffff_f000n, 0x2000n) }),
    node("odd", { reg: [1, 2, 3] }),
    node("bytes", { reg: Uint8Array.from([1, 2, 3, 4, 5]) }),
    bus("zero", 0, 0, {}, [node("child", { reg: [1] })]),
    node("none"),
    // Buses whose ranges are in cells that no address has, and such as map beyond the last address.
    bus("noCells", 0, 1, { ranges: [1, 0, 0, 0x1000] }, [
      bus("in1", 2, 1, { ranges: true }, [deviceIn("noChildCells")]),
    ]),
    bus("wide", 3, 1, { ranges: [0, 0, 0, 0, 0, 0x1000] }, [
      bus("in2", 2, 1, { ranges: true }, [deviceIn("wideChild")]),
    ]),
    bus("noLength", 2, 0, { ranges: [0, 0, 0, 0] }, [bus("in3", 2, 1, { ranges: true }, [deviceIn("noLengths")])]),
    bus("longLength", 2, 3, { ranges: [0, 0, 0, 0, 0, 0, 0x1000] }, [
      bus("in4", 2, 1, { ranges: true }, [deviceIn("wideLength")]),
    ]),
    bus("noParent", 0, 1, { ranges: true }, [
      bus("in5", 2, 1, { ranges: [0, 0, 0x1000] }, [deviceIn("noParentCells")]),
    ]),
    bus("wideParent", 3, 1, { ranges: true }, [
      bus("in6", 2, 1, { ranges: [0, 0, 0, 0, 0, 0x1000] }, [deviceIn("wideParentCells")]),
    ]),
    bus("top1", 2, 2, { ranges: cells64(0n, 0xffff_ffff_ffff_ff00n, 0x1000n) }, [
      node("startWraps", { reg: cells64(0x100n, 0x10n) }),
      node("endWraps", { reg: cells64(0x10n, 0x100n) }),
      node("atTheTop", { reg: cells64(0x10n, 0x10n) }),
    ]),
  ]);
  const fdt = load(buildFdt(root));
  assert.equal(calls.treeCheck(fdt), 0);
  const found = new Map<string, number>();
  for (let at = calls.rootNode(fdt); at !== 0; at = calls.nextNode(fdt, at)) {
    const start = Number(calls.nodeName(fdt, at));
    found.set(new TextDecoder().decode(machine.bytes.slice(start, machine.bytes.indexOf(0, start))), at);
  }
  const address = (name: string, index = 0n) => BigInt.asUintN(64, calls.deviceAddress(fdt, found.get(name), index));
  const NONE = (1n << 64n) - 1n;
  assert.equal(address("inside"), 0x9_0000_0010n);
  assert.equal(address("inside", 1n), 0x8_0000_0000n);
  assert.equal(address("inside", 2n), NONE);
  assert.equal(calls.deviceSize(fdt, found.get("inside"), 1n), 0x1000n);
  assert.equal(address("outside"), NONE);
  assert.equal(address("deep"), 0x9_0000_1000n);
  assert.equal(address("top"), 0xffff_0000_0000n);
  assert.equal(address("atTheTop"), 0xffff_ffff_ffff_ff10n);
  const cells = ["noChildCells", "wideChild", "noLengths", "wideLength", "noParentCells", "wideParentCells"];
  const wrapping = ["wraps", "startWraps", "endWraps"];
  for (const name of ["hidden", "function", "odd", "bytes", "child", "none", "", ...cells, ...wrapping]) {
    assert.equal(address(name), NONE, name);
  }
  assert.equal(calls.deviceSize(fdt, calls.rootNode(fdt), 0n), 0n, "the root is on no bus");
});

test("every kind of lie has its error", () => {
  const good = sampleTree({ harts: 2 });
  const changed = (change: (view: DataView, blob: Uint8Array) => void): string => {
    const blob = good.slice();
    change(new DataView(blob.buffer), blob);
    return check(blob);
  };
  const structure = new DataView(good.buffer).getUint32(8);
  const structureSize = new DataView(good.buffer).getUint32(36);
  assert.equal(check(good), "None");
  assert.equal(ERRORS[calls.treeCheck(0n)], "Address");
  assert.equal(ERRORS[calls.treeCheck(BigInt(FDT) + 2n)], "Address");
  assert.equal(ERRORS[calls.treeCheck(-8n)], "Address");
  assert.equal(
    changed((view) => view.setUint32(0, 0)),
    "Magic",
  );
  assert.equal(
    changed((view) => view.setUint32(20, 16)),
    "Version",
  );
  assert.equal(
    changed((view) => view.setUint32(24, 18)),
    "Version",
  );
  assert.equal(
    changed((view) => view.setUint32(4, 39)),
    "Size",
  );
  assert.equal(
    changed((view) => view.setUint32(4, 0xffff_ffff)),
    "Size",
  );
  for (const field of [8, 12, 32, 36]) {
    assert.equal(
      changed((view) => view.setUint32(field, 0xffff_fff0)),
      "Layout",
    );
    assert.equal(
      changed((view) => view.setUint32(field, good.length + 4)),
      "Layout",
    );
  }
  assert.equal(
    changed((view) => view.setUint32(8, structure + 2)),
    "Layout",
  );
  assert.equal(
    changed((view) => view.setUint32(12, structure + 8)),
    "Layout",
  );
  assert.equal(
    changed((view) => view.setUint32(16, 8)),
    "Reservations",
  );
  assert.equal(
    changed((view) => view.setUint32(16, 0xffff_fff0)),
    "Reservations",
  );
  assert.equal(
    changed((_, blob) => blob.fill(0x11, reservationsAt(good), good.length - 1)),
    "Reservations",
  );
  assert.equal(
    changed((view) => view.setUint32(36, structureSize - 4)),
    "Truncated",
  );
  assert.equal(
    changed((view) => view.setUint32(36, 0)),
    "Truncated",
  );
  const nops = [structure, structure + 4]; // in place of the root's BEGIN_NODE and name
  assert.equal(
    changed((view) => nops.forEach((at) => view.setUint32(at, 4))),
    "PropertyOrder",
  );
  assert.equal(
    changed((view) => view.setUint32(structure, 7)),
    "Token",
  );
  assert.equal(
    changed((view) => view.setUint32(structure, 9)),
    "Nesting",
  );
  assert.equal(
    changed((view) => view.setUint32(structure, 2)),
    "Nesting",
  );
  assert.equal(
    changed((view) => view.setUint32(structure + 12, 0xffff_fff0)),
    "Property",
  );
  assert.equal(
    changed((view) => view.setUint32(structure + 16, 0xffff_fff0)),
    "PropertyName",
  );
  assert.equal(
    changed((_, blob) => (blob[good.length - 1] = 0x41)),
    "PropertyName",
  );
  assert.equal(
    changed((view) => view.setUint32(structure + structureSize - 4, 4)),
    "Truncated",
  );
  assert.equal(
    changed((view) => view.setUint32(structure + structureSize - 8, 4)),
    "Nesting",
  );
  let deep = node("last");
  for (let depth = 0; depth < 70; depth++) deep = node("deeper", {}, [deep]);
  assert.equal(check(buildFdt(deep)), "Depth");
  // A value whose padding is beyond the end of the structure.
  const padded = buildFdt(node("", { a: Uint8Array.of(1) }));
  new DataView(padded.buffer).setUint32(36, 4 + 4 + 12 + 1);
  assert.equal(check(padded), "Truncated");
  // A name that runs to the end of the structure.
  const endless = buildFdt(node("abcdefgh", {}));
  endless.fill(0x61, new DataView(endless.buffer).getUint32(8) + 4);
  assert.equal(check(endless), "Name");
});

test("blocks may be in any order", () => {
  const blob = buildFdt(node("", { model: "m" }, [node("child", { reg: [5] })]));
  const view = new DataView(blob.buffer);
  const [structure, strings, stringsSize] = [8, 12, 32].map((field) => view.getUint32(field));
  const swapped = new Uint8Array((blob.length + 3) & ~3);
  const room = (stringsSize + 3) & ~3;
  swapped.set(blob.subarray(0, structure));
  swapped.set(blob.subarray(strings), structure);
  swapped.set(blob.subarray(structure, strings), structure + room);
  const header = new DataView(swapped.buffer);
  header.setUint32(4, swapped.length);
  header.setUint32(8, structure + room);
  header.setUint32(12, structure);
  assert.equal(check(swapped), "None");
  assert.deepEqual(readTree(BigInt(FDT), calls.rootNode(BigInt(FDT))), parseFdt(blob).root);
});

test("a status or a type without a value is not the one that is asked for", () => {
  const fdt = load(buildFdt(node("", {}, [node("x", { status: true }), node("y", { status: "ok" }), node("z")])));
  assert.equal(calls.treeCheck(fdt), 0);
  const enabled: number[] = [];
  for (let at = calls.firstChild(fdt, calls.rootNode(fdt)); at !== 0; at = calls.nextSibling(fdt, at))
    enabled.push(calls.nodeEnabled(fdt, at));
  assert.deepEqual(enabled, [0, 1, 1]);
});

/** Offset of the reservation block. */
function reservationsAt(blob: Uint8Array): number {
  return new DataView(blob.buffer).getUint32(16);
}

test("no mutation of a tree makes the check or the reader look outside of it", () => {
  const random = seededRandom(0x5a1);
  const blob = sampleTree({ harts: 2 });
  let accepted = 0;
  for (const mutated of mutations(blob, random, 4000)) {
    limitSize(mutated);
    const fdt = load(mutated);
    if (calls.treeCheck(fdt) !== 0) continue;
    accepted++;
    if (accepted % 8 !== 0) continue; // walking a whole tree through JavaScript is slow
    readTree(fdt, calls.rootNode(fdt));
    for (let at = calls.rootNode(fdt); at !== 0; at = calls.nextNode(fdt, at)) calls.deviceAddress(fdt, at, 0n);
    calls.reservationCount(fdt);
  }
  assert.ok(accepted > 500, `${accepted} mutations still a tree`);
});

test("the writer's tree reads back as what was written", () => {
  const source = buildFdt(node("", { compatible: ["x,y", "z"], serial: "1234", model: "other" }));
  const fdt = load(source);
  assert.equal(calls.treeCheck(fdt), 0);
  machine.bytes.fill(0xcc, BUFFER, BUFFER + 4096);
  machine.allow({ start: FDT, size: source.length }, { start: BUFFER, size: 2048 });
  const size = Number(calls.writeSample(BigInt(BUFFER), 2048n, fdt));
  const blob = machine.get(BUFFER, size);
  const { root, reservations } = parseFdt(blob);
  assert.deepEqual(reservations, []);
  assert.equal(ERRORS[calls.treeCheck(BigInt(BUFFER))], "None");
  const text = (value: string) => new TextEncoder().encode(value);
  assert.deepEqual([...root.properties.keys()], ["#address-cells", "model", "compatible", "serial"]);
  assert.deepEqual(root.properties.get("compatible"), text("x,y\0z\0"));
  assert.deepEqual(
    root.children.map((child) => child.name),
    ["memory@ffffffff80000001", "cpu@0"],
  );
  assert.deepEqual(nodeAt(root, "memory")!.properties.get("no-map"), new Uint8Array(0));
  assert.deepEqual(
    nodeAt(root, "memory")!.properties.get("reg"),
    Uint8Array.from([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0]),
  );
  assert.deepEqual(nodeAt(root, "cpu")!.properties.get("list"), text("one\0three\0"));
  assert.deepEqual(nodeAt(root, "cpu")!.properties.get("model"), text("\0"));
  // Each name is stored once, and the rest of the buffer is clean.
  const strings = new TextDecoder()
    .decode(blob.subarray(new DataView(blob.buffer).getUint32(12)))
    .split("\0")
    .filter(Boolean);
  assert.deepEqual(strings.toSorted(), [...new Set(strings)].toSorted());
  assert.ok(machine.get(BUFFER + size, 2048 - size).every((byte) => byte === 0));
});

test("a tree fits where there is room for the padding of one more string", () => {
  machine.allow({ start: BUFFER, size: 2048 });
  const write = (capacity: number): bigint => calls.writeEmpty(BigInt(BUFFER), BigInt(capacity));
  const size = Number(write(2048));
  let capacity = size;
  while (write(capacity) === -1n) capacity++;
  // The writer's own record, which lies at the end meanwhile, has 32.
  assert.equal(capacity, size + 32 + 4);
});

test("nodes nest as deeply as the reader takes", () => {
  machine.allow({ start: BUFFER, size: 8192 });
  assert.ok(calls.writeNested(BigInt(BUFFER), 8192n, 64) > 0n);
  assert.equal(ERRORS[calls.treeCheck(BigInt(BUFFER))], "None");
  assert.equal(calls.writeNested(BigInt(BUFFER), 8192n, 65), -1n);
});

test("a tree that does not fit fails and stays inside its buffer", () => {
  const source = buildFdt(node("", { compatible: "x,y", large: new Uint8Array(600) }));
  const fdt = load(source);
  let fitted = 0;
  for (let capacity = 512; capacity <= 1400; capacity += 4) {
    machine.bytes.fill(0xcc, BUFFER, BUFFER + 4096);
    machine.allow({ start: FDT, size: source.length }, { start: BUFFER, size: capacity });
    const size = calls.writeSample(BigInt(BUFFER), BigInt(capacity), fdt);
    assert.ok(machine.get(BUFFER + capacity, 64).every((byte) => byte === 0xcc));
    if (size === -1n) {
      assert.equal(fitted, 0, "a larger buffer is enough too");
      continue;
    }
    fitted++;
    parseFdt(machine.get(BUFFER, size));
  }
  assert.ok(fitted > 10 && fitted < 200);
  const endless = load(buildFdt(node("", { ["n".repeat(3000)]: [1] })));
  machine.allow({ start: FDT, size: 8192 }, { start: BUFFER, size: 2048 });
  assert.equal(calls.writeSample(BigInt(BUFFER), 2048n, endless), -1n, "a name that is longer than the buffer");
  assert.throws(() => calls.beginTree(BigInt(BUFFER), 100n), AssertionFailed);
});
