import { UsageError } from "../failure.ts";

/**
 * The emulated machine: QEMU's `virt` with the devices that Salus needs, and where the host's image goes in its RAM.
 */

export const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** First address of RAM on QEMU's `virt`. */
export const RAM_BASE = 0x8000_0000;
/** Where Salus's users have always put the host image: 1 GiB + 2 MiB into RAM. */
export const HOST_IMAGE_ADDRESS = 0xc020_0000;
/** The place in a machine with less RAM: behind the firmware and the hypervisor. */
export const LOW_HOST_IMAGE_ADDRESS = 0x8420_0000;
/** RAM that has to follow the image: QEMU puts the device tree there when RAM ends below 3 GiB. */
const ROOM_BEHIND_IMAGE = 16 * MIB;

export const DEFAULT_CPU = "rv64,v=on,vlen=256,elen=64,smaia=true,ssaia=true,sscofpmf=true,smstateen=true";

/** Virtio devices that translate addresses as other devices do, in place of reaching all memory. */
const BEHIND_IOMMU = "iommu_platform=on,disable-legacy=on";
/** Where an initial RAM disk may begin. */
const INITRD_ALIGNMENT = 2 * MIB;

/** Interrupt controllers: an IMSIC with five guest interrupt files on each hart. */
export const DEFAULT_AIA = "aplic-imsic,aia-guests=5";
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
  /** QEMU's aia: none, aplic or aplic-imsic, and for the last ",aia-guests=" guest interrupt files of each hart (0 to 7). */
  aia: string;
  /** More arguments for QEMU, behind all others. */
  extraArguments: string[];
}

export const DEFAULT_MACHINE: Readonly<Machine> = {
  harts: 2,
  memoryMiB: 2048,
  cpu: DEFAULT_CPU,
  numaNodes: 1,
  iommu: true,
  aia: DEFAULT_AIA,
  extraArguments: [],
};

/** A file that is laid into RAM. */
export interface Image {
  file: string;
  bytes: number;
}

export interface Disk {
  file: string;
  format: "raw" | "qcow2";
  /** What is written is gone when the machine is. */
  scratch?: boolean;
}

/** What the machine starts: Salus's ELF, and the images that QEMU's guest-loader lays into RAM. */
export interface Boot {
  /** Without it the host image runs on the bare machine. */
  hypervisor?: string;
  hostImage?: Image;
  initrd?: Image;
  /** Boot arguments: the hypervisor hands them on to its host. */
  arguments?: string;
  /** TCP port of this computer that leads to the machine's port 22, 0 for any; without it there is no network. */
  sshPort?: number;
  /** Raw or qcow2 images of disks: the first is /dev/vda of a Linux. */
  disks?: Disk[];
  /** A machine that restarts when it is told to, in place of ending. */
  reboots?: boolean;
  /** A file that RAM is kept in, so that it can be read when the machine is gone. */
  memoryFile?: string;
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
  const memory = boot.memoryFile === undefined ? "" : ",memory-backend=ram";
  const args = ["-M", `virt,aia=${machine.aia}${memory}`];
  args.push("-cpu", machine.cpu, "-smp", String(machine.harts), "-m", `${machine.memoryMiB}M`);
  args.push(...numaArguments(machine));
  if (boot.memoryFile !== undefined) {
    if (machine.numaNodes !== 1) throw new UsageError("memory that is kept in a file has one NUMA node");
    const file = boot.memoryFile.replaceAll(",", ",,");
    args.push("-object", `memory-backend-file,id=ram,size=${machine.memoryMiB}M,mem-path=${file},share=on`);
  }
  args.push("-nographic", ...(boot.reboots ? [] : ["-no-reboot"]), ...imageArguments(machine, boot));
  if (boot.arguments) args.push("-append", boot.arguments);
  if (machine.iommu) args.push("-device", IOMMU_DEVICE);
  if (boot.sshPort !== undefined) args.push(...networkArguments(boot.sshPort));
  boot.disks?.forEach((disk, index) => args.push(...diskArguments(disk, index)));
  return [...args, ...machine.extraArguments];
}

/** A disk behind the IOMMU. */
function diskArguments({ file, format, scratch }: Disk, index: number): string[] {
  const kept = scratch ? ",snapshot=on" : "";
  return [
    ...["-drive", `if=none,id=disk${index},format=${format}${kept},file=${file.replaceAll(",", ",,")}`],
    ...["-device", `virtio-blk-pci,drive=disk${index},${BEHIND_IOMMU}`],
  ];
}

function imageArguments(machine: Machine, { hypervisor, hostImage, initrd }: Boot): string[] {
  if (hypervisor === undefined) {
    return [...(hostImage ? ["-kernel", hostImage.file] : []), ...(initrd ? ["-initrd", initrd.file] : [])];
  }
  const args = ["-kernel", hypervisor];
  if (!hostImage) return args;
  // QEMU reads a comma in a value as two.
  const load = (address: number, kind: string, file: string): void => {
    args.push("-device", `guest-loader,addr=0x${address.toString(16)},${kind}=${file.replaceAll(",", ",,")}`);
  };
  const imageRoom = initrd ? Math.ceil(hostImage.bytes / INITRD_ALIGNMENT) * INITRD_ALIGNMENT : hostImage.bytes;
  const address = hostImageAddress(machine.memoryMiB, imageRoom + (initrd?.bytes ?? 0));
  load(address, "kernel", hostImage.file);
  if (initrd) load(address + imageRoom, "initrd", initrd.file);
  return args;
}

/** A network card behind the IOMMU, and QEMU's own network with one way in. */
function networkArguments(sshPort: number): string[] {
  return [
    ...["-netdev", `user,id=net0,hostfwd=tcp:127.0.0.1:${sshPort}-:22`],
    ...["-device", `virtio-net-pci,netdev=net0,${BEHIND_IOMMU}`],
  ];
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
