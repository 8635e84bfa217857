import assert from "node:assert/strict";
import { test } from "node:test";
import { limitSize, mutations, seededRandom } from "./support/fuzz.ts";
import { compileModule, TEST_MEMORY } from "./support/module.ts";
import { Machine } from "./support/machine.ts";
import { buildFdt, cells64, cellsOf, node, nodeAt, parseFdt, stringsOf, type FdtNode } from "./support/fdt.ts";
import { sampleRoot, sampleTree, type TreeOptions } from "./support/trees.ts";

const module = await compileModule({
  files: ["hypervisor/boot/host-isa", "hypervisor/boot/host-device-tree", "hypervisor/riscv/isa"],
  source: `
    import { HostTreePlan, buildHostTree, hostTreeBound } from "../../../hypervisor/boot/host-device-tree";
    import { describe, describeSize, MachineDescription } from "../../../hypervisor/boot/machine-description";
    import { initIntervalList } from "../../../hypervisor/boot/interval-list";
    import { Hart } from "../../../hypervisor/hart";
    import { Root } from "../../../hypervisor/root";
    export function describeAt(fdt: usize, block: usize): u32 { return describe(fdt, block).error; }
    export function machineFeatures(block: usize): u64 { return changetype<MachineDescription>(block).features; }
    export function hartImsic(block: usize, i: u64): u64 { return changetype<MachineDescription>(block).hart(i).imsicPage; }
    export function hartId(block: usize, i: u64): u64 { return changetype<MachineDescription>(block).hart(i).id; }
    export function hartCount(block: usize): u64 { return changetype<MachineDescription>(block).hartCount; }
    export function hasImsic(block: usize): u32 { return changetype<MachineDescription>(block).hasImsic; }
    export function bound(block: usize, ranges: u64): u64 {
      return hostTreeBound(changetype<MachineDescription>(block), ranges);
    }
    export function planCreate(plan: usize, list: usize): void {
      changetype<HostTreePlan>(plan).memory = initIntervalList(list, 16);
    }
    export function planMemory(plan: usize, start: u64, end: u64): void {
      changetype<HostTreePlan>(plan).memory.append(start, end);
    }
    export function planRest(plan: usize, initrd: u64, size: u64, features: u64, files: u32): void {
      const record = changetype<HostTreePlan>(plan);
      record.initrdGpa = initrd;
      record.initrdSize = size;
      record.features = features;
      record.interruptFiles = files;
    }
    export function addHart(root: usize, table: usize, record: usize, id: u64): void {
      const machine = changetype<Root>(root);
      machine.harts = table;
      changetype<Hart>(record).id = id;
      machine.setHart(machine.hartCount++, changetype<Hart>(record));
    }
    export function setAplic(root: usize, aplic: usize): void { changetype<Root>(root).aplic = aplic; }
    export function build(root: usize, block: usize, plan: usize, buffer: usize, capacity: u64): i64 {
      return buildHostTree(changetype<Root>(root), changetype<MachineDescription>(block), changetype<HostTreePlan>(plan),
        buffer, capacity);
    }`,
});

const at = (megabytes: number) => megabytes * TEST_MEMORY;
const [FDT, BLOCK, PLAN, LIST, ROOT, TABLE, HARTS, BUFFER, BLOCK2] = [1, 5, 9, 10, 11, 12, 13, 20, 28].map(at);
const machine = new Machine(module, at(32));
const calls = machine.exports;

// henvcfg bits (Privileged 21.2.5).
const [CBCFE, CBZE, ADUE, PBMTE, STCE] = [6n, 7n, 61n, 62n, 63n].map((bit) => 1n << bit);
const USUAL = STCE | CBZE | CBCFE | ADUE;

interface HostOptions {
  ids?: bigint[];
  memory?: [bigint, bigint][];
  initrd?: [bigint, bigint];
  henvcfg?: bigint;
  vectors?: boolean;
  files?: boolean;
  /** The APLIC could be taken over. */
  wired?: boolean;
  capacity?: number;
}

