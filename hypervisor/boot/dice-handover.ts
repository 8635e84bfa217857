import { MAX_CHAIN, Platform } from "../attestation/platform";
import { CDI_SIZE } from "../attestation/kdf";
import { CBOR_ARRAY, CBOR_MAP, CBOR_UNSIGNED, CBOR_WRONG, cborBytes, cborHead, CborReader } from "../lib/cbor-reader";
import { copyBytes, fence, zeroBytes } from "../riscv/hw";
import { regAddress, regCount, regSize } from "./device-tree/cells";
import {
  childNamed,
  findProperty,
  firstChild,
  nextSibling,
  nodeEnabled,
  parentOf,
  propertyHas,
  rootNode,
} from "./device-tree/reader";
import { panic } from "./panic";

/**
 * The DICE handover of the previous stage (Open Profile for DICE): reserved memory that is compatible with "google,open-dice" and holds
 *
 *     { 1: CDI_Attest (32 bytes), 2: CDI_Seal (32 bytes), 3: [ certificate, ... ] }
 *
 * with DER certificates, that of our own key first. Whatever is there is zeroed before anybody else runs.
 */

const KEY_ATTESTATION: u64 = 1;
const KEY_SEALING: u64 = 2;
const KEY_CHAIN: u64 = 3;

/** More than any handover: what is longer is no handover. */
const MAX_HANDOVER: u64 = 64 * 1024;

/** Whether the tree names a handover. */
export function hasHandover(fdt: usize): bool {
  return handoverNode(fdt) != 0;
}

/**
 * Takes the CDIs and certificates of the handover into `platform`, and zeroes where they were. One that cannot be read ends the boot: it may hold
 * secrets, but not for us. Without translation: reserved memory is not in our map. `scratch`: 16 bytes.
 */
export function takeHandover(fdt: usize, platform: Platform, scratch: u64): void {
  const node = handoverNode(fdt);
  const parent = parentOf(fdt, node);
  // An entry that is counted does not wrap.
  if (regCount(fdt, parent, node) < 1) panic("the DICE handover has no memory");
  const base = regAddress(fdt, parent, node, 0);
  const size = regSize(fdt, parent, node, 0);
  if (size > MAX_HANDOVER) panic("the DICE handover is larger than any");
  const reader = changetype<CborReader>(<usize>scratch);
  reader.at = base;
  reader.end = base + size;
  const taken = readHandover(reader, platform);
  zeroBytes(base, size);
  fence();
  if (!taken) panic("the DICE handover cannot be read");
}

function handoverNode(fdt: usize): u32 {
  const parent = childNamed(fdt, rootNode(fdt), "reserved-memory");
  if (parent == 0) return 0;
  for (let node = firstChild(fdt, parent); node != 0; node = nextSibling(fdt, node)) {
    const compatible = findProperty(fdt, node, "compatible");
    if (compatible != 0 && propertyHas(fdt, compatible, "google,open-dice") && nodeEnabled(fdt, node)) return node;
  }
  return 0;
}

function readHandover(reader: CborReader, platform: Platform): bool {
  const entries = cborHead(reader, CBOR_MAP);
  if (entries == CBOR_WRONG || entries < 2 || entries > 3) return false;
  for (let expected = KEY_ATTESTATION; expected <= entries; expected++) {
    if (cborHead(reader, CBOR_UNSIGNED) != expected) return false;
    if (expected == KEY_CHAIN) return readChain(reader, platform);
    if (cborBytes(reader) != CDI_SIZE) return false;
    const layer = platform.layer;
    copyBytes(expected == KEY_SEALING ? layer.sealing() : layer.attestation(), reader.at - CDI_SIZE, CDI_SIZE);
  }
  return true;
}

/** The certificates, one after the other. */
function readChain(reader: CborReader, platform: Platform): bool {
  const count = cborHead(reader, CBOR_ARRAY);
  if (count == CBOR_WRONG) return false;
  for (let i: u64 = 0; i < count; i++) {
    const length = cborBytes(reader);
    if (length == CBOR_WRONG || length > MAX_CHAIN - platform.chainLength) return false;
    copyBytes(<u64>platform.chain + platform.chainLength, reader.at - length, length);
    platform.chainLength += length;
  }
  return true;
}
