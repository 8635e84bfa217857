/** A set of 64-bit hashes, as two halves: open addressing in one typed array, so that millions take little room. */
export class StateSet {
  #slots = new Uint32Array(2 << 20);
  #mask = (1 << 20) - 1;
  size = 0;

  /** False if it was there already. */
  add(low: number, high: number): boolean {
    // An empty slot is all zero.
    const first = low === 0 && high === 0 ? 1 : low;
    if (!insert(this.#slots, this.#mask, first, high)) return false;
    this.size++;
    if (this.size * 2 > this.#mask) this.#grow();
    return true;
  }

  #grow(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const mask = this.#mask * 2 + 1;
    for (let at = 0; at < this.#slots.length; at += 2) {
      if (this.#slots[at] !== 0 || this.#slots[at + 1] !== 0) insert(slots, mask, this.#slots[at], this.#slots[at + 1]);
    }
    this.#slots = slots;
    this.#mask = mask;
  }
}

function insert(slots: Uint32Array, mask: number, low: number, high: number): boolean {
  for (let slot = (low ^ Math.imul(high, 0x9e37_79b1)) & mask; ; slot = (slot + 1) & mask) {
    const at = slot * 2;
    if (slots[at] === low && slots[at + 1] === high) return false;
    if (slots[at] === 0 && slots[at + 1] === 0) {
      slots[at] = low;
      slots[at + 1] = high;
      return true;
    }
  }
}
