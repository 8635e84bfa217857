import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { compileModule, TEST_MEMORY } from "./support/module.ts";
import { Machine } from "./support/machine.ts";
import { buildFdt, cells64, node, type PropertyValue } from "./support/fdt.ts";
import { limitSize, mutations, seededRandom } from "./support/fuzz.ts";
import { SAMPLE_ISA, sampleRoot, sampleTree, type TreeOptions } from "./support/trees.ts";

const DESCRIPTION = "hypervisor/boot/machine-description";
const FIELDS = {
  MachineDescription: `error hasImsic hartCount memoryCount reservedCount features timebaseFrequency cbomBlockSize
    cbozBlockSize cbopBlockSize bootArguments bootArgumentsLength randomSeedLength kernelBase kernelSize initrdBase initrdSize uart
    testFinisher imsicPhandle imsicRegionCount imsicGuestIndexBits imsicHartIndexBits imsicGroupIndexBits
    imsicGroupIndexShift imsicIdentities imsicGuestIdentities`.split(/\s+/),
  HartDescription: ["id", "interruptPhandle", "numaNode", "features", "imsicPage", "sameIsaAsFirst", "cbozBlockSize"],
  MemoryRange: ["base", "size", "numaNode"],
  ReservedRange: ["base", "size", "noMap"],
  ImsicRegion: ["base", "size"],
};
const module = await compileModule({
  files: [DESCRIPTION, "hypervisor/riscv/isa"],
  fields: { [DESCRIPTION]: FIELDS },
  source: `
    import { describe } from "../../../hypervisor/boot/machine-description";
    export function describeAt(fdt: usize, block: usize): usize { return changetype<usize>(describe(fdt, block)); }
    export function hart(d: usize, i: u64): usize { return changetype<usize>(changetype<MachineDescription>(d).hart(i)); }
    export function memoryRange(d: usize, i: u64): usize {
      return changetype<usize>(changetype<MachineDescription>(d).memoryRange(i));
    }
    export function reservedRange(d: usize, i: u64): usize {
      return changetype<usize>(changetype<MachineDescription>(d).reservedRange(i));
    }
    export function imsicRegion(d: usize, i: u64): usize {
      return changetype<usize>(changetype<MachineDescription>(d).imsicRegion(i));
    }
    export function hartIndexOf(d: usize, id: u64): i64 { return changetype<MachineDescription>(d).hartIndexOf(id); }`,
});

const FDT = TEST_MEMORY;
const BLOCK = 8 * TEST_MEMORY;
const machine = new Machine(module, 16 * TEST_MEMORY);
const calls = machine.exports;

type Fields = Record<string, bigint>;

/** All named fields of the record at `address`. */
function record(type: keyof typeof FIELDS, address: bigint): Fields {
  const value = (field: string) => BigInt.asUintN(64, BigInt(calls[`get_${type}_${field}`](address)));
  return Object.fromEntries(FIELDS[type].map((field) => [field, value(field)]));
}

interface Described extends Record<string, unknown> {
  machine: Fields;
  harts: Fields[];
  memory: Fields[];
  reserved: Fields[];
  imsicRegions: Fields[];
  features: string[];
  error: string;
}

