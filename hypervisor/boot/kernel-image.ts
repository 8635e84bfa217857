import { read8 } from "../riscv/hw";

/**
 * The header that a RISC-V Linux kernel begins with (Documentation/arch/riscv/boot-image-header.rst):
 *
 *     offset  0 code (8) | 8 text_offset (8) | 16 image_size (8) | 24 flags (8) | 32 ... | 56 "RSC\x05" (4) | 60 ...
 *
 * Other images, like the test VMs, have none.
 */
const HEADER_BYTES: u64 = 64;
const IMAGE_SIZE: u64 = 16;
const MAGIC_OFFSET: u64 = 56;
const MAGIC: u64 = 0x05435352;

/** An image_size above this is taken for something else. */
const MAX_SPAN: u64 = 1 << 30;

/** Bytes that the kernel at `hpa` uses from its start on: its size, or what its header says, which counts its zeroed data too. */
export function kernelSpan(hpa: u64, size: u64): u64 {
  if (size < HEADER_BYTES || littleEndian(hpa + MAGIC_OFFSET, 4) != MAGIC) return size;
  const span = littleEndian(hpa + IMAGE_SIZE, 8);
  return span > size && span <= MAX_SPAN ? span : size;
}

/** A number of `bytes` bytes at any alignment. */
function littleEndian(hpa: u64, bytes: u64): u64 {
  let value: u64 = 0;
  for (let i = bytes; i != 0; i--) value = (value << 8) | (<u64>read8(hpa + i - 1));
  return value;
}