/** The host's tree for a machine; also checks that hostTreeBound was enough and the result readable by ourselves. */
function hostTree(blob: Uint8Array, host: HostOptions = {}): FdtNode {
  machine.bytes.fill(0, TEST_MEMORY);
  machine.put(FDT, blob);
  assert.equal(calls.describeAt(BigInt(FDT), BigInt(BLOCK)), 0);
  const files = (host.files ?? true) && calls.hasImsic(BigInt(BLOCK)) === 1;
  const features = calls.offeredFeatures(
    calls.machineFeatures(BigInt(BLOCK)),
    BigInt.asIntN(64, host.henvcfg ?? USUAL),
    host.vectors ?? true,
    files,
    false,
  );
  calls.planCreate(BigInt(PLAN), BigInt(LIST));
  const memory = host.memory ?? [[0x8000_0000n, 0xf000_0000n]];
  for (const [start, end] of memory) calls.planMemory(BigInt(PLAN), start, end);
  calls.planRest(BigInt(PLAN), ...(host.initrd ?? [0n, 0n]), features, files ? 1 : 0);
  (host.ids ?? [0n, 1n]).forEach((id, index) =>
    calls.addHart(BigInt(ROOT), BigInt(TABLE), BigInt(HARTS + index * 0x1000), id),
  );
  calls.setAplic(BigInt(ROOT), host.wired ? 1n : 0n);
  const capacity = BigInt(host.capacity ?? calls.bound(BigInt(BLOCK), BigInt(memory.length)));
  assert.equal(capacity % 8n, 0n);
  const size = calls.build(BigInt(ROOT), BigInt(BLOCK), BigInt(PLAN), BigInt(BUFFER), capacity);
  assert.ok(size > 0n, `${capacity} bytes are not enough`);
  const { root } = parseFdt(machine.get(BUFFER, size));
  assert.equal(calls.describeAt(BigInt(BUFFER), BigInt(BLOCK2)), 0);
  return root;
}

const sample = (options: Partial<TreeOptions> = {}) => sampleTree({ harts: 2, ...options });

test("the host's tree", () => {
  const root = hostTree(sample(), { initrd: [0x8400_0000n, 0x1234n] });
  assert.deepEqual(
    root.children.map((child) => child.name),
    ["chosen", "memory@80000000", "cpus", "soc"],
  );
  assert.deepEqual([...root.properties.keys()], ["#address-cells", "#size-cells", "compatible", "model"]);
  assert.deepEqual(stringsOf(root, "compatible"), ["riscv-virtio"]);

  const chosen = nodeAt(root, "/chosen")!;
  assert.deepEqual(stringsOf(chosen, "bootargs"), ["console=hvc0"]);
  assert.deepEqual(cellsOf(chosen, "linux,initrd-start"), [0, 0x8400_0000]);
  assert.deepEqual(cellsOf(chosen, "linux,initrd-end"), [0, 0x8400_1234]);
  assert.deepEqual(cellsOf(chosen, "rng-seed"), [1, 2, 3, 4]);
  assert.deepEqual(cellsOf(nodeAt(root, "/memory")!, "reg"), [0, 0x8000_0000, 0, 0x7000_0000]);

  const cpus = nodeAt(root, "/cpus")!;
  assert.deepEqual(cellsOf(cpus, "timebase-frequency"), [10_000_000]);
  assert.deepEqual(
    cpus.children.map((cpu) => cpu.name),
    ["cpu@0", "cpu@1", "cpu-map"],
  );
  assert.deepEqual(
    nodeAt(cpus, "cpu-map/cluster0")!.children.map((core) => [core.name, ...cellsOf(core, "cpu")]),
    [
      ["core0", 0x200],
      ["core1", 0x201],
    ],
  );
  for (const [index, cpu] of cpus.children.slice(0, 2).entries()) {
    assert.deepEqual(cellsOf(cpu, "phandle"), [0x200 + index]);
    assert.deepEqual(cellsOf(cpu, "reg"), [index]);
    assert.deepEqual(stringsOf(cpu, "mmu-type"), ["riscv,sv57"]);
    assert.deepEqual(stringsOf(cpu, "riscv,isa-base"), ["rv64i"]);
    const isaProperties = [...cpu.properties.keys()].filter((name) => name.includes("riscv,isa"));
    assert.equal(isaProperties[0], "riscv,isa", "what the original's tellus looks at");
    assert.deepEqual(
      stringsOf(cpu, "riscv,isa-extensions").join(" "),
      "i m a f d c zicbom zicboz zicsr zifencei zba zbb ssaia sstc svadu",
    );
    assert.deepEqual(stringsOf(cpu, "riscv,isa"), ["rv64imafdc_zicbom_zicboz_zicsr_zifencei_zba_zbb_ssaia_sstc_svadu"]);
    assert.deepEqual(cellsOf(cpu, "riscv,cboz-block-size"), [64]);
    assert.deepEqual(cellsOf(cpu, "riscv,cbom-block-size"), [64]);
    assert.deepEqual(cellsOf(nodeAt(cpu, "interrupt-controller")!, "phandle"), [0x100 + index]);
  }

  const imsic = nodeAt(root, "/soc/imsics@28000000")!;
  assert.deepEqual(cellsOf(imsic, "interrupts-extended"), [0x100, 9, 0x101, 9]);
  assert.deepEqual(cellsOf(imsic, "reg"), cells64(0x2800_0000n, 0x1_0000n));
  assert.deepEqual(cellsOf(imsic, "riscv,num-ids"), [255]);
  assert.deepEqual(cellsOf(imsic, "riscv,guest-index-bits"), [3]);
});