/** Describes the machine of a blob; the records live in a block of exactly the size that was asked for. */
function describe(blob: Uint8Array): Described {
  machine.bytes.fill(0xee, FDT, BLOCK);
  machine.put(FDT, blob);
  machine.allow({ start: FDT, size: blob.length });
  const size = Number(calls.describeSize(BigInt(FDT))) || Number(calls.size_MachineDescription());
  machine.bytes.fill(0xa5, BLOCK, BLOCK + size + 256);
  machine.allow({ start: FDT, size: blob.length }, { start: BLOCK, size });
  const at: bigint = calls.describeAt(BigInt(FDT), BigInt(BLOCK));
  assert.ok(
    machine.get(BLOCK + size, 256).every((byte) => byte === 0xa5),
    "wrote past its block",
  );
  const main = record("MachineDescription", at);
  const list = (type: keyof typeof FIELDS, accessor: string, count: bigint): Fields[] =>
    Array.from({ length: Number(count) }, (_, index) => record(type, calls[accessor](at, BigInt(index))));
  return {
    machine: main,
    harts: list("HartDescription", "hart", main.hartCount),
    memory: list("MemoryRange", "memoryRange", main.memoryCount),
    reserved: list("ReservedRange", "reservedRange", main.reservedCount),
    imsicRegions: list("ImsicRegion", "imsicRegion", main.imsicRegionCount),
    features: featureNames(main.features),
    error: machine.literal(calls.describeErrorText(Number(main.error))),
  };
}

const featureNames = (mask: bigint): string[] =>
  Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (mask >> BigInt(bit)) & 1n)
    .map((bit) => machine.literal(calls.featureName(bit)));

const sample = (options: Partial<TreeOptions> = {}) => describe(sampleTree({ harts: 2, ...options }));
const OKAY = "describes the machine";

test("a usual machine", () => {
  const found = sample();
  assert.equal(found.error, OKAY);
  assert.deepEqual(
    found.harts.map((hart) => [hart.id, hart.imsicPage, hart.interruptPhandle]),
    [
      [0n, 0x2800_0000n, 0x100n],
      [1n, 0x2800_8000n, 0x101n],
    ],
  );
  assert.deepEqual(found.memory, [{ base: 0x8000_0000n, size: 0x8000_0000n, numaNode: 0xffff_ffffn }]);
  const { machine: fields } = found;
  assert.equal(fields.timebaseFrequency, 10_000_000n);
  assert.equal(fields.uart, 0x1000_0000n);
  assert.equal(fields.testFinisher, 0x10_0000n);
  assert.deepEqual([fields.kernelBase, fields.kernelSize], [0x8040_0000n, 0x12345n]);
  assert.deepEqual([fields.initrdBase, fields.initrdSize], [0x8200_0000n, 0x4b000n]);
  assert.equal(new TextDecoder().decode(machine.get(fields.bootArguments, fields.bootArgumentsLength)), "console=hvc0");
  assert.equal(fields.hasImsic, 1n);
  assert.equal(fields.imsicGuestIndexBits, 3n);
  assert.equal(fields.imsicHartIndexBits, 1n);
  assert.equal(fields.imsicIdentities, 255n);
  assert.equal(fields.randomSeedLength, 16n);
  assert.deepEqual(found.features, "h f d sv39 sv48 sv57 sstc ssaia svadu svpbmt zicbom zicboz zbb".split(" "));
});

test("harts: sparse and 64-bit ids, disabled ones, differing extensions", () => {
  const ids = [7n, 0x1_0000_0000n, 4096n, 3n];
  const found = sample({
    harts: 4,
    ids,
    cpu: (index): Record<string, string | number[]> =>
      [
        {
          "riscv,isa-extensions": ["i", "h", "sstc", "zbb"],
          "mmu-type": "riscv,sv48",
          "riscv,cbop-block-size": [64],
        },
        { "numa-node-id": [1], "riscv,cbop-block-size": [64] },
        { status: "disabled" },
        { "riscv,cboz-block-size": [128], "riscv,cbop-block-size": [128] },
      ][index] as Record<string, string | number[]>,
  });
  assert.equal(found.error, OKAY);
  assert.deepEqual(
    found.harts.map((hart) => hart.id),
    [7n, 0x1_0000_0000n, 3n],
  );
  assert.deepEqual(
    found.harts.map((hart) => hart.numaNode),
    [0xffff_ffffn, 1n, 0xffff_ffffn],
  );
  assert.deepEqual(
    found.harts.map((hart) => hart.sameIsaAsFirst),
    [1n, 0n, 0n],
  );
  assert.deepEqual(found.features, ["h", "sv39", "sv48", "sstc", "zbb"]);
  assert.deepEqual([found.machine.cbozBlockSize, found.machine.cbopBlockSize], [0n, 0n]);
  assert.deepEqual(
    found.harts.map((hart) => hart.imsicPage),
    [0x2800_0000n, 0x2800_8000n, 0x2801_8000n],
  );
  assert.equal(calls.hartIndexOf(BigInt(BLOCK), 3n), 2n);
  assert.equal(calls.hartIndexOf(BigInt(BLOCK), 4096n), -1n);
});

