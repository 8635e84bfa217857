/**
 * A minimal machine for unit tests of code that needs no traps: RAM, the memory primitives of the door, an ns16550a and the
 * firmware's console calls. Every access through the door is checked against the ranges that the test allows.
 */
import { STATIC_BASE } from "./module.ts";

const PAGE = 65536n;

/** An access outside of the memory that the code under test was given. */
export class WildAccess extends Error {}

/** An assertion of the hypervisor. */
export class AssertionFailed extends Error {}

export class Machine {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly exports: Record<string, any>;
  /** What went to the console, by route. */
  uart = "";
  firmware = "";
  legacy = "";
  /** What the console can read. */
  input: number[] = [];
  uartBase = 0n;
  hasDebugConsole = true;
  /** Bytes that DBCN takes in one call at most. */
  debugConsoleLimit = Infinity;
  hart = 0n;
  private allowed: { start: number; end: number }[] | undefined;

  /** `more`: primitives that this machine does not have. */
  constructor(module: WebAssembly.Module, size: number, more: Record<string, unknown> = {}) {
    const pages = (BigInt(size) + PAGE - 1n) / PAGE;
    this.memory = new WebAssembly.Memory({ address: "i64", initial: pages } as never);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    const instance = new WebAssembly.Instance(module, {
      env: { memory: this.memory, abort: (message: bigint) => this.abort(message) },
      hw: { ...this.door(), ...more } as unknown as Record<string, WebAssembly.ImportValue>,
    });
    this.exports = instance.exports;
  }

  /** From now on the door may touch only these ranges (and static data). */
  allow(...ranges: { start: number; size: number }[]): void {
    this.allowed = ranges.map(({ start, size }) => ({ start, end: start + size }));
  }

  put(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, address);
  }

  get(address: number | bigint, size: number | bigint): Uint8Array {
    return this.bytes.slice(Number(address), Number(address) + Number(size));
  }

  /** A literal of the module (UTF-16, length in bytes before it). */
  literal(address: bigint): string {
    const at = Number(address);
    return new TextDecoder("utf-16le").decode(this.bytes.subarray(at, at + this.view.getUint32(at - 4, true)));
  }

  private abort(message: bigint): never {
    throw new AssertionFailed(this.literal(message));
  }

  private at(address: bigint, size: number | bigint): number {
    const start = Number(BigInt.asUintN(64, address));
    const end = start + Number(size);
    if (start < STATIC_BASE || end > this.bytes.length) throw new WildAccess(`0x${start.toString(16)}`);
    if (this.allowed && !this.allowed.some((range) => start >= range.start && end <= range.end)) {
      throw new WildAccess(`0x${start.toString(16)}, ${size} bytes`);
    }
    return start;
  }

  private aligned(address: bigint, size: number): number {
    if (address % BigInt(size) !== 0n) throw new WildAccess(`misaligned 0x${address.toString(16)}`);
    return this.at(address, size);
  }

  private door(): Record<string, unknown> {
    const { view, bytes } = this;
    return {
      read8: (a: bigint) => view.getUint8(this.at(a, 1)),
      read16: (a: bigint) => view.getUint16(this.aligned(a, 2), true),
      read32: (a: bigint) => view.getUint32(this.aligned(a, 4), true),
      read64: (a: bigint) => view.getBigUint64(this.aligned(a, 8), true),
      write8: (a: bigint, v: number) => view.setUint8(this.at(a, 1), v),
      write32: (a: bigint, v: number) => view.setUint32(this.aligned(a, 4), v, true),
      write64: (a: bigint, v: bigint) => view.setBigUint64(this.aligned(a, 8), v, true),
      storeRelease32: (a: bigint, v: number) => view.setUint32(this.aligned(a, 4), v, true),
      loadAcquire32: (a: bigint) => view.getUint32(this.aligned(a, 4), true),
      swap32: (a: bigint, v: number) => {
        const at = this.aligned(a, 4);
        const old = view.getUint32(at, true);
        view.setUint32(at, v, true);
        return old;
      },
      copyBytes: (to: bigint, from: bigint, length: bigint) => {
        if (length === 0n) return;
        bytes.copyWithin(this.at(to, length), this.at(from, length), this.at(from, length) + Number(length));
      },
      zeroBytes: (to: bigint, length: bigint) => {
        if (length !== 0n) bytes.fill(0, this.at(to, length), this.at(to, length) + Number(length));
      },
      pause: () => {
        throw new Error("the only hart waits for ever");
      },
      hartRecord: () => this.hart,
      mmioRead8: (a: bigint) => this.uartRead(a - this.uartBase),
      mmioWrite8: (a: bigint, v: number) => this.uartWrite(a - this.uartBase, v),
      sbiCall: (...args: bigint[]) => this.sbiCall(args),
    };
  }

  private uartRead(register: bigint): number {
    if (register === 5n) return 0x20 | (this.input.length > 0 ? 1 : 0);
    if (register === 0n) return this.input.shift() ?? 0;
    throw new WildAccess(`UART register ${register}`);
  }

  private uartWrite(register: bigint, value: number): void {
    if (register !== 0n) throw new WildAccess(`UART register ${register}`);
    this.uart += String.fromCharCode(value);
  }

  /** The firmware: [eid, fid, arguments, where the second value goes]. */
  sbiCall([eid, fid, a0, a1, , , , valueOut]: bigint[]): bigint {
    const answer = (value: number | bigint): bigint => {
      if (valueOut !== 0n) this.view.setBigUint64(this.aligned(valueOut, 8), BigInt(value), true);
      return 0n;
    };
    if (eid === 0x10n && fid === 3n) return answer(a0 === 0x4442434en && this.hasDebugConsole ? 1 : 0);
    if (eid === 1n) {
      this.legacy += String.fromCharCode(Number(a0));
      return 0n;
    }
    if (eid === 2n) return BigInt(this.input.shift() ?? -1);
    if (eid !== 0x4442434en || !this.hasDebugConsole) return -2n;
    if (fid === 0n) {
      const length = Math.min(Number(a0), this.debugConsoleLimit);
      this.firmware += new TextDecoder("latin1").decode(this.get(a1, length));
      return answer(length);
    }
    if (fid === 1n) {
      const taken = this.input.splice(0, Number(a0));
      this.put(Number(a1), Uint8Array.from(taken));
      return answer(taken.length);
    }
    if (fid === 2n) {
      this.firmware += String.fromCharCode(Number(a0));
      return answer(0);
    }
    return -2n;
  }
}
