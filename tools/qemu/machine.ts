import { UsageError } from "../failure.ts";

/**
 * The emulated machine: QEMU's `virt` with the devices that Salus needs, and where the host's image goes in its RAM.
 */

export const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** First address of RAM on QEMU's `virt`. */
const RAM_BASE = 0x8000_0000;
/** Where Salus's users have always put the host image: 1 GiB + 2 MiB into RAM. */
export const HOST_IMAGE_ADDRESS = 0xc020_0000;
/** The place in a machine with less RAM: behind the firmware and the hypervisor. */
export const LOW_HOST_IMAGE_ADDRESS = 0x8420_0000;
/** RAM that has to follow the image: QEMU puts the device tree there when RAM ends below 3 GiB. */
const ROOM_BEHIND_IMAGE = 16 * MIB;

export const DEFAULT_CPU = "rv64,v=on,vlen=256,elen=64,smaia=true,ssaia=true,sscofpmf=true,smstateen=true";

/** IMSIC guest interrupt files of each hart. */
const GUEST_INTERRUPT_FILES = 5;
/** The PCI identity by which the original Salus finds its IOMMU. */
const IOMMU_DEVICE = "riscv-iommu-pci,vendor-id=0x1efd,device-id=0xedf1";

export interface Machine {
  harts: number;
  memoryMiB: number;
  /** QEMU's -cpu: a model and its properties. */
  cpu: string;
  /** Nodes among which RAM and harts are divided evenly; 1 is a machine without NUMA. */
  numaNodes: number;
  iommu: boolean;
  /** More arguments for QEMU, behind all others. */
  extraArguments: string[];
}

export const DEFAULT_MACHINE: Readonly<Machine> = {
  harts: 2,
  memoryMiB: 2048,
  cpu: DEFAULT_CPU,
  numaNodes: 1,
  iommu: true,
  extraArguments: [],
};

/** What the machine starts: Salus's ELF, and the host image that QEMU's guest-loader lays into RAM. */
export interface Boot {
  hypervisor: string;
  hostImage?: { file: string; bytes: number };
  /** Boot arguments of the hypervisor. */
  arguments?: string;
}

/**
 * Address for a host image of `imageBytes`, 2 MiB aligned.
 *
 * @throws UsageError if RAM is too small for it
 */
export function hostImageAddress(memoryMiB: number, imageBytes: number): number {
  const ramEnd = RAM_BASE + memoryMiB * MIB;
  for (const address of [HOST_IMAGE_ADDRESS, LOW_HOST_IMAGE_ADDRESS]) {
    if (address + imageBytes + ROOM_BEHIND_IMAGE <= ramEnd) return address;
  }
  const needed = LOW_HOST_IMAGE_ADDRESS + imageBytes + ROOM_BEHIND_IMAGE - RAM_BASE;
  throw new UsageError(
    `${memoryMiB} MiB of memory are too few for this host image: it needs ${Math.ceil(needed / MIB)} MiB`,
  );
}

/**
 * Arguments of qemu-system-riscv64 that boot `boot` on `machine`, the serial port on stdio.
 *
 * @throws UsageError if the parts of the machine do not fit together
 */
export function qemuArguments(machine: Machine, boot: Boot): string[] {
  const args = ["-M", `virt,aia=aplic-imsic,aia-guests=${GUEST_INTERRUPT_FILES}`];
  args.push("-cpu", machine.cpu, "-smp", String(machine.harts), "-m", `${machine.memoryMiB}M`);
  args.push(...numaArguments(machine));
  args.push("-nographic", "-no-reboot", "-kernel", boot.hypervisor);
  if (boot.arguments) args.push("-append", boot.arguments);
  if (boot.hostImage) {
    const address = hostImageAddress(machine.memoryMiB, boot.hostImage.bytes);
    // QEMU reads a comma in a value as two.
    const file = boot.hostImage.file.replaceAll(",", ",,");
    args.push("-device", `guest-loader,addr=0x${address.toString(16)},kernel=${file}`);
  }
  if (machine.iommu) args.push("-device", IOMMU_DEVICE);
  return [...args, ...machine.extraArguments];
}

function numaArguments({ harts, memoryMiB, numaNodes }: Machine): string[] {
  if (numaNodes === 1) return [];
  if (harts < numaNodes) throw new UsageError(`${numaNodes} NUMA nodes need ${numaNodes} harts or more`);
  if (memoryMiB % numaNodes !== 0)
    throw new UsageError(`${memoryMiB} MiB cannot be divided among ${numaNodes} NUMA nodes`);
  return Array.from({ length: numaNodes }, (_, node) => {
    const first = Math.floor((node * harts) / numaNodes);
    const last = Math.floor(((node + 1) * harts) / numaNodes) - 1;
    return [
      ["-object", `memory-backend-ram,id=node${node},size=${memoryMiB / numaNodes}M`],
      ["-numa", `node,nodeid=${node},memdev=node${node},cpus=${first}-${last}`],
    ].flat();
  }).flat();
}

/**
 * Reads an amount of memory: "2048" and "2048M" are MiB, "2G" is GiB.
 *
 * @throws UsageError
 */
export function parseMemory(text: string): number {
  const match = /^([1-9][0-9]*)([MG]?)$/i.exec(text);
  const mib = match ? Number(match[1]) * (match[2]?.toUpperCase() === "G" ? GIB / MIB : 1) : NaN;
  if (!Number.isSafeInteger(mib * MIB)) throw new UsageError(`memory is given in MiB or as 2G, not "${text}"`);
  return mib;
}

/**
 * Splits arguments as a shell does: at blanks outside of quotes; a backslash takes the next character as it is.
 *
 * @throws UsageError if a quote is not closed
 */
export function splitArguments(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === "\\" && quote !== "'" && index + 1 < text.length) {
      word = (word ?? "") + text[++index];
    } else if (quote !== "") {
      if (character === quote) quote = "";
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= "";
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (quote !== "") throw new UsageError(`a quote is not closed in: ${text}`);
  if (word !== undefined) words.push(word);
  return words;
}
