import { MachineFault, hex } from "./errors.ts";
import type { Imsic } from "./imsic.ts";

/** A device with registers in the physical address space. */
export interface Device {
  readonly name: string;
  readonly base: number;
  readonly size: number;
  /** Bytes of an access, if it takes none of another width: that one is an access fault. */
  readonly onlyWidth?: number;
  read(offset: number, width: number): bigint;
  write(offset: number, width: number, value: bigint): void;
}

/** ns16550a: enough to send and receive by polling. */
export class Uart implements Device {
  readonly name = "uart";
  readonly base = 0x1000_0000;
  readonly size = 0x100;
  /** What was sent. */
  output = "";
  /** What will be received. */
  input: number[] = [];
  /** Line control and modem control. */
  #control = [0, 0];

  read(offset: number): bigint {
    const LINE_STATUS = 5;
    const TRANSMITTER_EMPTY = 0x20n;
    if (offset === LINE_STATUS) return TRANSMITTER_EMPTY | (this.input.length > 0 ? 1n : 0n);
    return offset === 0 ? BigInt(this.input.shift() ?? 0) : 0n;
  }

  write(offset: number, _width: number, value: bigint): void {
    const LINE_CONTROL = 3;
    const DIVISOR_ACCESS = 0x80;
    const LOOP_BACK = 0x10;
    if (offset === LINE_CONTROL || offset === LINE_CONTROL + 1) this.#control[offset - LINE_CONTROL] = Number(value);
    if ((this.#control[0] & DIVISOR_ACCESS) !== 0 || (this.#control[1] & LOOP_BACK) !== 0) return;
    if (offset === 0) this.output += String.fromCharCode(Number(value & 0xffn));
  }

  save(): unknown {
    return { output: this.output, input: [...this.input], control: [...this.#control] };
  }

  restore(saved: unknown): void {
    const { output, input, control } = saved as { output: string; input: number[]; control: number[] };
    this.output = output;
    this.input = [...input];
    this.#control = [...control];
  }
}

/** sifive,test1: the last value written is the machine's exit status. */
export class TestFinisher implements Device {
  readonly name = "test finisher";
  readonly base = 0x10_0000;
  readonly size = 0x1000;
  status: number | undefined;

  read(): bigint {
    return 0n;
  }

  write(_offset: number, _width: number, value: bigint): void {
    this.status = Number(value);
  }
}

/** The files of one group of harts as a device; they read as 0. */
export class ImsicDevice implements Device {
  readonly name = "imsic";
  readonly onlyWidth = 4;
  readonly base: number;
  readonly size: number;
  readonly #imsic: Imsic;
  readonly #group: number;

  constructor(imsic: Imsic, group: number) {
    this.#imsic = imsic;
    this.#group = group;
    this.base = imsic.regions[group].base;
    this.size = imsic.regions[group].size;
  }

  read(): bigint {
    return 0n;
  }

  write(offset: number, width: number, value: bigint): void {
    this.#imsic.write(this.#group, offset, width, value);
  }
}

/** All devices by address. */
export class DeviceBus {
  readonly devices: Device[];

  constructor(devices: Device[]) {
    this.devices = devices;
  }

  at(hpa: number): Device | undefined {
    return this.devices.find((device) => hpa >= device.base && hpa < device.base + device.size);
  }

  /** A load of device registers by the hypervisor. */
  read(hpa: bigint, width: number): bigint {
    const device = this.#deviceOf(hpa);
    return BigInt.asUintN(8 * width, device.read(Number(hpa) - device.base, width));
  }

  write(hpa: bigint, width: number, value: bigint): void {
    const device = this.#deviceOf(hpa);
    device.write(Number(hpa) - device.base, width, value);
  }

  #deviceOf(hpa: bigint): Device {
    const device = this.at(Number(hpa));
    if (!device) throw new MachineFault(`device access at ${hex(hpa)}, where there is no device`);
    return device;
  }
}