test("hosts without an IMSIC, without arguments, with several ranges and NUMA nodes", () => {
  const memory = [
    { base: 0x8000_0000n, size: 0x4000_0000n, numaNode: 0 },
    { base: 0x10_0000_0000n, size: 0x4000_0000n, numaNode: 1 },
  ];
  const distances = node("distance-map", {
    compatible: "numa-distance-map-v1",
    "distance-matrix": [0, 0, 10, 0, 1, 20],
  });
  const blob = sample({
    memory,
    chosen: { bootargs: "" },
    cpu: (index) => ({ "numa-node-id": [index] }),
    top: [distances],
  });
  const ranges: [bigint, bigint][] = [
    [0x8000_0000n, 0xbe00_0000n],
    [0x10_0000_0000n, 0x10_3000_0000n],
  ];
  const root = hostTree(blob, { memory: ranges, files: false });
  assert.deepEqual(
    nodeAt(root, "/soc")!.children.map((child) => child.name),
    ["serial@10000000"],
  );
  assert.equal(nodeAt(root, "/chosen")!.properties.has("bootargs"), false);
  assert.equal(nodeAt(root, "/chosen")!.properties.has("linux,initrd-start"), false);
  const nodes = root.children.filter((child) => child.name.startsWith("memory"));
  assert.deepEqual(
    nodes.map((child) => child.name),
    ["memory@80000000", "memory@1000000000"],
  );
  assert.deepEqual(
    nodes.map((child) => cellsOf(child, "numa-node-id")),
    [[0], [1]],
  );
  assert.deepEqual(
    [0, 1].map((index) => cellsOf(nodeAt(root, `/cpus/cpu@${index}`)!, "numa-node-id")),
    [[0], [1]],
  );
  assert.deepEqual(cellsOf(nodeAt(root, "/distance-map")!, "distance-matrix"), [0, 0, 10, 0, 1, 20]);
  assert.ok(!stringsOf(nodeAt(root, "/cpus/cpu@0")!, "riscv,isa-extensions").includes("ssaia"));

  const elsewhere = hostTree(blob, { memory: [[0x4000_0000n, 0x4020_0000n]] });
  assert.equal(nodeAt(elsewhere, "/memory")!.properties.has("numa-node-id"), false, "memory of no range");
});

