/**
 * Tar archives as Debian's packages have them (POSIX ustar with GNU's long names): enough to walk one, and to write files, folders and links.
 *
 *     header, 512 bytes: name 100 | mode 8 | owner 8 | group 8 | size 12 | time 12 | checksum 8 | type 1 | link 100 | "ustar" ... | prefix 155
 *     content, padded to 512
 */

const BLOCK = 512;
const LONG_NAME = "L";
const LONG_TARGET = "K";

export interface TarEntry {
  /** As in the archive, as "./usr/bin/ls". */
  name: string;
  /** "0" file, "2" symbolic link, "5" folder, ... */
  type: string;
  content: Buffer;
}

/** Every entry of an archive, and the bytes up to its end mark. */
export function readTar(bytes: Buffer): { entries: TarEntry[]; body: Buffer } {
  const entries: TarEntry[] = [];
  let longName: string | undefined;
  let at = 0;
  while (at + BLOCK <= bytes.length && bytes[at] !== 0) {
    const size = parseInt(text(bytes, at + 124, 12), 8) || 0;
    const type = String.fromCharCode(bytes[at + 156]);
    const content = bytes.subarray(at + BLOCK, at + BLOCK + size);
    const prefix = text(bytes, at + 257, 6) === "ustar" ? text(bytes, at + 345, 155) : "";
    const name = longName ?? (prefix === "" ? "" : `${prefix}/`) + text(bytes, at, 100);
    longName = undefined;
    if (type === LONG_NAME) longName = text(content, 0, content.length);
    else if (type !== LONG_TARGET) entries.push({ name, type, content });
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return { entries, body: bytes.subarray(0, at) };
}

function text(bytes: Buffer, start: number, length: number): string {
  const part = bytes.toString("latin1", start, start + length);
  const end = part.indexOf("\0");
  return end < 0 ? part : part.slice(0, end);
}

/** One regular file of root's. */
export function tarFile(name: string, content: Buffer | string, mode = 0o644): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([header(name, "0", mode, bytes.length, ""), bytes, Buffer.alloc(-bytes.length & (BLOCK - 1))]);
}

export function tarFolder(name: string, mode = 0o755): Buffer {
  return header(name, "5", mode, 0, "");
}

export function tarLink(name: string, target: string): Buffer {
  return header(name, "2", 0o777, 0, target);
}

/** The end mark. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK);
}

function header(name: string, type: string, mode: number, size: number, target: string): Buffer {
  if (Buffer.byteLength(name) > 100 || Buffer.byteLength(target) > 100)
    throw new RangeError(`too long for tar: ${name}`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  block.write(name, 0);
  block.write(octal(mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(size, 11), 124);
  block.write(octal(0, 11), 136);
  block.write("        ", 148);
  block.write(type, 156);
  block.write(target, 157);
  block.write("ustar\x0000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148, "latin1");
  return block;
}