test("harts that cannot be used are refused", () => {
  assert.equal(sample({ cpu: () => ({ status: "fail" }) }).error, "names no usable hart");
  assert.equal(sample({ ids: [5n, 5n] }).error, "names a hart twice");
  assert.equal(sample({ cpu: () => ({ reg: new Uint8Array(0) }) }).error, "has a cpu node whose reg cannot be read");
  const root = sampleRoot({ harts: 1 });
  const cpus = root.children.find((child) => child.name === "cpus")!;
  for (const cells of [0, 3]) {
    cpus.properties.set("#address-cells", Uint8Array.of(0, 0, 0, cells));
    assert.equal(describe(buildFdt(root)).error, "has a cpu node whose reg cannot be read");
  }
  cpus.properties.set("#address-cells", Uint8Array.of(0, 0, 0, 1));
  cpus.properties.delete("timebase-frequency");
  assert.equal(describe(buildFdt(root)).error, "has no timebase-frequency");
  cpus.children[0].properties.set("timebase-frequency", Uint8Array.from([0, 0, 0, 1, 0, 0, 0, 2]));
  assert.equal(describe(buildFdt(root)).machine.timebaseFrequency, 0x1_0000_0002n);
});

test("memory: several nodes, several ranges, sorted; NUMA nodes", () => {
  const found = sample({
    memory: [
      { base: 0x1_0000_0000n, size: 0x4000_0000n, numaNode: 1 },
      { base: 0x8000_0000n, size: 0x4000_0000n, numaNode: 0 },
    ],
    top: [
      node("memory@200000000", {
        device_type: "memory",
        reg: cells64(0x3_0000_0000n, 0x1000n, 0x2_0000_0000n, 0x1000n, 0n, 0n),
      }),
      node("memory@f00000000", { device_type: "memory", status: "disabled", reg: cells64(0xf_0000_0000n, 0x1000n) }),
    ],
  });
  assert.equal(found.error, OKAY);
  assert.deepEqual(
    found.memory.map(({ base, size, numaNode }) => [base, size, numaNode]),
    [
      [0x8000_0000n, 0x4000_0000n, 0n],
      [0x1_0000_0000n, 0x4000_0000n, 1n],
      [0x2_0000_0000n, 0x1000n, 0xffff_ffffn],
      [0x3_0000_0000n, 0x1000n, 0xffff_ffffn],
    ],
  );
  const RAM = { base: 0x8000_0000n, size: 0x1000_0000n };
  const overlaps = "has memory ranges that overlap";
  assert.equal(sample({ memory: [RAM, { base: 0x8fff_ffffn, size: 1n }] }).error, overlaps);
  assert.equal(sample({ memory: [RAM, RAM] }).error, overlaps);
  assert.equal(sample({ memory: [RAM, { base: 0x7fff_ffffn, size: 2n }] }).error, overlaps);
  assert.equal(
    sample({ memory: [RAM, { base: 0x7fff_ffffn, size: 1n }, { base: 0x9000_0000n, size: 1n }] }).error,
    OKAY,
  );
  assert.equal(sample({ memory: [] }).error, "names no memory");
  assert.equal(
    sample({ memory: [{ base: 0xffff_ffff_ffff_f000n, size: 0x2000n }] }).error,
    "has a memory node whose reg cannot be read",
  );
});