test("what the tree of the machine says in an unusual way", () => {
  const machineRoot = sampleRoot({ harts: 2, imsic: { phandle: true, "interrupts-extended": [0x101, 9, 0x100, 9] } });
  const cpus = nodeAt(machineRoot, "/cpus")!;
  cpus.properties.set("timebase-frequency", Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2));
  // The map of the harts has gaps: each empty property is turned into three NOPs.
  const map = cpus.children.find(({ name }) => name === "cpu-map")!;
  for (const each of [map, ...map.children]) each.properties.set("gap", new Uint8Array(0));
  const blob = buildFdt(machineRoot);
  const view = new DataView(blob.buffer);
  const [structure, strings, size] = [8, 12, 36].map((field) => view.getUint32(field));
  const names = new TextDecoder("latin1").decode(blob.subarray(strings));
  const gap = names.indexOf("\0gap\0") + 1;
  for (let at = structure; at < structure + size - 8; at += 4) {
    if (view.getUint32(at) !== 3 || view.getUint32(at + 4) !== 0 || view.getUint32(at + 8) !== gap) continue;
    for (const offset of [0, 4, 8]) view.setUint32(at + offset, 4);
  }
  const root = hostTree(blob);
  assert.deepEqual(cellsOf(nodeAt(root, "/cpus")!, "timebase-frequency"), [1, 2]);
  const copied = nodeAt(root, "/cpus/cpu-map")!;
  assert.equal(copied.properties.size + copied.children[0].properties.size, 0);
  assert.deepEqual(cellsOf(nodeAt(copied, "cluster0/core1")!, "cpu"), [0x201]);
  // The files are in another order than the harts, and nothing refers to their controller.
  const imsic = nodeAt(root, "/soc/imsics")!;
  assert.equal(imsic.properties.has("phandle"), false);
  assert.deepEqual(cellsOf(imsic, "interrupts-extended"), [0x100, 9, 0x101, 9]);
  assert.deepEqual(cellsOf(imsic, "reg"), cells64(0x2800_8000n, 0x8000n, 0x2800_0000n, 0x8000n));
});

test("the host gets the UART and the clock if nothing else is in their pages", () => {
  const clock = (base: bigint, properties = {}) =>
    node(`rtc@${base.toString(16)}`, { compatible: "google,goldfish-rtc", reg: cells64(base, 0x1000n), ...properties });
  const neighbour = (base: bigint, size = 0x100n) =>
    node(`thing@${base.toString(16)}`, { compatible: "a,thing", reg: cells64(base, size) });
  const given = (devices: FdtNode[]) => {
    const root = hostTree(sample({ devices }));
    const soc = nodeAt(root, "/soc")!;
    const console = nodeAt(root, "/chosen")!.properties.has("stdout-path");
    assert.equal(console, soc.children[0].name === "serial@10000000");
    return soc.children.map((child) => child.name).filter((name) => !name.startsWith("imsics"));
  };
  const [uart, rtc] = ["serial@10000000", "rtc@101000"];
  assert.deepEqual(given([]), [uart]);
  assert.deepEqual(given([clock(0x10_1000n)]), [uart, rtc]);
  assert.deepEqual(given([clock(0x10_1000n, { status: "disabled" })]), [uart]);
  // The test finisher's page, the IMSIC's, RAM, two pages at once, no address.
  for (const base of [0x10_0800n, 0x2800_1000n, 0x9000_0000n, 0x10_1800n])
    assert.deepEqual(given([clock(base)]), [uart]);
  assert.deepEqual(given([clock(0x10_1000n, { reg: [] })]), [uart]);
  assert.deepEqual(given([neighbour(0x1000_0100n)]), []);
  assert.deepEqual(given([neighbour(0x1000_0000n - 4n, 8n)]), []);
  assert.deepEqual(given([neighbour(0x1000_1000n), neighbour(0xfff_f000n, 0x1000n)]), [uart]);
  assert.deepEqual(given([neighbour(0x1000_0800n, 0n)]), [uart], "a neighbour without registers");
});

test("the node of the UART says what its driver has to know, and where the console is", () => {
  const machineRoot = sampleRoot({ harts: 1 });
  const serial = nodeAt(machineRoot, "/soc/serial")!;
  for (const [name, value] of node("", { "clock-frequency": [3686400], interrupts: [10], phandle: [7] }).properties) {
    serial.properties.set(name, value);
  }
  const root = hostTree(buildFdt(machineRoot), { ids: [0n] });
  const node_ = nodeAt(root, "/soc/serial")!;
  assert.deepEqual([...node_.properties.keys()], ["compatible", "reg", "clock-frequency"]);
  assert.deepEqual(cellsOf(node_, "reg"), cells64(0x1000_0000n, 0x100n));
  assert.deepEqual(cellsOf(node_, "clock-frequency"), [3686400]);
  assert.deepEqual(stringsOf(nodeAt(root, "/chosen")!, "stdout-path"), ["/soc/serial@10000000"]);
});

