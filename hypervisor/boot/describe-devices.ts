import { bytesEqual, textLength } from "../lib/byte-string";
import { read8 } from "../riscv/hw";
import { deviceAddress, entryCount, NO_ADDRESS } from "./device-tree/cells";
import {
  childNamed,
  findProperty,
  firstChild,
  firstProperty,
  nextCompatible,
  nextProperty,
  nextSibling,
  nodeEnabled,
  nodeName,
  numberAt,
  numberOf,
  propertyHas,
  propertyLength,
  propertyName,
  propertyValue,
  rootNode,
} from "./device-tree/reader";
import { DescribeError, MachineDescription } from "./machine-description";

/**
 * What /chosen says (boot arguments, seed, images), and the few devices that the hypervisor drives itself.
 */
export function describeDevices(description: MachineDescription): DescribeError {
  const fdt = description.fdt;
  const chosen = childNamed(fdt, rootNode(fdt), "chosen");
  if (chosen != 0) {
    setBootArguments(description, findProperty(fdt, chosen, "bootargs"));
    const seed = findProperty(fdt, chosen, "rng-seed");
    if (seed != 0) {
      description.randomSeed = propertyValue(fdt, seed);
      description.randomSeedLength = propertyLength(fdt, seed);
    }
    const error = describeImages(description, chosen);
    if (error != DescribeError.None) return error;
  }
  description.uartNode = findUart(fdt, chosen);
  description.uart = addressOrZero(fdt, description.uartNode);
  description.testFinisher = findTestFinisher(fdt);
  return DescribeError.None;
}

/** Boot arguments: what is before the NUL of the property. */
function setBootArguments(description: MachineDescription, property: u32): void {
  if (property == 0) return;
  const length = propertyLength(description.fdt, property);
  const text = propertyValue(description.fdt, property);
  const terminated = textLength(text, length);
  description.bootArguments = text;
  description.bootArgumentsLength = terminated < 0 ? length : <u64>terminated;
}

// ---- Images

/** Cells of a module's reg where /chosen does not define them: what QEMU's guest-loader writes. */
const MODULE_CELLS: u32 = 2;

/**
 * The multiboot nodes under /chosen: compatible "multiboot,module" with "multiboot,kernel" or "multiboot,ramdisk",
 * reg = where the loader put the image, and for a kernel `bootargs`. The first of each kind counts.
 */
function describeImages(description: MachineDescription, chosen: u32): DescribeError {
  const fdt = description.fdt;
  const addressCells = numberOf(fdt, chosen, "#address-cells", MODULE_CELLS);
  const sizeCells = numberOf(fdt, chosen, "#size-cells", MODULE_CELLS);
  for (let node = firstChild(fdt, chosen); node != 0; node = nextSibling(fdt, node)) {
    const compatible = findProperty(fdt, node, "compatible");
    if (!propertyHas(fdt, compatible, "multiboot,module") || !nodeEnabled(fdt, node)) continue;
    const isKernel = propertyHas(fdt, compatible, "multiboot,kernel");
    if (!isKernel && !propertyHas(fdt, compatible, "multiboot,ramdisk")) continue;
    const reg = findProperty(fdt, node, "reg");
    if (reg == 0 || entryCount(fdt, reg, addressCells, sizeCells) < 1) return DescribeError.ImageMalformed;
    const base = numberAt(fdt, reg, 0, addressCells);
    const size = numberAt(fdt, reg, <u64>addressCells, sizeCells);
    if (isKernel && description.kernelSize == 0) {
      description.kernelBase = base;
      description.kernelSize = size;
      setBootArguments(description, findProperty(fdt, node, "bootargs"));
    } else if (!isKernel && description.initrdSize == 0) {
      description.initrdBase = base;
      description.initrdSize = size;
    }
  }
  return DescribeError.None;
}

// ---- Devices