test("reserved memory: reservation block and /reserved-memory", () => {
  const found = sample({
    reservations: [{ address: 0x8800_0000n, size: 0x1000n }],
    reserved: [
      node("mmode_resv1@80000000", { reg: cells64(0x8000_0000n, 0x4_0000n), "no-map": true }),
      node("two", { reg: cells64(0x9000_0000n, 0x1000n, 0x9100_0000n, 0x2000n) }),
      node("dynamic", { size: cells64(0x100_0000n) }),
      node("empty", { reg: cells64(0x9200_0000n, 0n) }),
    ],
  });
  assert.equal(found.error, OKAY);
  assert.deepEqual(found.reserved, [
    { base: 0x8800_0000n, size: 0x1000n, noMap: 0n },
    { base: 0x8000_0000n, size: 0x4_0000n, noMap: 1n },
    { base: 0x9000_0000n, size: 0x1000n, noMap: 0n },
    { base: 0x9100_0000n, size: 0x2000n, noMap: 0n },
  ]);
  const wrong = sample({ reserved: [node("odd", { reg: [1, 2, 3] })] });
  assert.equal(wrong.error, "has reserved memory whose reg cannot be read");
});

test("images: any place, any order, own boot arguments, cells of /chosen, none", () => {
  const modules = [
    node("other", { compatible: "multiboot,module", reg: cells64(1n, 2n) }),
    node("m1", {
      compatible: ["multiboot,kernel", "multiboot,module"],
      bootargs: "from the module",
      reg: [0xc020_0000, 0x1234],
    }),
    node("m2", { compatible: ["multiboot,module", "multiboot,kernel"], reg: [1, 2] }),
  ];
  const found = sample({ modules, chosen: { "#address-cells": [1], "#size-cells": [1] } });
  assert.equal(found.error, OKAY);
  assert.deepEqual([found.machine.kernelBase, found.machine.kernelSize], [0xc020_0000n, 0x1234n]);
  assert.equal(found.machine.initrdSize, 0n);
  const text = machine.get(found.machine.bootArguments, found.machine.bootArgumentsLength);
  assert.equal(new TextDecoder().decode(text), "from the module");
  assert.equal(sample({ modules: [] }).machine.kernelSize, 0n);
  assert.equal(sample({ modules: modules.slice(1, 2) }).error, "has a boot module whose reg cannot be read");
});

test("UART: through stdout-path, an alias, or the first that can be driven", () => {
  const uart = (name: string, base: bigint, properties = {}) =>
    node(name, { compatible: ["x", "ns16550a"], reg: cells64(base, 0x100n), ...properties });
  const devices = [uart("serial@20000000", 0x2000_0000n), uart("serial@30000000", 0x3000_0000n, { "reg-shift": [2] })];
  const aliases = { serial1: "/soc/serial@20000000" };
  const at = (stdout: string) => sample({ devices, aliases, chosen: { "stdout-path": stdout } }).machine.uart;
  assert.equal(at("/soc/serial@20000000"), 0x2000_0000n);
  assert.equal(at("/soc/serial@20000000:115200n8"), 0x2000_0000n);
  assert.equal(at("serial0"), 0x1000_0000n);
  assert.equal(at("serial0:9600"), 0x1000_0000n);
  assert.equal(at("serial1"), 0x2000_0000n);
  assert.equal(at("serial1:9600"), 0x2000_0000n);
  assert.equal(at("//soc//serial@20000000"), 0x2000_0000n);
  const aliased = (serial0: PropertyValue): bigint => {
    const root = sampleRoot({ harts: 1, devices, chosen: { "stdout-path": "serial0" } });
    root.children.find(({ name }) => name === "aliases")!.properties = node("", { serial0 }).properties;
    return describe(buildFdt(root)).machine.uart;
  };
  assert.equal(aliased("/soc/serial@20000000:115200"), 0x2000_0000n);
  // An alias that is empty, or names another one.
  for (const odd of ["", ":", "serial0", "soc/serial@20000000"]) assert.equal(aliased(odd), 0x1000_0000n, odd);
  const nameless = sampleRoot({ harts: 1, devices, chosen: { "stdout-path": "serial0" } });
  nameless.children = nameless.children.filter(({ name }) => name !== "aliases");
  assert.equal(describe(buildFdt(nameless)).machine.uart, 0x1000_0000n);
  // The first one has its registers elsewhere.
  const shifted = sampleRoot({ harts: 1, devices, chosen: { "stdout-path": "nothing" } });
  const soc = shifted.children.find(({ name }) => name === "soc")!;
  soc.children[0].properties.set("reg-shift", Uint8Array.of(0, 0, 0, 2));
  assert.equal(describe(buildFdt(shifted)).machine.uart, 0x2000_0000n);
  for (const odd of ["/soc/serial@30000000", "nothing", "", ":", "/", "//", "/soc/none", "serial00"]) {
    assert.equal(at(odd), 0x1000_0000n, odd);
  }
});