test("a host with the APLIC gets the interrupts of its devices", () => {
  const machineRoot = sampleRoot({
    harts: 2,
    devices: [
      node("interrupt-controller@d000000", {
        compatible: ["qemu,aplic", "riscv,aplic"],
        reg: cells64(0xd00_0000n, 0x8000n),
        "msi-parent": [9],
        "riscv,num-sources": [96],
        phandle: [50],
      }),
      node("rtc@101000", {
        compatible: "google,goldfish-rtc",
        reg: cells64(0x10_1000n, 0x1000n),
        "interrupt-parent": [51],
        interrupts: [11, 4],
      }),
    ],
  });
  nodeAt(machineRoot, "/soc")!.properties.set("interrupt-parent", node("", { a: [50] }).properties.get("a")!);
  nodeAt(machineRoot, "/soc/serial")!.properties.set("interrupts", node("", { a: [10, 4] }).properties.get("a")!);
  const blob = buildFdt(machineRoot);
  const wired = hostTree(blob, { wired: true });
  const aplic = nodeAt(wired, "/soc/interrupt-controller@d000000")!;
  assert.deepEqual(stringsOf(aplic, "compatible"), ["riscv,aplic"]);
  assert.deepEqual(cellsOf(aplic, "reg"), cells64(0xd00_0000n, 0x4000n));
  assert.deepEqual(
    ["phandle", "msi-parent", "riscv,num-sources", "#interrupt-cells"].map((name) => cellsOf(aplic, name)[0]),
    [50, 9, 96, 2],
  );
  const serial = nodeAt(wired, "/soc/serial")!;
  assert.deepEqual([cellsOf(serial, "interrupt-parent"), cellsOf(serial, "interrupts")], [[50], [10, 4]]);
  assert.equal(nodeAt(wired, "/soc/rtc")!.properties.has("interrupts"), false, "another controller's");

  const polled = hostTree(blob);
  assert.equal(nodeAt(polled, "/soc/interrupt-controller@d000000"), undefined);
  assert.equal(nodeAt(polled, "/soc/serial")!.properties.has("interrupts"), false);
});

test("a host's own file has as many identities as a guest file", () => {
  const root = hostTree(sample({ imsic: { "riscv,num-ids": [255], "riscv,num-guest-ids": [127] } }));
  const imsic = nodeAt(root, "/soc/imsics")!;
  assert.deepEqual(cellsOf(imsic, "riscv,num-ids"), [127]);
  assert.equal(imsic.properties.has("riscv,num-guest-ids"), false, "the same");
});

test("a hart that is missing keeps the others at their files", () => {
  const root = hostTree(sample({ harts: 4, ids: [10n, 20n, 30n, 40n] }), { ids: [10n, 30n, 40n] });
  assert.deepEqual(
    nodeAt(root, "/cpus")!.children.map((cpu) => cpu.name),
    ["cpu@0", "cpu@1", "cpu@2", "cpu-map"],
  );
  const imsic = nodeAt(root, "/soc/imsics")!;
  assert.deepEqual(cellsOf(imsic, "interrupts-extended"), [0x100, 9, 0x102, 9, 0x103, 9]);
  const pages = [0x2800_0000n, 0x2801_0000n, 0x2801_8000n];
  assert.deepEqual(cellsOf(imsic, "reg"), cells64(...pages.flatMap((page) => [page, 0x8000n])));
  assert.deepEqual(cellsOf(imsic, "riscv,hart-index-bits"), [2]);
  // Our own reader finds each hart's page where the machine has it.
  assert.deepEqual(
    [0n, 1n, 2n].map((index) => calls.hartImsic(BigInt(BLOCK2), index)),
    pages,
  );
});

