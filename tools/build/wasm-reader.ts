/** Reads a part of a wasm binary from front to back. */
export class WasmReader {
  readonly bytes: Uint8Array;
  position: number;
  readonly end: number;

  constructor(bytes: Uint8Array, position: number, end: number) {
    this.bytes = bytes;
    this.position = position;
    this.end = end;
  }

  byte(): number {
    return this.bytes[this.position++];
  }

  /** LEB128 without sign. */
  unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  /** LEB128 with sign. */
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }

  /** Passes over a number, with sign or without. */
  skipNumber(): void {
    while (this.byte() >= 128);
  }

  /** A constant expression of one integer. */
  constant(): number {
    const op = this.byte();
    if (op !== 0x41 && op !== 0x42) throw new Error("wasm: initial value is not an integer constant");
    const value = Number(BigInt.asUintN(op === 0x41 ? 32 : 64, this.signed()));
    this.byte();
    return value;
  }

  /** A name. */
  text(): string {
    const length = this.unsigned();
    const start = this.position;
    this.position += length;
    return new TextDecoder().decode(this.bytes.subarray(start, start + length));
  }

  /** Calls `each` as often as the vector at this position has elements. */
  list(each: () => void): void {
    for (let count = this.unsigned(); count > 0; count--) each();
  }
}
