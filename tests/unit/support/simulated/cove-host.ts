import assert from "node:assert/strict";
import { Checker } from "../../../../machine/simulated/checker.ts";
import { GuestDriver } from "../../../../machine/simulated/guest-driver.ts";
import type { Outcome } from "../../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../../machine/simulated/guest-script.ts";
import type { SbiResult } from "../../../../machine/simulated/guest-script.ts";
import type { MachineSetup } from "../../../../machine/simulated/machine.ts";
import { Machine } from "../../../../machine/simulated/machine.ts";
import type { MachineState } from "../../../../machine/simulated/machine.ts";
import type { ObservableState } from "../../../../machine/simulated/observable-state.ts";
import { differences, observe } from "../../../../machine/simulated/observable-state.ts";
import { Covg, Covh, Eid, Sbi, errorName } from "./sbi.ts";
import type { CovhName, SbiError } from "./sbi.ts";

export const PAGE = 0x1000;
export const HUGE = 0x20_0000;
/** Where the host's own code is, and memory of the host that nothing uses. */
export const HOST_CODE = 0x8020_0000;
export const FREE_MEMORY = 0x8080_0000;
/** Where TVMs have their confidential memory. */
export const TVM_MEMORY = 0x8000_0000;
export const TVM_MEMORY_SIZE = 0x4000_0000;

/** A TVM as the host that made it knows it. */
export interface Tvm {
  id: bigint;
  vcpus: number;
}

export interface TvmPlan {
  vcpus?: number;
  /** Pages for its tables. */
  tables?: number;
  /** Code pages measured from HOST_CODE to TVM_MEMORY; the entry point is the first. */
  codePages?: number;
  finalize?: boolean;
}

/**
 * A host that knows the protocol, on the hart that the hypervisor starts it on, of a machine that is checked after every entry. It takes memory to give away from FREE_MEMORY
 * upwards.
 */
export class CoveHost extends GuestDriver {
  readonly checker: Checker;
  readonly #saved = new Map<
    string,
    { state: MachineState; next: number; nacl: number | undefined; donated: { gpa: number; pages: number }[] }
  >();
  /** Address of the memory for exits, once it is registered. */
  nacl: number | undefined;
  /** A page directory that a TVM has. */
  usedDirectory = 0;
  #next = FREE_MEMORY;
  #donated: { gpa: number; pages: number }[] = [];
  #scratch: ObservableState | undefined;
  #info: { statePages: number; vcpuPages: number } | undefined;

  private constructor(machine: Machine) {
    const running = machine.harts.find(({ state }) => state === "guest");
    assert(running, "the host does not run");
    super(machine, running.id);
    this.checker = Checker.attach(machine);
  }

  /** A machine that has booted. */
  static async boot(setup: MachineSetup = {}): Promise<CoveHost> {
    const machine = await Machine.create(setup);
    machine.boot();
    return CoveHost.on(machine);
  }

  /** On a machine that has booted already. */
  static on(machine: Machine): CoveHost {
    const host = new CoveHost(machine);
    host.checker.check();
    return host;
  }