/** hpa of the node's first register region, 0 if it has none. */
function addressOrZero(fdt: usize, node: u32): u64 {
  if (node == 0) return 0;
  const address = deviceAddress(fdt, node, 0);
  return address == NO_ADDRESS ? 0 : address;
}

/** hpa of the test finisher, by which an emulator is told how the machine ended; 0 if there is none. */
export function findTestFinisher(fdt: usize): u64 {
  return addressOrZero(fdt, nextCompatible(fdt, 0, "sifive,test0"));
}

/** The console's UART: the node of stdout-path if we can drive it, else the first one that we can; 0 if there is none. */
function findUart(fdt: usize, chosen: u32): u32 {
  const path = findProperty(fdt, chosen, "stdout-path");
  if (path != 0) {
    const node = nodeAtPath(fdt, propertyValue(fdt, path), propertyLength(fdt, path));
    if (node != 0 && isUart(fdt, node)) return node;
  }
  for (let node = nextCompatible(fdt, 0, "ns16550a"); node != 0; node = nextCompatible(fdt, node, "ns16550a")) {
    if (isUart(fdt, node) && addressOrZero(fdt, node) != 0) return node;
  }
  return 0;
}

/** A ns16550a with byte registers next to each other: the layout that devices/ns16550.ts drives. */
function isUart(fdt: usize, node: u32): bool {
  return (
    propertyHas(fdt, findProperty(fdt, node, "compatible"), "ns16550a") &&
    nodeEnabled(fdt, node) &&
    numberOf(fdt, node, "reg-shift", 0) == 0 &&
    numberOf(fdt, node, "reg-io-width", 1) == 1 &&
    numberOf(fdt, node, "reg-offset", 0) == 0
  );
}

const SLASH: u32 = 0x2f;
const COLON: u32 = 0x3a;

/** The node that a path or alias names (options after a colon do not count), 0 if there is none. */
function nodeAtPath(fdt: usize, path: usize, limit: u64): u32 {
  let length = pathPart(path, limit, COLON);
  if (length == 0) return 0;
  if (read8(<u64>path) != SLASH) {
    const alias = aliasNamed(fdt, path, length);
    if (alias == 0) return 0;
    path = propertyValue(fdt, alias);
    length = pathPart(path, propertyLength(fdt, alias), COLON);
    // An alias is a full path; one that names another alias could go round in circles.
    if (length == 0 || read8(<u64>path) != SLASH) return 0;
  }
  let node = rootNode(fdt);
  let at: u64 = 0;
  while (at < length && node != 0) {
    at++; // the slash
    const size = pathPart(path + <usize>at, length - at, SLASH);
    if (size != 0) node = childCalled(fdt, node, path + <usize>at, size);
    at += size;
  }
  return node;
}

/** Bytes before `separator`, a NUL or the limit. */
function pathPart(text: usize, limit: u64, separator: u32): u64 {
  let length: u64 = 0;
  while (length < limit) {
    const character = read8(<u64>text + length);
    if (character == 0 || character == separator) break;
    length++;
  }
  return length;
}

/** The child with exactly that name. */
function childCalled(fdt: usize, parent: u32, name: usize, length: u64): u32 {
  let child = firstChild(fdt, parent);
  while (child != 0 && !nameEquals(nodeName(fdt, child), name, length)) child = nextSibling(fdt, child);
  return child;
}

function aliasNamed(fdt: usize, name: usize, length: u64): u32 {
  const aliases = childNamed(fdt, rootNode(fdt), "aliases");
  if (aliases == 0) return 0;
  let property = firstProperty(fdt, aliases);
  while (property != 0 && !nameEquals(propertyName(fdt, property), name, length)) {
    property = nextProperty(fdt, property);
  }
  return property;
}

/** Whether the NUL-terminated `text` is the `length` bytes at `name`. */
function nameEquals(text: usize, name: usize, length: u64): bool {
  return textLength(text, length + 1) == <i64>length && bytesEqual(text, name, length);
}
