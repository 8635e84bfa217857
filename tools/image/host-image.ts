import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Failure } from "../failure.ts";

/**
 * The composite image that QEMU lays into RAM: the host's raw binary, padded to 2 MiB, and behind it the raw binary of
 * the confidential guest that this host starts.
 */

/** Where the guest begins in the image: 512 pages of 4 KiB. */
export const GUEST_OFFSET = 2 * 1024 * 1024;

/**
 * Packs an image.
 *
 * @throws Failure if the host's binary does not fit in front of the guest's, or one of them is empty
 */
export function packHostImage(host: Uint8Array, guest: Uint8Array): Uint8Array {
  if (host.length === 0 || guest.length === 0) {
    throw new Failure(`the ${host.length === 0 ? "host" : "guest"}'s binary is empty`);
  }
  if (host.length > GUEST_OFFSET) {
    throw new Failure(
      `the host's binary is ${host.length} bytes long: ${host.length - GUEST_OFFSET} bytes more than the ` +
        `${GUEST_OFFSET} in front of the guest`,
    );
  }
  const image = new Uint8Array(GUEST_OFFSET + guest.length);
  image.set(host);
  image.set(guest, GUEST_OFFSET);
  return image;
}

/**
 * Packs files into the file `output`.
 *
 * @returns the image's length in bytes
 * @throws Failure
 */
export function packHostImageFile(hostFile: string, guestFile: string, output: string): number {
  const image = packHostImage(readBinary(hostFile), readBinary(guestFile));
  try {
    mkdirSync(path.dirname(output), { recursive: true });
    writeFileSync(output, image);
  } catch (error) {
    throw new Failure(`${output} cannot be written: ${(error as Error).message}`);
  }
  return image.length;
}

function readBinary(file: string): Uint8Array {
  let content: Uint8Array;
  try {
    content = readFileSync(file);
  } catch (error) {
    throw new Failure(`${file} cannot be read: ${(error as Error).message}`);
  }
  if (content[0] === 0x7f && content[1] === 0x45 && content[2] === 0x4c && content[3] === 0x46) {
    throw new Failure(`${file} is an ELF file; a raw binary is needed (objcopy -O binary)`);
  }
  return content;
}