test("extensions are those of all harts; the forms of the ISA text", () => {
  const names = (isa: Record<string, string | string[]>, host?: HostOptions, other = isa) => {
    const machineRoot = sampleRoot({ harts: 2 });
    machineRoot.children
      .find((child) => child.name === "cpus")!
      .children.forEach((cpu, index) => {
        cpu.properties.delete("riscv,isa-extensions");
        cpu.properties.delete("riscv,isa");
        for (const [name, value] of node("", index === 0 ? isa : other).properties) cpu.properties.set(name, value);
      });
    const cpu = nodeAt(hostTree(buildFdt(machineRoot), host), "/cpus/cpu@1")!;
    return [stringsOf(cpu, "riscv,isa-extensions").join(" "), stringsOf(cpu, "riscv,isa")[0]];
  };
  assert.deepEqual(names({ "riscv,isa": "rv64imafdcvh_zicsr_zifencei_zbb_sstc_smaia_xvendor" }), [
    "i m a f d c v zicsr zifencei zbb sstc",
    "rv64imafdcv_zicsr_zifencei_zbb_sstc",
  ]);
  assert.deepEqual(names({ "riscv,isa": "rv64gch_zbb1p0" }), [
    "i m a f d c zicsr zifencei zbb",
    "rv64imafdc_zicsr_zifencei_zbb",
  ]);
  assert.deepEqual(names({ "riscv,isa-extensions": ["zbb", "i", "v", "zvl128b", "m"] }, { vectors: false }), [
    "i m zbb",
    "rv64im_zbb",
  ]);
  assert.deepEqual(
    names(
      { "riscv,isa": "rv64imac_zba_zbb_zbs" },
      {},
      { "riscv,isa-extensions": ["i", "m", "a", "zba", "zbs", "zbc"] },
    ),
    ["i m a zba zbs", "rv64ima_zba_zbs"],
  );
  assert.deepEqual(names({ "riscv,isa-extensions": [] }), ["", "rv64"]);
  // One hart says g, the other what it stands for, or only some of that.
  const general = ["i m a f d c zicsr zifencei", "rv64imafdc_zicsr_zifencei"];
  const spelled = "rv64imafdc_zicsr_zifencei";
  assert.deepEqual(names({ "riscv,isa": "rv64gc" }, {}, { "riscv,isa": spelled }), general);
  assert.deepEqual(names({ "riscv,isa": spelled }, {}, { "riscv,isa": "rv64gc" }), general);
  assert.deepEqual(names({ "riscv,isa": "rv64gc" }, {}, { "riscv,isa": "rv64gc_zbb" }), general);
  assert.deepEqual(names({ "riscv,isa": "rv64gc" }, {}, { "riscv,isa": "rv64imac_zicsr" }), [
    "i m a c zicsr",
    "rv64imac_zicsr",
  ]);
  assert.deepEqual(names({ "riscv,isa": spelled + "_zbb" }, {}, { "riscv,isa": "rv64g" }), [
    "i m a f d zicsr zifencei",
    "rv64imafd_zicsr_zifencei",
  ]);
});

