import type { Socket } from "node:net";
import { inTime } from "./patience.ts";

/**
 * A small client of QEMU's gdb server: registers, memory, breakpoints. All harts stop and go together; registers are those of the hart
 * that stopped. Protocol: "GDB Remote Serial Protocol" in the manual of gdb.
 */

/** Number of the program counter among the registers; x0 to x31 are 0 to 31. */
export const PC = 32;

export class Gdb {
  readonly #socket: Socket;
  #received = "";
  readonly #packets: string[] = [];
  #gone = false;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("close", () => {
      this.#gone = true;
      this.#wake?.();
    });
    socket.setEncoding("latin1").on("data", (text: string) => {
      this.#received += text;
      this.#takePackets();
    });
  }

  /** The byte by which gdb interrupts a machine: harts stop, and the first one's registers are shown. */
  async interrupt(): Promise<void> {
    this.#socket.write("\x03");
    await this.#stopped();
  }

  async register(number: number): Promise<bigint> {
    const hex = await this.#ask(`p${number.toString(16)}`);
    return Buffer.from(hex, "hex").readBigUInt64LE();
  }

  async setRegister(number: number, value: bigint): Promise<void> {
    await this.#command(`P${number.toString(16)}=${littleEndian(value)}`);
  }

  /** Stops a hart that is about to execute the instruction at `address`. */
  async setBreakpoint(address: bigint): Promise<void> {
    await this.#command(`Z1,${address.toString(16)},2`);
  }

  async clearBreakpoint(address: bigint): Promise<void> {
    await this.#command(`z1,${address.toString(16)},2`);
  }

  /** Lets all harts run. */
  resume(): void {
    this.#send("c");
  }

  /** Lets all harts run until one stops. */
  async resumeToStop(): Promise<void> {
    this.resume();
    await this.#stopped();
  }

  /** 8 bytes of memory, at an address as the stopped hart sees it. */
  async read64(address: bigint): Promise<bigint> {
    return Buffer.from(await this.#ask(`m${address.toString(16)},8`), "hex").readBigUInt64LE();
  }

  async write64(address: bigint, value: bigint): Promise<void> {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    await this.write(address, bytes);
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    const hex = Buffer.from(bytes).toString("hex");
    await this.#command(`M${address.toString(16)},${bytes.length.toString(16)}:${hex}`);
  }

  /** Waits for the packet that says that harts have stopped: T05 and more. */
  async #stopped(): Promise<void> {
    const reason = await this.#packet("a stop of the machine");
    if (!/^[TS]/.test(reason)) throw new Error(`the gdb server says ${reason} instead of a stop`);
  }

  async #command(text: string): Promise<void> {
    const answer = await this.#ask(text);
    if (answer !== "OK") throw new Error(`the gdb server answers "${answer}" to ${text}`);
  }

  async #ask(text: string): Promise<string> {
    this.#send(text);
    const answer = await this.#packet(`an answer to ${text}`);
    if (/^E[0-9a-f]{2}$/.test(answer)) throw new Error(`the gdb server answers ${answer} to ${text}`);
    return answer;
  }

  #send(text: string): void {
    this.#socket.write(`$${text}#${checksum(text)}`, "latin1");
  }

  async #packet(what: string): Promise<string> {
    while (this.#packets.length === 0) {
      if (this.#gone) throw new Error(`QEMU is gone, without ${what}`);
      await inTime(
        new Promise<void>((resolve) => (this.#wake = resolve)),
        () => `the gdb server does not send ${what}`,
      );
    }
    return this.#packets.shift()!;
  }

  /** Takes whole packets ($text#xx) out of what was received, and confirms them. */
  #takePackets(): void {
    for (;;) {
      const match = /\$([^#]*)#([0-9a-f]{2})/.exec(this.#received);
      if (!match) return;
      this.#received = this.#received.slice(match.index + match[0].length);
      this.#socket.write("+");
      this.#packets.push(match[1]);
      this.#wake?.();
    }
  }
}

function checksum(text: string): string {
  const sum = Buffer.from(text, "latin1").reduce((total, byte) => (total + byte) & 0xff, 0);
  return sum.toString(16).padStart(2, "0");
}

function littleEndian(value: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes.toString("hex");
}
