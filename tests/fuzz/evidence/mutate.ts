/** Makes bad inputs out of good ones. Everything follows from the random numbers. */

export type Random = (limit: number) => number;

/** Where lengths, tags and signs change their meaning. */
const EDGES = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0xff, 0x1f, 0x30, 0x31, 0xa0, 0xbf, 0x5f, 0xd8];
const CONSTRUCTED = 0x20;
/** An input has at most so many bytes. */
const MAX_BYTES = 8192;

/** One of `seeds`, changed in a few places. */
export function mutate(seeds: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = Buffer.from(seeds[random(seeds.length)]);
  for (let left = 1 + random(4); left > 0; left--) bytes = step(bytes, seeds, random);
  return new Uint8Array(bytes.subarray(0, MAX_BYTES));
}

function step(bytes: Buffer, seeds: readonly Uint8Array[], random: Random): Buffer<ArrayBuffer> {
  const copy = Buffer.from(bytes);
  const at = random(copy.length + 1);
  const length = 1 + random(random(4) === 0 ? 200 : 4);
  switch (random(9)) {
    case 0:
      if (at < copy.length) copy[at] ^= 1 << random(8);
      return copy;
    case 1:
      if (at < copy.length) copy[at] = EDGES[random(EDGES.length)];
      return copy;
    case 2:
      if (at < copy.length) copy[at] = random(256);
      return copy;
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + length)]);
    case 4:
      return Buffer.concat([copy.subarray(0, at), randomBytes(length, random), copy.subarray(at)]);
    case 5:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(random(at + 1), at), copy.subarray(at)]);
    case 6: {
      const other = seeds[random(seeds.length)];
      const from = random(other.length);
      return Buffer.concat([copy.subarray(0, at), other.subarray(from, from + length), copy.subarray(at)]);
    }
    case 7:
      return copy.subarray(0, at);
    default:
      return mutateElement(copy, random);
  }
}

function randomBytes(length: number, random: Random): Uint8Array {
  return Uint8Array.from({ length }, () => random(256));
}

/** Changes one DER element and puts the lengths of all around it right, so that readers get further than to the first length. */
function mutateElement(bytes: Buffer, random: Random): Buffer<ArrayBuffer> {
  const path: [start: number, contents: number, end: number][] = [];
  let [at, limit] = [0, bytes.length];
  for (;;) {
    const children = elements(bytes, at, limit);
    if (children.length === 0) break;
    const child = children[random(children.length)];
    path.push(child);
    if ((bytes[child[0]] & CONSTRUCTED) === 0 || random(5) === 0) break;
    [at, limit] = [child[1], child[2]];
  }
  const target = path.pop();
  if (!target) return Buffer.from(bytes);
  const [start, contents, end] = target;
  let instead = changeElement(bytes.subarray(start, end), bytes.subarray(contents, end), random);
  let [from, to] = [start, end];
  for (const [outerStart, outerContents, outerEnd] of path.reverse()) {
    const inner = Buffer.concat([bytes.subarray(outerContents, from), instead, bytes.subarray(to, outerEnd)]);
    instead = element(bytes[outerStart], inner);
    [from, to] = [outerStart, outerEnd];
  }
  return Buffer.concat([bytes.subarray(0, from), instead, bytes.subarray(to)]);
}

function changeElement(whole: Buffer, contents: Buffer, random: Random): Buffer {
  const tag = whole[0];
  switch (random(6)) {
    case 0:
      return Buffer.alloc(0);
    case 1:
      return Buffer.concat([whole, whole]);
    case 2:
      return element(random(256), contents);
    case 3:
      return element(tag, Buffer.concat([contents, randomBytes(1 + random(3), random)]));
    case 4:
      return element(tag, contents.subarray(0, random(contents.length + 1)));
    default: {
      const changed = Buffer.from(contents);
      if (changed.length > 0) changed[random(changed.length)] = random(256);
      return element(tag, changed);
    }
  }
}

function element(tag: number, contents: Uint8Array): Buffer {
  const { length } = contents;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...head), contents]);
}

/** The elements in [at, limit), as far as they can be told. */
function elements(bytes: Buffer, at: number, limit: number): [number, number, number][] {
  const found: [number, number, number][] = [];
  while (limit - at >= 2) {
    const first = bytes[at + 1];
    const count = first < 0x80 ? 0 : first & 0x7f;
    if (count > 2 || at + 2 + count > limit) break;
    const length = count === 0 ? first & 0x7f : bytes.readUIntBE(at + 2, count);
    const contents = at + 2 + count;
    if (contents + length > limit) break;
    found.push([at, contents, contents + length]);
    at = contents + length;
  }
  return found;
}
