import { DEFAULT_MACHINE, type Machine } from "../../tools/qemu/machine.ts";

/**
 * The machines on which the test host has to run: each size and kind of processor, memory and vector unit at least once,
 * spread over few boots instead of all their combinations.
 */

export interface MatrixEntry {
  /** What is special about this machine. */
  name: string;
  machine: Machine;
  /** The harts have a vector unit. */
  vectors: boolean;
  /** The host has an interrupt file on each hart. */
  interruptFiles: boolean;
  /** It has a PCI device that does DMA and is told to reach what it must not. */
  dma: boolean;
}

/** Extensions that Salus needs or uses and that `rv64` does not have by itself. */
const EXTENSIONS = "smaia=true,ssaia=true,sscofpmf=true,smstateen=true";

/** The profile has no PMP; with it OpenSBI protects itself as it does on metal. */
const RVA23 = "rva23s64,pmp=on";
/** All that QEMU has, but what needs the machine's consent in ways that the firmware does not know. */
const MAX = "max,ztso=off,smctr=off,ssctr=off";

/** QEMU's device for teaching: it copies memory where it is told. */
const DMA_DEVICE = ["-device", "edu,dma_mask=0xffffffffffffffff"];

const GIB = 1024;

export const MATRIX: MatrixEntry[] = [
  entry("2 harts, 2 GiB, VLEN 256: the default machine", {}),
  entry("1 hart, 256 MiB, no vectors", { harts: 1, memoryMiB: 256, cpu: rv64WithoutVectors() }),
  entry("4 harts, VLEN 128, a PCI device with DMA", { harts: 4, cpu: rv64(128), extraArguments: DMA_DEVICE }),
  entry("8 harts, 8 GiB", { harts: 8, memoryMiB: 8 * GIB }),
  entry("2 harts, VLEN 1024, the IOMMU as a platform device, a PCI device with DMA", {
    cpu: rv64(1024),
    iommu: false,
    extraArguments: ["-machine", "iommu-sys=on", ...DMA_DEVICE],
  }),
  entry("4 harts, 2 NUMA nodes of 1 GiB", { harts: 4, numaNodes: 2 }),
  entry("2 harts, rva23s64", { cpu: RVA23 }),
  entry("4 harts, 256 MiB, rva23s64, VLEN 256", { harts: 4, memoryMiB: 256, cpu: `${RVA23},vlen=256` }),
  entry("2 harts, max", { cpu: MAX }),
  entry("8 harts, 2 NUMA nodes of 4 GiB, max without vectors, no IOMMU for a PCI device with DMA", {
    harts: 8,
    memoryMiB: 8 * GIB,
    numaNodes: 2,
    cpu: `${MAX},v=off`,
    iommu: false,
    extraArguments: DMA_DEVICE,
  }),
  entry("1 hart, aia=none", { harts: 1, aia: "none" }),
  entry("4 harts, aia=none", { harts: 4, aia: "none" }),
  entry("2 harts, aia=aplic, without Sstc", { aia: "aplic", cpu: `${rv64(256)},sstc=off` }),
  entry("2 harts, an IMSIC without guest files", { aia: "aplic-imsic,aia-guests=0" }),
  entry("2 harts, one guest file each: the host's", { aia: "aplic-imsic,aia-guests=1" }),
  entry("4 harts, seven guest files each", { harts: 4, aia: "aplic-imsic,aia-guests=7" }),
];

function entry(name: string, special: Partial<Machine>): MatrixEntry {
  const machine = { ...DEFAULT_MACHINE, ...special };
  const interruptFiles = machine.aia.startsWith("aplic-imsic") && !machine.aia.endsWith("=0");
  const dma = machine.extraArguments.includes(DMA_DEVICE[1]);
  return { name, machine, vectors: !machine.cpu.includes("v=off"), interruptFiles, dma };
}

function rv64(vlen: number): string {
  return `rv64,v=on,vlen=${vlen},elen=64,${EXTENSIONS}`;
}

function rv64WithoutVectors(): string {
  return `rv64,v=off,${EXTENSIONS}`;
}