  /** Keeps the present state under a name, to come back to. */
  save(name: string): void {
    this.#saved.set(name, {
      state: this.machine.save(),
      next: this.#next,
      nacl: this.nacl,
      donated: [...this.#donated],
    });
  }

  /** Back to a state that was kept. */
  restore(name: string): void {
    const saved = this.#saved.get(name);
    assert(saved, `no state ${name} was saved`);
    this.machine.restore(saved.state);
    this.checker.reset();
    this.#next = saved.next;
    this.nacl = saved.nacl;
    this.#donated = [...saved.donated];
  }

  // ---- calls

  /** A COVH call that comes back at once; all registers but a0 and a1 must be what they were. */
  covh(name: CovhName, ...args: (number | bigint)[]): SbiResult {
    return this.call(Eid.covh, Covh[name], ...args);
  }

  call(eid: number, fid: number, ...args: (number | bigint)[]): SbiResult {
    const result = this.ecall(eid, fid, ...args);
    const expected: Record<number, bigint> = { 16: BigInt(fid), 17: BigInt(eid) };
    args.slice(2).forEach((value, index) => (expected[12 + index] = BigInt.asUintN(64, BigInt(value))));
    for (const [register, value] of Object.entries(expected)) {
      assert.equal(this.hart.registers[Number(register)], value, `the call changed x${register}`);
    }
    return result;
  }

  /** A COVH call that succeeds; returns its value. */
  must(name: CovhName, ...args: (number | bigint)[]): bigint {
    const { error, value } = this.covh(name, ...args);
    assert.equal(errorName(error), "success", `${name}(${args.map((arg) => "0x" + arg.toString(16)).join(", ")})`);
    return value;
  }

  /** A COVH call that fails with this error and changes nothing that anybody can see. */
  refuses(error: SbiError, name: CovhName, ...args: (number | bigint)[]): void {
    this.refusesCall(error, () => this.covh(name, ...args), `${name}(${args.map(String).join(", ")})`);
  }

  refusesCall(error: SbiError, call: () => SbiResult, what: string): void {
    const before = (this.#scratch = observe(this.machine, this.#scratch));
    const result = call();
    assert.equal(errorName(result.error), error, what);
    assert.equal(result.value, 0n, `${what}: value of an error`);
    assert.deepEqual(differences(before, this.machine), [], `${what}: an error changed something`);
  }

  /** What can be seen of everything now. */
  observe(): ObservableState {
    return observe(this.machine);
  }

  /** What has changed since. */
  changesSince(before: ObservableState): string[] {
    return differences(before, this.machine);
  }

  // ---- pages

  /** Address of `pages` pages of host memory that nothing uses. */
  take(pages: number, alignment = PAGE): number {
    const at = Math.ceil(this.#next / alignment) * alignment;
    this.#next = at + pages * PAGE;
    return at;
  }

  /** Converted pages, not fenced. */
  converted(pages: number, alignment = PAGE): number {
    const gpa = this.take(pages, alignment);
    assert.equal(this.must("convertPages", gpa, pages), BigInt(pages));
    this.#donated.push({ gpa, pages });
    return gpa;
  }

  /** Converted and fenced pages. */
  donated(pages: number, alignment = PAGE): number {
    const gpa = this.converted(pages, alignment);
    this.fence();
    return gpa;
  }

  /** Everything that was converted since boot or the restored state. */
  allDonated(): { gpa: number; pages: number }[] {
    return this.#donated;
  }

  /** The pages that were converted last. */
  get lastDonated(): number {
    return this.#donated.at(-1)!.gpa;
  }

  /** A fence on every hart that runs the host. */
  fence(): void {
    this.must("initiateFence");
    for (const hart of this.machine.harts) {
      if (hart === this.hart || hart.state !== "guest" || !this.machine.contextOf(hart).isHost) continue;
      new GuestDriver(this.machine, hart.id).ecall(Eid.covh, Covh.localFence);
    }
  }

  /** Host physical address of a page of the host, which is where the host's own tables lead. */
  hpaOf(gpa: number): number {
    const vm = this.checker.state.vms().find((candidate) => candidate.isHost)!;
    let found = -1;
    vm.walk(
      (entry) => {
        if (gpa >= entry.gpa && gpa < entry.gpa + entry.size) found = entry.hpa + (gpa - entry.gpa);
      },
      () => {},
    );
    return found;
  }

  /** Bytes of host memory, whatever its state is. */
  peek(gpa: number, size: number): Uint8Array {
    return this.machine.memory.slice(this.hpaOf(gpa), size);
  }

  /** Fills pages of the host with one byte, as the host would. */
  fill(gpa: number, pages: number, byte: number): void {
    for (let i = 0; i < pages; i++) {
      const hpa = this.hpaOf(gpa + i * PAGE);
      this.machine.memory.bytes.fill(byte, hpa, hpa + PAGE);
    }
  }

  // ---- TVMs

  /** Page counts of TsmGetInfo. */
  info(): { statePages: number; vcpuPages: number } {
    if (this.#info) return this.#info;
    const buffer = this.take(1);
    this.must("tsmGetInfo", buffer, 32);
    this.#info = { statePages: Number(this.load(buffer + 8)), vcpuPages: Number(this.load(buffer + 24)) };
    return this.#info;
  }

  /** Parameters for TvmCreate, in host memory. */
  createParams(directory: number, state: number): number {
    return this.params64(BigInt(directory), BigInt(state));
  }

  /** The same with addresses of 64 bits. */
  params64(directory: bigint, state: bigint): number {
    const params = this.take(1);
    this.store(params, 8, directory);
    this.store(params + 8, 8, state);
    return params;
  }

  /** A TVM without anything. */
  createTvm(): bigint {
    const { statePages } = this.info();
    const directory = this.converted(4, 4 * PAGE);
    this.usedDirectory = directory;
    const state = this.converted(statePages);
    this.fence();
    return this.must("tvmCreate", this.createParams(directory, state), 16);
  }

  /** A TVM with memory, code, tables and vCPUs. */
  buildTvm(plan: TvmPlan = {}): Tvm {
    const { vcpus = 1, tables = 24, codePages = 1, finalize = true } = plan;
    const id = this.createTvm();
    this.must("addMemoryRegion", id, TVM_MEMORY, TVM_MEMORY_SIZE);
    this.must("addPageTablePages", id, this.donated(tables), tables);
    const { vcpuPages } = this.info();
    for (let vcpu = 0; vcpu < vcpus; vcpu++) this.must("cpuCreate", id, vcpu, this.donated(vcpuPages));
    if (codePages > 0) this.must("addMeasuredPages", id, HOST_CODE, this.donated(codePages), 0, codePages, TVM_MEMORY);
    if (finalize) this.must("tvmFinalize", id, TVM_MEMORY, 0x1234);
    return { id, vcpus };
  }

  /** Runs a vCPU; the hart is in the TVM afterwards, or the call was answered at once. */
  run(tvm: Tvm | bigint, vcpu = 0): Outcome {
    if (this.nacl === undefined) this.registerNacl();
    const id = typeof tvm === "bigint" ? tvm : tvm.id;
    return this.perform(operations.ecall(Eid.covh, Covh.cpuRun, id, vcpu));
  }

  /** Runs a vCPU, which must be entered. */
  enter(tvm: Tvm | bigint, vcpu = 0): void {
    const outcome = this.run(tvm, vcpu);
    const id = typeof tvm === "bigint" ? tvm : tvm.id;
    assert(
      "switched" in outcome,
      `the vCPU was not entered: ${JSON.stringify(outcome, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value))}`,
    );
    assert.equal(outcome.switched.key, `${id}:${vcpu}`);
  }

  /** What CpuRun answered to the host, which is on the hart again after an exit of the TVM. */
  runResult(): SbiResult {
    const outcome = this.resume();
    assert("done" in outcome, "the host's CpuRun is not answered");
    return outcome.done as SbiResult;
  }

  /** The TVM (vCPU 0) asks for a range to be shared, and the host, which has removed its pages, accepts. The host is on the hart again. */
  shareRange(tvm: Tvm, gpa: number, pages: number, call: keyof typeof Covg = "shareMemory"): void {
    this.enter(tvm);
    const outcome = this.perform(operations.ecall(Eid.covg, Covg[call], gpa, pages * PAGE));
    assert("switched" in outcome, `${call} was not forwarded`);
    assert.equal(this.runResult().error, Sbi.success);
    this.answer(Sbi.success);
    this.enter(tvm);
    this.leaveTvm();
  }

  /** What the TVM's forwarded call will get: a0 and a1 in the NACL memory. */
  answer(error: bigint, value = 0n): void {
    assert(this.nacl !== undefined, "no NACL memory");
    this.store(this.nacl + 8 * 10, 8, error);
    this.store(this.nacl + 8 * 11, 8, value);
  }

  /** The TVM that is on the hart waits for an interrupt, which brings the host back. */
  leaveTvm(): void {
    const outcome = this.perform(operations.wfi());
    assert("switched" in outcome, "wfi is no exit");
    assert.equal(this.runResult().error, Sbi.success);
  }

  /** Registers 12 KiB of the host's memory for exits; returns their address. */
  registerNacl(): number {
    const gpa = this.take(3);
    assert.equal(this.call(Eid.nacl, 1, gpa, 0, 0).error, Sbi.success);
    this.nacl = gpa;
    return gpa;
  }

  /** The host has no memory for exits any more. */
  unregisterNacl(): void {
    assert.equal(this.call(Eid.nacl, 1, -1, -1, 0).error, Sbi.success);
    this.nacl = undefined;
  }

  /** General registers of the TVM as the memory for exits shows them. */
  naclRegisters(registers: number[]): bigint[] {
    return registers.map((register) => this.load(this.nacl! + 8 * register));
  }

  /** A CSR as the memory for exits shows it (SBI 3.0, 15.3). */
  naclCsr(csr: number): bigint {
    return this.load(this.#naclCsrAddress(csr));
  }

  /** Sets a CSR in the memory for exits, for the next run. */
  setNaclCsr(csr: number, value: bigint): void {
    this.store(this.#naclCsrAddress(csr), 8, value);
  }

  #naclCsrAddress(csr: number): number {
    const index = ((csr >> 2) & 0x300) | (csr & 0xff);
    return this.nacl! + 0x1000 + 8 * index;
  }
}
