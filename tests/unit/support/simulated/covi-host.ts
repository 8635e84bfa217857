import assert from "node:assert/strict";
import type { DoorReplacement } from "../../../../machine/simulated/door.ts";
import { GuestDriver } from "../../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../../machine/simulated/guest-script.ts";
import type { SbiResult } from "../../../../machine/simulated/guest-script.ts";
import type { InterruptFile } from "../../../../machine/simulated/imsic.ts";
import type { MachineOptions } from "../../../../machine/simulated/machine-options.ts";
import { CoveHost, HOST_CODE, PAGE, TVM_MEMORY, TVM_MEMORY_SIZE } from "./cove-host.ts";
import { Covh, Covi, EVERY, Eid, Hsm, errorName } from "./sbi.ts";
import type { CoviName, SbiError } from "./sbi.ts";

/** Where the TVM has its interrupt files. */
export const TVM_IMSIC = 0x2800_0000;
export const GEOMETRY = { base: BigInt(TVM_IMSIC), groupBits: 0, groupShift: 24, hartBits: 2, guestBits: 0, guests: 0 };

/** A host on two harts with guest interrupt files to give away, and a TVM with two vCPUs. */
export class CoviHost {
  readonly host: CoveHost;
  readonly drivers: GuestDriver[];
  tvm = 0n;

  private constructor(host: CoveHost, drivers: GuestDriver[]) {
    this.host = host;
    this.drivers = drivers;
  }

  /** Both harts run the host, each with memory for exits; the TVM is not finalized. */
  static async boot(door?: DoorReplacement, options: Partial<MachineOptions> = {}): Promise<CoviHost> {
    const host = await CoveHost.boot({ options: { harts: [0, 1], ...options }, ...(door ? { door } : {}) });
    const second = new GuestDriver(host.machine, 1);
    host.registerNacl();
    assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, 0n);
    while (host.machine.canStep(second.hart)) second.step();
    assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, 0n);
    const covi = new CoviHost(host, [host, second]);
    covi.tvm = host.createTvm();
    host.must("addMemoryRegion", covi.tvm, TVM_MEMORY, TVM_MEMORY_SIZE);
    host.must("addPageTablePages", covi.tvm, host.donated(24), 24);
    for (let vcpu = 0; vcpu < 2; vcpu++) host.must("cpuCreate", covi.tvm, vcpu, host.donated(host.info().vcpuPages));
    host.must("addMeasuredPages", covi.tvm, HOST_CODE, host.donated(1), 0, 1, TVM_MEMORY);
    return covi;
  }

  /** The TVM gets interrupt files at the usual place and is finalized; vCPU 0 has run and lets its host inject everything. */
  finalize(): void {
    this.must("tvmAiaInit", this.tvm, this.geometry(), 32);
    for (let vcpu = 0; vcpu < 2; vcpu++) this.must("setImsicAddress", this.tvm, vcpu, this.address(vcpu));
    this.host.must("tvmFinalize", this.tvm, TVM_MEMORY, 0);
  }

  address(vcpu: number): number {
    return TVM_IMSIC + PAGE * vcpu;
  }

  /** Parameters of TvmAiaInit in the host's memory. */
  geometry(changes: Partial<typeof GEOMETRY> = {}): number {
    const { base, groupBits, groupShift, hartBits, guestBits, guests } = { ...GEOMETRY, ...changes };
    const at = this.host.take(1);
    this.host.store(at, 8, base);
    [groupBits, groupShift, hartBits, guestBits, guests, 0].forEach((value, index) =>
      this.host.store(at + 8 + 4 * index, 4, value),
    );
    return at;
  }

  call(hart: number, name: CoviName, ...args: (number | bigint)[]): SbiResult {
    return this.drivers[hart].ecall(Eid.covi, Covi[name], ...args);
  }

  /** On hart 0. */
  must(name: CoviName, ...args: (number | bigint)[]): void {
    this.mustOn(0, name, ...args);
  }

  mustOn(hart: number, name: CoviName, ...args: (number | bigint)[]): void {
    assert.equal(errorName(this.call(hart, name, ...args).error), "success", name);
  }

  refuses(error: SbiError, name: CoviName, ...args: (number | bigint)[]): void {
    this.refusesOn(0, error, name, ...args);
  }

  /** Fails, and nothing changes. */
  refusesOn(hart: number, error: SbiError, name: CoviName, ...args: (number | bigint)[]): void {
    this.host.refusesCall(error, () => this.call(hart, name, ...args), `${name}(${args.map(String).join(", ")})`);
  }

  /** gpa in the host of guest file `file` (as the host numbers it) of a hart. */
  filePage(hart: number, file: number): number {
    const imsic = this.host.machine.imsic!;
    return imsic.base + hart * imsic.stride + file * PAGE;
  }

  /** That file in the machine. */
  file(hart: number, file: number): InterruptFile {
    return this.host.machine.imsic!.harts[hart].guest(file + 1)!;
  }

  /** Converts and fences a file of a hart. */
  convert(hart: number, file: number): void {
    this.must("convertImsic", this.filePage(hart, file));
    this.host.fence();
  }

  /** Binds a vCPU to a file of a hart, which is converted first. */
  bind(hart: number, file: number, vcpu = 0): void {
    this.convert(hart, file);
    this.mustOn(hart, "bindImsic", this.tvm, vcpu, 1 << file);
  }

  /** No vCPU of the TVM runs: the fence is complete at once. */
  fenceTvm(): void {
    this.host.must("tvmInitiateFence", this.tvm);
  }

  /** Runs the vCPU on a hart. */
  enter(hart: number, vcpu = 0): void {
    const outcome = this.drivers[hart].perform(operations.ecall(Eid.covh, Covh.cpuRun, this.tvm, vcpu));
    assert("switched" in outcome, "the vCPU was not entered");
  }

  /** The vCPU on the hart lets its host inject everything, which is an exit. */
  allowAll(hart: number): void {
    const outcome = this.drivers[hart].perform(operations.ecall(Eid.covg, 4, EVERY));
    assert("switched" in outcome, "the host is not told");
    this.drivers[hart].resume();
  }

  leave(hart: number): void {
    assert("switched" in this.drivers[hart].perform(operations.wfi()));
    this.drivers[hart].resume();
  }
}
