/**
 * Archives in the format of Linux's initial RAM file systems: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 *     header: "070701", then 13 fields of 8 hexadecimal digits | name, NUL, padding to 4 | content, padding to 4
 */

const MAGIC = "070701";
const TRAILER = "TRAILER!!!";

const FOLDER = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;
const CHARACTER_DEVICE = 0o020000;

export class CpioArchive {
  readonly #parts: Buffer[] = [];
  readonly #folders = new Set<string>();
  #inode = 0;

  /** Adds a folder and those above it that are missing. */
  folder(name: string, mode = 0o755): this {
    const parent = parentOf(name);
    if (parent !== "" && !this.#folders.has(parent)) this.folder(parent);
    if (!this.#folders.has(name)) this.#entry(name, FOLDER | mode, Buffer.alloc(0));
    this.#folders.add(name);
    return this;
  }

  /** Adds a regular file. */
  file(name: string, content: Buffer | string, mode = 0o644): this {
    this.#needParent(name);
    this.#entry(name, FILE | mode, Buffer.from(content));
    return this;
  }

  /** Adds a symbolic link. */
  link(name: string, target: string): this {
    this.#needParent(name);
    this.#entry(name, LINK | 0o777, Buffer.from(target));
    return this;
  }

  /** Adds a character device. */
  device(name: string, major: number, minor: number, mode = 0o600): this {
    this.#needParent(name);
    this.#entry(name, CHARACTER_DEVICE | mode, Buffer.alloc(0), major, minor);
    return this;
  }

  /** The archive's bytes, with its end mark. */
  bytes(): Buffer {
    return Buffer.concat([...this.#parts, encode(TRAILER, 0, 0, Buffer.alloc(0), 0, 0)]);
  }

  #needParent(name: string): void {
    const parent = parentOf(name);
    if (parent !== "") this.folder(parent);
  }

  #entry(name: string, mode: number, content: Buffer, major = 0, minor = 0): void {
    this.#parts.push(encode(name, ++this.#inode, mode, content, major, minor));
  }
}

function parentOf(name: string): string {
  return name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
}

function encode(name: string, inode: number, mode: number, content: Buffer, major: number, minor: number): Buffer {
  const nameBytes = Buffer.from(`${name}\0`);
  // inode, mode, owner, group, links, time, size, device's numbers, those of the special file, name's length, checksum
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, nameBytes.length, 0];
  const header = Buffer.from(MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join(""));
  return Buffer.concat([padded(Buffer.concat([header, nameBytes])), padded(content)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