test("IMSIC: groups, several regions, absent harts and geometry that cannot be", () => {
  const groups = sample({
    harts: 4,
    imsic: {
      "riscv,guest-index-bits": [2],
      "riscv,hart-index-bits": [1],
      "riscv,group-index-bits": [1],
      "riscv,group-index-shift": [24],
      reg: cells64(0x2800_0000n, 0x8000n, 0x2900_0000n, 0x8000n),
      "riscv,num-ids": [127],
      "riscv,num-guest-ids": [63],
    },
  });
  assert.equal(groups.error, OKAY);
  assert.deepEqual(
    groups.harts.map((hart) => hart.imsicPage),
    [0x2800_0000n, 0x2800_4000n, 0x2900_0000n, 0x2900_4000n],
  );
  assert.deepEqual(groups.imsicRegions, [
    { base: 0x2800_0000n, size: 0x8000n },
    { base: 0x2900_0000n, size: 0x8000n },
  ]);
  assert.equal(groups.machine.imsicGroupIndexBits, 1n);
  assert.deepEqual([groups.machine.imsicIdentities, groups.machine.imsicGuestIdentities], [127n, 63n]);

  const single = sample({ imsic: { reg: cells64(0x2800_0000n, 0x1000n, 0x2800_8000n, 0x1000n) } });
  assert.deepEqual(
    single.harts.map((hart) => hart.imsicPage),
    [0x2800_0000n, 0x2800_8000n],
  );

  const without = sample({ imsic: null });
  assert.equal(without.error, OKAY);
  assert.equal(without.machine.hasImsic, 0n);
  // A hart without a file: there is no IMSIC to build on.
  const partial = sample({ imsic: { "interrupts-extended": [0x100, 9] } });
  assert.deepEqual([partial.error, partial.machine.hasImsic], [OKAY, 0n]);
  // A file of nobody's: the hart's own interrupt controller has no phandle either.
  const nobody = sample({ imsic: { "interrupts-extended": [0, 9, 0x101, 9] } });
  assert.deepEqual([nobody.error, nobody.machine.hasImsic], [OKAY, 0n]);
  assert.deepEqual(
    nobody.harts.map((hart) => hart.imsicPage),
    [0n, 0x2800_8000n],
  );

  const malformed = "has an IMSIC whose registers do not fit its harts";
  const wrong: Record<string, PropertyValue>[] = [
    { "riscv,num-ids": [64] },
    { "riscv,num-ids": [0] },
    { "riscv,num-ids": [4095] },
    { "riscv,guest-index-bits": [60] },
    { "riscv,hart-index-bits": [52] },
    { "riscv,guest-index-bits": [26], "riscv,hart-index-bits": [26] },
    { "riscv,guest-index-bits": [0], reg: cells64(0x2800_0000n, 0x1800n) },
    { "riscv,group-index-bits": [1], "riscv,group-index-shift": [13] },
    { "riscv,group-index-bits": [20], "riscv,group-index-shift": [50] },
    { reg: cells64(0x2800_0000n, 0x8000n) },
    { reg: cells64(0x2800_0800n, 0x10000n) },
    { reg: [1, 2, 3] },
    { "interrupts-extended": [0x100, 9, 0x100, 9] },
    { "interrupts-extended": [0x100, 9, 0x101, 11] },
    { "interrupts-extended": [0x100, 9, 0x101] },
  ];
  for (const properties of wrong) {
    assert.equal(sample({ imsic: properties }).error, malformed, JSON.stringify(properties));
  }
});

