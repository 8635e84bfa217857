import { Cause } from "../../machine/simulated/csr-numbers.ts";
import { Checker } from "../../machine/simulated/checker.ts";
import type { DoorReplacement } from "../../machine/simulated/door.ts";
import { InvariantViolation, hex } from "../../machine/simulated/errors.ts";
import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE } from "../../machine/simulated/hypervisor-state.ts";
import { hypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { MiB, RAM_BASE } from "../../machine/simulated/machine-options.ts";
import { Machine } from "../../machine/simulated/machine.ts";
import { RecordView, fieldOffset, recordSize } from "../../machine/simulated/record-layout.ts";
import { isFault, translate } from "../../machine/simulated/translation.ts";
import { WriteLog } from "../../machine/simulated/write-log.ts";
import type { LogMark } from "../../machine/simulated/write-log.ts";
import { Covh, Eid } from "../unit/support/simulated/sbi.ts";
import { RecordCopies } from "./record-copies.ts";
import type { Range } from "./record-copies.ts";

/**
 * A world small enough that all of what can happen in it can be tried: a few pages of the host, and for each TVM the pages that it is made of. All
 * else of the host never takes part.
 *
 * Every step can be undone: the door's log gives back what was written through it, and the few records that the hypervisor writes directly
 * are kept by the step.
 */
export interface WorldSize {
  harts: number;
  tvms: number;
  /** Pages that are converted, given, shared and taken back. */
  pages: number;
  /** Places for pages in each TVM. */
  places: number;
}

/** First page (of the host's memory) of the world, and of what TVM i is made of. */
const FIRST_PAGE = 256;
const FRAME = (tvm: number): number => 320 + 16 * tvm;
const FRAME_PAGES = 4 + 2 + 1 + 2;
/** NACL memory of hart n, and parameters of TVM n. */
const NACL_PAGE = (hart: number): number => 8 + 4 * hart;
const PARAM_PAGE = (tvm: number): number => 64 + tvm;
const HOST_MEMORY = 0x8000_0000;
export const TVM_MEMORY = 0x8000_0000;
const CODE = 0x8020_0000n;
const WFI = 0x1050_0073n;
const NACL_A0 = 80;

/** What a step has to put back beside the log. */
interface Frame {
  mark: LogMark;
  csrs: BigUint64Array[];
  tlbs: unknown[];
  tlbChanges: number[];
  harts: { pc: bigint; user: boolean }[];
}

/** CSR numbers of the supervisor and hypervisor levels. */
const CSRS = { from: 0x100, to: 0x700 };

/** Registers are kept as 32-bit halves here: a number needs no BigInt to get there. */
function setRegister(registers: Uint32Array, register: number, value: number): void {
  registers[2 * register] = value;
  registers[2 * register + 1] = value / 2 ** 32;
}

export class SmallWorld {
  readonly machine: Machine;
  readonly size: WorldSize;
  readonly log: WriteLog;
  readonly checker: Checker;
  /** All of memory; RAM is below 4 GiB. */
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
  /** Of page i of the world: hpa, address of its record, of the host's entry for it. */
  readonly hpa: number[] = [];
  readonly record: number[] = [];
  readonly hostEntry: number[] = [];
  /** The same for all pages of TVMs' frames. */
  readonly frameRecord: number[][] = [];
  readonly hostVm: number;
  readonly hartRecords: number[];
  readonly hostVcpus: number[];
  readonly slots: number;

  /** What the hypervisor writes without the door; first those ranges that no call that fails may change. */
  readonly #records: RecordCopies;
  #strict = 0;
  /** By hart, as 32-bit halves. */
  readonly #registers: Uint32Array[];
  readonly #frames: Frame[] = [];
  #depth = 0;

  static async boot(size: WorldSize, module?: HypervisorModule, door?: DoorReplacement): Promise<SmallWorld> {
    const options = {
      ram: [{ base: RAM_BASE, size: 16 * MiB }],
      hostImage: { base: RAM_BASE + 8 * MiB, bytes: new Uint8Array(16).fill(1) },
      harts: Array.from({ length: size.harts }, (_, id) => id),
      gStageModes: ["sv39" as const],
      vmidBits: 1,
      vlenb: 0,
      guestFiles: undefined,
      zicboz: 0,
    };
    const setup = { options, module: module ?? (await hypervisorModule()), logWrites: true, door };
    return new SmallWorld(await Machine.create(setup), size);
  }

  private constructor(machine: Machine, size: WorldSize) {
    this.machine = machine;
    this.size = size;
    machine.boot();
    this.words = new Uint32Array(machine.memory.wasmMemory.buffer);
    this.bytes = machine.memory.bytes;
    this.log = new WriteLog(machine.memory);
    this.checker = new Checker(machine);
    this.hostVm = machine.root.number("host");
    this.slots = machine.root.number("vmSlots");
    this.#registers = machine.harts.map(({ registers }) => new Uint32Array(registers.buffer));
    this.#prepare();
    this.hartRecords = machine.harts.map((hart) => Number(hart.threadPointer));
    this.hostVcpus = this.hartRecords.map((at) => this.words[(at + fieldOffset("hart", "hostVcpu")) / 4]);
    this.#locate();
    this.#records = new RecordCopies(machine.memory.wasmMemory, this.#listRecords());
    this.log.clear();
    this.checker.check(false);
  }

  // ---- before the exploration

  /** All harts run the host, each with memory for exits; frames are converted and fenced. */
  #prepare(): void {
    const { harts } = this.machine;
    const must = (hart: Hart, eid: number, fid: number, ...args: number[]): void => {
      const error = this.call(hart, eid, fid, ...args);
      if (error !== 0) throw new Error(`${eid.toString(16)}/${fid} answered ${error}`);
    };
    for (const hart of harts.slice(1)) {
      must(harts[0], Eid.hsm, 0, hart.id, Number(CODE), 0);
      hart.wake();
    }
    for (const hart of harts) must(hart, Eid.nacl, 1, this.host(NACL_PAGE(hart.index)), 0, 0);
    for (let tvm = 0; tvm < this.size.tvms; tvm++) {
      must(harts[0], Eid.covh, Covh.convertPages, this.host(FRAME(tvm)), FRAME_PAGES);
      const params = this.hostPage(PARAM_PAGE(tvm));
      this.machine.memory.write64(params, BigInt(this.host(FRAME(tvm))));
      this.machine.memory.write64(params + 8, BigInt(this.host(FRAME(tvm) + 4)));
    }
    // Splits the host's large pages here, once for all.
    must(harts[0], Eid.covh, Covh.convertPages, this.host(FIRST_PAGE), this.size.pages);
    must(harts[0], Eid.covh, Covh.initiateFence);
    for (const hart of harts) must(hart, Eid.covh, Covh.localFence);
    must(harts[0], Eid.covh, Covh.reclaimPages, this.host(FIRST_PAGE), this.size.pages);
    for (let page = 0; page < this.size.pages; page++) this.#soil(this.hostPage(FIRST_PAGE + page), false);
  }

  #locate(): void {
    for (let page = 0; page < this.size.pages; page++) {
      const hpa = this.hostPage(FIRST_PAGE + page);
      this.hpa.push(hpa);
      this.record.push(this.#recordOf(hpa));
      this.hostEntry.push(this.#hostEntryOf(this.host(FIRST_PAGE + page)));
    }
    for (let tvm = 0; tvm < this.size.tvms; tvm++) {
      this.frameRecord.push(
        Array.from({ length: FRAME_PAGES }, (_, i) => this.#recordOf(this.hostPage(FRAME(tvm) + i))),
      );
    }
  }

  #recordOf(hpa: number): number {
    const range = new RecordView(this.machine.memory, "range", this.machine.root.number("ranges"));
    return range.number("records") + ((hpa - range.number("base")) / PAGE) * 8;
  }

  /** Address of the entry (4 KiB) of the host's tables for `gpa`. */
  #hostEntryOf(gpa: number): number {
    let table = this.words[(this.hostVm + fieldOffset("vm", "rootTable")) / 4];
    const levels = this.words[(this.hostVm + fieldOffset("vm", "levels")) / 4];
    for (let level = levels - 1; level > 0; level--) {
      const shift = 12 + 9 * level;
      const index = level === levels - 1 ? Math.floor(gpa / 2 ** shift) : Math.floor(gpa / 2 ** shift) % 512;
      const [low, high] = [this.words[(table + index * 8) / 4], this.words[(table + index * 8) / 4 + 1]];
      if ((low & 15) !== 1) throw new Error("the host's page was not split");
      table = ((high & 0x3f_ffff) * 2 ** 22 + (low >>> 10)) * PAGE;
    }
    return table + (Math.floor(gpa / PAGE) % 512) * 8;
  }

  /** Records of VMs, the VM table's first slots, records of harts and vCPUs: what compiled code writes by itself. */
  #listRecords(): Range[] {
    const list: Range[] = [];
    const add = (address: number, bytes: number): void => void list.push({ address, bytes });
    add(this.hostVm, recordSize("vm"));
    add(this.slots, (2 + this.size.tvms) * recordSize("slot"));
    for (let tvm = 0; tvm < this.size.tvms; tvm++) {
      const state = this.hostPage(FRAME(tvm) + 4);
      // Record, the first vCPU pointers, measurements; the first regions.
      add(state, recordSize("vm"));
      add(state + 1024, 16);
      add(state + 2048, 8 * 48);
      add(state + PAGE, 8 * recordSize("region"));
    }
    this.#strict = list.length;
    for (const at of this.hartRecords) add(at, recordSize("hart"));
    for (const at of this.hostVcpus) add(at, recordSize("vcpu"));
    for (let tvm = 0; tvm < this.size.tvms; tvm++) add(this.vcpuHpa(tvm), recordSize("vcpu") + 512);
    return list;
  }

  // ---- addresses

  /** gpa of a page of the host. */
  host(page: number): number {
    return HOST_MEMORY + PAGE * page;
  }

  pageGpa(page: number): number {
    return this.host(FIRST_PAGE + page);
  }

  frameGpa(tvm: number, page: number): number {
    return this.host(FRAME(tvm) + page);
  }

  paramGpa(tvm: number): number {
    return this.host(PARAM_PAGE(tvm));
  }

  /** hpa of a page of the host, by its own tables. */
  hostPage(page: number): number {
    const hart = this.machine.harts[0];
    const context = { memory: this.machine.memory, csr: hart.csr, tlb: hart.tlb, user: false, vcpu: 0n };
    const found = translate(context, BigInt(this.host(page)), "load");
    // Looking must leave nothing in the caches.
    hart.tlb.flushGStage();
    if (isFault(found)) {
      const vm = this.checker.state.vms()[0];
      let at = 0;
      vm.walk(
        (entry) => {
          const offset = this.host(page) - entry.gpa;
          if (offset >= 0 && offset < entry.size) at = entry.hpa + offset;
        },
        () => {},
      );
      return at;
    }
    return found.hpa;
  }

  stateHpa(tvm: number): number {
    return (this.#stateHpa[tvm] ??= this.hostPage(FRAME(tvm) + 4));
  }

  vcpuHpa(tvm: number): number {
    return (this.#vcpuHpa[tvm] ??= this.hostPage(FRAME(tvm) + 6));
  }

  readonly #stateHpa: number[] = [];
  readonly #vcpuHpa: number[] = [];

  // ---- steps

  /** Address of the vCPU record that is on the hart. */
  current(hart: number): number {
    return this.words[this.hartRecords[hart] / 4];
  }

  /** An ecall of whoever is on the hart; returns the error, or 0. */
  call(hart: Hart, eid: number, fid: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const registers = this.#registers[hart.index];
    setRegister(registers, 17, eid);
    setRegister(registers, 16, fid);
    setRegister(registers, 10, a0);
    setRegister(registers, 11, a1);
    setRegister(registers, 12, a2);
    setRegister(registers, 13, a3);
    setRegister(registers, 14, a4);
    setRegister(registers, 15, a5);
    hart.pc = CODE;
    const at = Number(hart.threadPointer) / 4;
    const caller = this.words[at];
    hart.trap(Cause.ecallFromGuest);
    if (this.words[at] !== caller) return 0;
    // An error is a small negative number; nobody's value is one.
    return registers[21] === 0xffff_ffff ? registers[20] | 0 : 0;
  }

  /** The guest on the hart loads from `gpa`; true if it got there. */
  touch(hart: Hart, gpa: number): boolean {
    const vcpu = BigInt(this.words[Number(hart.threadPointer) / 4]);
    const context = { memory: this.machine.memory, csr: hart.csr, tlb: hart.tlb, user: false, vcpu };
    const found = translate(context, BigInt(gpa), "load");
    if (!isFault(found)) return true;
    hart.pc = CODE;
    hart.trap(found.cause, { stval: BigInt(gpa), gpa: BigInt(gpa), gva: true });
    return false;
  }

  /** The TVM on the hart waits for an interrupt, which ends its run. */
  wfi(hart: Hart): void {
    hart.pc = CODE;
    hart.trap(Cause.virtualInstruction, { stval: WFI });
  }

  /** What the host will answer to its TVM's call, in its memory for exits. */
  answer(hart: Hart, value: number): void {
    const at = this.words[(this.hostVcpus[hart.index] + fieldOffset("vcpu", "naclHpa")) / 4] + NACL_A0;
    this.#answered = at;
    this.log.note(at);
    this.words[at / 4] = value;
    this.words[at / 4 + 1] = 0;
  }

  /** Whoever has the page writes something that nobody else may find there. */
  soil(hpa: number): void {
    this.#soil(hpa, true);
  }

  #soil(hpa: number, noted: boolean): void {
    if (noted) this.log.note(hpa);
    this.words[hpa / 4] = 0x5ec2;
    this.words[hpa / 4 + 1] = hpa / PAGE;
  }

  isClean(hpa: number): boolean {
    return this.machine.memory.isZero(hpa, PAGE);
  }

  // ---- going back

  /** Keeps what is needed to undo everything that follows. */
  push(): void {
    const { harts } = this.machine;
    const frame = (this.#frames[this.#depth++] ??= {
      mark: { cursor: 0, kept: 0 },
      csrs: harts.map(() => new BigUint64Array(CSRS.to - CSRS.from)),
      tlbs: [],
      tlbChanges: [],
      harts: [],
    });
    frame.mark = this.log.begin();
    this.#records.save(this.#depth - 1);
    for (let i = 0; i < harts.length; i++) {
      frame.csrs[i].set(harts[i].csr.values.subarray(CSRS.from, CSRS.to));
      if (frame.tlbChanges[i] !== harts[i].tlb.changes) frame.tlbs[i] = harts[i].tlb.save();
      frame.tlbChanges[i] = harts[i].tlb.changes;
      frame.harts[i] = { pc: harts[i].pc, user: harts[i].user };
    }
  }

  /** Back to where the last `push` was; it counts no more. */
  pop(): void {
    this.rewind();
    this.#depth--;
  }

  /** Back to where the last `push` was, which goes on counting. */
  rewind(): void {
    const frame = this.#frames[this.#depth - 1];
    this.log.undo(frame.mark);
    this.#records.restore(this.#depth - 1);
    const { harts } = this.machine;
    for (let i = 0; i < harts.length; i++) {
      harts[i].csr.values.set(frame.csrs[i], CSRS.from);
      harts[i].csr.softwarePending = false;
      if (harts[i].tlb.changes !== frame.tlbChanges[i]) {
        harts[i].tlb.restore(frame.tlbs[i]);
        frame.tlbChanges[i] = harts[i].tlb.changes;
      }
      harts[i].state = "guest";
      harts[i].pc = frame.harts[i].pc;
      harts[i].user = frame.harts[i].user;
    }
  }

  /** Forgets what a call wrote that was found to have changed nothing. */
  forget(): void {
    this.log.undo(this.#frames[this.#depth - 1].mark);
  }

  get depth(): number {
    return this.#depth;
  }

  /** A failed call has written nothing that is still there but in the caller's own records. */
  checkUnchanged(): void {
    const { log, words } = this;
    for (let entry = 0; entry < log.length; entry++) {
      const at = log.address(entry);
      if (log.isRange(entry)) throw new InvariantViolation(`a call that failed overwrote ${hex(at)}`);
      if (words[at / 4] === log.oldLow(entry) && words[at / 4 + 1] === log.oldHigh(entry)) continue;
      if (at === this.#answered || this.#isWorkPage(at)) continue;
      // Only what the word held before the first write of the call counts.
      let first = true;
      for (let earlier = 0; first && earlier < entry; earlier++) first = log.address(earlier) !== at;
      if (first) throw new InvariantViolation(`a call that failed changed the word at ${hex(at)}`);
    }
    const changed = this.#records.firstDifference(this.#depth - 1, this.#strict);
    if (changed !== undefined) {
      throw new InvariantViolation(`a call that failed changed the record word at ${hex(changed)}`);
    }
  }

  /** Lists that a call keeps for itself: three pages for each hart. */
  #isWorkPage(address: number): boolean {
    this.#workPages ??= this.hartRecords.map((at) => this.words[(at + fieldOffset("hart", "workPages")) / 4]);
    for (const at of this.#workPages) if (address >= at && address < at + 3 * PAGE) return true;
    return false;
  }

  #workPages: number[] | undefined;
  /** Where the host has written its last answer itself. */
  #answered = 0;
}