test("each extension follows what the host is given", () => {
  const NAME = at(2);
  const sees = (name: string, offered: bigint): boolean => {
    machine.put(NAME, new TextEncoder().encode(name));
    return calls.hostSees(BigInt(NAME), BigInt(name.length), BigInt.asIntN(64, offered)) === 1;
  };
  const featureBit = (name: string): bigint => {
    for (let bit = 0; bit < 64; bit++) if (machine.literal(calls.featureName(bit)) === name) return 1n << BigInt(bit);
    throw new Error(name);
  };
  const every = (1n << 64n) - 1n;
  for (const name of "i m a f d c b zicsr zba zbb zbs zkt zcd zawrs zicbop svinval svnapot ziccif ssu64xl".split(" ")) {
    assert.ok(sees(name, 0n), name);
  }
  for (const name of "sstc svpbmt svadu svade zicbom zicboz ssaia v h zicntr zihpm sscofpmf ssstateen zkr zcmt zicfilp zicfiss ssdbltrp sscsrind ssctr ssqosid ssccfg".split(
    " ",
  )) {
    assert.ok(sees(name, featureBit(name)), name);
    assert.ok(!sees(name, every & ~featureBit(name)), name);
  }
  for (const [name, feature] of [
    ["sha", "h"],
    ["shcounterenw", "h"],
    ["zk", "zkr"],
    ["zve32x", "v"],
    ["zvbb", "v"],
    ["zvknhb", "v"],
    ["zvkt", "v"],
    ["zvl1024b", "v"],
    ["supm", "ssnpm"],
  ]) {
    assert.ok(sees(name, featureBit(feature)), name);
    assert.ok(!sees(name, every & ~featureBit(feature)), name);
  }
  for (const name of "smaia smstateen smepmp xtheadba zb zbbb zbb1 zvkt2 q e s ss unknown zic64 zic64bb".split(" ")) {
    assert.ok(!sees(name, every), name);
  }

  const all = every;
  const offered = (henvcfg: bigint, vectors: number, files: number): bigint =>
    BigInt.asUintN(64, calls.offeredFeatures(all, BigInt.asIntN(64, henvcfg), vectors, files, 0));
  const has = (mask: bigint, name: string) => (mask & featureBit(name)) !== 0n;
  assert.ok(has(offered(ADUE, 0, 0), "svadu") && !has(offered(ADUE, 0, 0), "svade"));
  assert.ok(has(offered(0n, 0, 0), "svade") && !has(offered(0n, 0, 0), "svadu"));
  assert.ok(has(offered(PBMTE, 0, 0), "svpbmt") && !has(offered(USUAL, 1, 1), "svpbmt"));
  assert.ok(has(offered(0n, 1, 0), "v") && has(offered(0n, 0, 1), "ssaia"));
  assert.ok(has(BigInt.asUintN(64, calls.offeredFeatures(all, 0n, 0, 0, 1)), "sscofpmf"));
  for (const name of "h zkr zicntr zihpm sscofpmf ssstateen zicfilp zicfiss ssnpm ssdbltrp ssctr zcmt".split(" ")) {
    assert.ok(!has(offered(every, 1, 1), name), name);
  }
});

test("whatever tree the machine has, the host's is well-formed and fits", () => {
  const random = seededRandom(0x7ee);
  const distances = node("distance-map", { "distance-matrix": [0, 0, 10] });
  const blob = sample({ harts: 3, top: [distances] });
  let built = 0;
  for (const mutated of mutations(blob, random, 1500)) {
    limitSize(mutated);
    machine.bytes.fill(0, FDT, BLOCK);
    machine.put(FDT, mutated);
    if (calls.describeAt(BigInt(FDT), BigInt(BLOCK)) !== 0) continue;
    const count = Number(calls.hartCount(BigInt(BLOCK)));
    const ids = Array.from({ length: count }, (_, index) => calls.hartId(BigInt(BLOCK), BigInt(index)));
    hostTree(mutated, { ids });
    built++;
  }
  assert.ok(built > 300, `${built} trees`);
});

test("the bound is enough and a smaller buffer is refused, never left", () => {
  for (const harts of [1, 2, 64]) {
    const ids = Array.from({ length: harts }, (_, index) => BigInt(index));
    for (const isa of ["rv64imafdcbv", "rv64g", "rv64imac_" + "zbb_".repeat(400)]) {
      const blob = sample({ harts, cpu: () => ({ "riscv,isa-extensions": [], "riscv,isa": isa }) });
      hostTree(blob, { ids });
    }
    hostTree(sample({ harts, chosen: { bootargs: "x".repeat(3000) } }), { ids });
  }
  hostTree(sample());
  const needed = machine.view.getUint32(BUFFER + 4);
  for (const capacity of [512, 1024, needed - 8, needed].map((size) => (size + 7) & ~7)) {
    machine.bytes.fill(0xcc, BUFFER, BUFFER + 8192);
    const size = calls.build(BigInt(ROOT), BigInt(BLOCK), BigInt(PLAN), BigInt(BUFFER), BigInt(capacity));
    assert.equal(size, -1n);
    assert.ok(machine.get(BUFFER + capacity, 64).every((byte) => byte === 0xcc));
  }
});