test("ISA texts: lists, strings, versions and short forms", () => {
  const features = (isa: string | string[]): string[] => {
    const list: Record<string, PropertyValue> =
      typeof isa === "string" ? { "riscv,isa": isa } : { "riscv,isa-extensions": isa };
    const root = sampleRoot({ harts: 1, cpu: () => ({ "mmu-type": "riscv,sv39" }) });
    const cpu = root.children.find((child) => child.name === "cpus")!.children[0];
    cpu.properties.delete("riscv,isa-extensions");
    cpu.properties.delete("riscv,isa");
    for (const [name, value] of node("", list).properties) cpu.properties.set(name, value);
    return describe(buildFdt(root)).features.filter((name) => !name.startsWith("sv39"));
  };
  assert.deepEqual(features("rv64imafdc"), ["f", "d"]);
  assert.deepEqual(features("rv64gch_sstc"), ["h", "f", "d", "sstc"]);
  assert.deepEqual(features("rv64i2p1m2p0a2p1f2p2d2p2v1p0h1p0_zbb1p0_sstc1p0_zknh"), [
    "h",
    "f",
    "d",
    "v",
    "sstc",
    "zbb",
    "zknh",
  ]);
  assert.deepEqual(features("rv64ih1_zbb1_zacas1p0"), ["h", "zbb", "zacas"]);
  assert.deepEqual(features("rv64imazbb_sstc"), ["sstc", "zbb"]);
  assert.deepEqual(features("rv64i_h_v"), ["h", "v"]);
  assert.deepEqual(features("rv32imafdch"), []);
  assert.deepEqual(features(""), []);
  assert.deepEqual(features("rv64"), []);
  assert.deepEqual(features("rv64___"), []);
  assert.deepEqual(features("rv64i_sstcx_xsstc_zb_zbbb_svadu2x"), []);
  assert.deepEqual(features(["i", "h", "v", "zk", "smstateen"]), ["h", "v", "ssstateen", "zknh", "zkr"]);
  assert.deepEqual(features(["", "", "h"]), ["h"]);
  assert.deepEqual(features(SAMPLE_ISA), "h f d sstc ssaia svadu svpbmt zicbom zicboz zbb".split(" "));
});

test("no mutation of a tree makes the description look outside of it", () => {
  const random = seededRandom(0xdeadbeef);
  const blob = sampleTree({
    harts: 3,
    reservations: [{ address: 1n, size: 2n }],
    reserved: [node("r", { reg: cells64(1n, 2n) })],
  });
  const errors = new Map<string, number>();
  for (const mutated of mutations(blob, random, 6000)) {
    limitSize(mutated);
    const { error } = describe(mutated);
    errors.set(error, (errors.get(error) ?? 0) + 1);
  }
  assert.ok(errors.size >= 8, [...errors].join("\n"));
});

const qemu = process.env.QEMU_SYSTEM_RISCV64 ?? "qemu-system-riscv64";
const hasQemu = spawnSync(qemu, ["--version"]).status === 0;

