/** Seeded mutation of byte strings, so that a failure can be repeated. */

/** A generator of 32-bit numbers (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

const INTERESTING = [0, 1, 2, 3, 4, 9, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];

/** `count` changed copies: flipped bytes, overwritten cells, truncated or moved parts. */
export function* mutations(original: Uint8Array, random: () => number, count: number): Generator<Uint8Array> {
  for (let round = 0; round < count; round++) {
    let bytes = original.slice();
    for (let change = 1 + (random() % 4); change > 0; change--) {
      const at = random() % bytes.length;
      switch (random() % 6) {
        case 0:
        case 1:
          bytes[at] ^= 1 << (random() % 8);
          break;
        case 2:
          bytes[at] = random();
          break;
        case 3: {
          const cell = Math.min(at & ~3, (bytes.length & ~3) - 4);
          new DataView(bytes.buffer).setUint32(cell, INTERESTING[random() % INTERESTING.length]);
          break;
        }
        case 4:
          bytes.copyWithin(at & ~3, (random() % bytes.length) & ~3, (random() % bytes.length) & ~3);
          break;
        case 5:
          // The header still promises the whole: what is cut off must not be touched.
          if (random() % 4 === 0 && bytes.length > 64) {
            const length = Math.max(48, at & ~3);
            bytes = bytes.slice(0, length);
            new DataView(bytes.buffer).setUint32(4, length);
          }
          break;
      }
    }
    yield bytes;
  }
}

/** A tree's own total size is the only bound a reader has: a mutated tree may claim less than is there, not more. */
export function limitSize(tree: Uint8Array): void {
  const view = new DataView(tree.buffer);
  if (view.getUint32(4) > tree.length) view.setUint32(4, tree.length);
}