/** The tree that QEMU makes for a machine (dumpdtb does not start it). */
function dump(args: string[], machineOptions = "aia=aplic-imsic,aia-guests=5"): Uint8Array {
  const folder = mkdtempSync(path.join(tmpdir(), "salus-dtb-"));
  try {
    const file = path.join(folder, "machine.dtb");
    execFileSync(qemu, ["-M", `virt,${machineOptions},dumpdtb=${file}`, "-display", "none", ...args], {
      stdio: "pipe",
    });
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("trees of QEMU's virt machine", { skip: !hasQemu }, () => {
  for (const [cpu, expected] of [
    ["rv64", "h f d sv39 sv48 sv57 sstc ssaia svadu zicbom zicboz zicbop zbb zicntr zihpm zawrs"],
    [
      "rva23s64",
      "h f d v sv39 sstc ssaia sscofpmf ssstateen svade svpbmt svinval svnapot zicbom zicboz zicbop zbb zicntr zihpm ssnpm zawrs",
    ],
  ]) {
    const found = describe(dump(["-cpu", cpu, "-smp", "3", "-m", "256M"]));
    assert.equal(found.error, OKAY);
    assert.deepEqual(found.features, expected.split(" "));
    assert.deepEqual(
      found.harts.map((hart) => [hart.id, hart.imsicPage]),
      [
        [0n, 0x2800_0000n],
        [1n, 0x2800_8000n],
        [2n, 0x2801_0000n],
      ],
    );
    assert.equal(found.machine.uart, 0x1000_0000n);
    assert.equal(found.machine.testFinisher, 0x10_0000n);
    assert.equal(found.machine.timebaseFrequency, 10_000_000n);
    assert.deepEqual(
      found.memory.map(({ base, size }) => [base, size]),
      [[0x8000_0000n, 0x1000_0000n]],
    );
  }
});

test("QEMU with two sockets: NUMA nodes and IMSIC groups", { skip: !hasQemu }, () => {
  const memory = ["0", "1"].flatMap((id) => ["-object", `memory-backend-ram,id=ram${id},size=512M`]);
  const nodes = ["0", "1"].flatMap((id) => ["-numa", `node,nodeid=${id},memdev=ram${id}`]);
  const found = describe(dump(["-smp", "4,sockets=2,cores=2", "-m", "1G", ...memory, ...nodes]));
  assert.equal(found.error, OKAY);
  assert.deepEqual(
    found.memory.map(({ base, size, numaNode }) => [base, size, numaNode]),
    [
      [0x8000_0000n, 0x2000_0000n, 0n],
      [0xa000_0000n, 0x2000_0000n, 1n],
    ],
  );
  assert.deepEqual(found.harts.map((hart) => hart.imsicPage).toSorted(), [
    0x2800_0000n,
    0x2800_8000n,
    0x2900_0000n,
    0x2900_8000n,
  ]);
  assert.deepEqual(found.harts.map((hart) => hart.numaNode).toSorted(), [0n, 0n, 1n, 1n]);
  assert.equal(found.machine.imsicGroupIndexBits, 1n);
});

test("QEMU's guest-loader and a machine without IMSIC", { skip: !hasQemu }, () => {
  const image = path.join(import.meta.dirname, "machine-description.test.ts");
  const size = BigInt(readFileSync(image).length);
  const loader = (type: string, address: string, more = "") => [
    "-device",
    `guest-loader,${type}=${image},addr=${address}${more}`,
  ];
  const blob = dump(
    [
      "-kernel",
      image,
      "-append",
      "of the machine",
      ...loader("kernel", "0xc0200000", ",bootargs=of the kernel"),
      ...loader("initrd", "0x90000000"),
    ],
    "aia=none",
  );
  const found = describe(blob);
  assert.equal(found.error, OKAY);
  assert.deepEqual([found.machine.kernelBase, found.machine.initrdBase], [0xc020_0000n, 0x9000_0000n]);
  assert.ok(found.machine.kernelSize >= size && found.machine.initrdSize >= size);
  assert.equal(found.machine.hasImsic, 0n);
  const text = machine.get(found.machine.bootArguments, found.machine.bootArgumentsLength);
  assert.equal(new TextDecoder().decode(text), "of the kernel");
});
