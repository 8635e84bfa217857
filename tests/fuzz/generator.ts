import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE, Pending, isAboutRange } from "../../machine/simulated/hypervisor-state.ts";
import { randomNumbers } from "../../machine/simulated/schedule.ts";
import { Covh, Eid } from "../unit/support/simulated/sbi.ts";
import type { Command, Value } from "./command.ts";
import { attestationCall, certificationPlan } from "./attestation-commands.ts";
import { counterCall } from "./counter-commands.ts";
import { GuestCommands, SMALL_WINDOW, TVM_MEMORY } from "./guest-commands.ts";
import { FIRST_PAGE, HostPages, PAGES } from "./host-pages.ts";
import { InterruptCommands } from "./interrupt-commands.ts";
import type { Step } from "./interrupt-commands.ts";
import { noise } from "./noise.ts";
import { MEMORY } from "./observer.ts";
import type { Observer, TvmView } from "./observer.ts";
import { PciCommands } from "./pci-commands.ts";
import type { World } from "./world.ts";

/**
 * Makes the next command, from a seed and from the state that the machine is in: mostly what a host or TVM would do that knows the protocol and wants
 * to get far, often with one thing wrong, sometimes anything at all.
 *
 * A host that has a plan (make a TVM, give up a shared range, change the size of pages) has its steps in a queue; between them it and the other
 * harts do other things, so that plans run into each other.
 */
/** 2 MiB pages: 3 of them. */
const HUGE_PAGES = [1024, 1536, 2048];
/** NACL memory of hart n, and where it keeps parameters. */
const naclPage = (hart: number): number => 8 + 4 * hart;
const SNAPSHOT_PAGE = 80;
const paramPage = (hart: number): number => 64 + hart;

const TVM_MEMORY_SIZE = 0x40_0000n;
const TVM_SECOND = 0x9000_0000n;
const MAX_TVMS = 5;

export class Generator {
  readonly observer: Observer;
  readonly #world: World;
  readonly #random: (limit: number) => number;
  readonly #pages: HostPages;
  readonly #guests: GuestCommands;
  readonly #interrupts: InterruptCommands;
  readonly #pci: PciCommands;
  /** By hart. */
  readonly #plans: Step[][];
  #made = 0;

  constructor(world: World, observer: Observer, seed: number) {
    this.#world = world;
    this.observer = observer;
    this.#random = randomNumbers(seed);
    this.#pages = new HostPages(observer, this.#random);
    this.#guests = new GuestCommands(world, observer, this.#random);
    this.#interrupts = new InterruptCommands(world, observer, this.#random);
    this.#pci = new PciCommands(world, this.#pages, this.#random);
    this.#plans = world.machine.harts.map(() => []);
  }

  /** The next command. */
  next(): Command {
    if (this.#pci.available && this.#chance(8)) return this.#pci.byItself();
    const { harts } = this.#world.machine;
    let hart = harts[this.#random(harts.length)];
    // Harts that wait have little to do: one that runs is better, most of the time.
    if (hart.state !== "guest" && !this.#chance(4)) hart = harts.find((other) => other.state === "guest") ?? hart;
    if (hart.state !== "guest") return { hart: hart.index, do: "rest", ticks: this.#random(4) === 0 ? 20_000 : 1 };
    if (this.#chance(16)) return noise(this.#random, hart.index, this.#world.guests);
    const command = this.#world.vmOn(hart) === 0n ? this.#hostCommand(hart) : this.#guests.next(hart);
    return command ?? { hart: hart.index, do: "rest", ticks: 1 };
  }

  #chance(oneIn: number): boolean {
    return this.#random(oneIn) === 0;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random(list.length)];
  }

  // ---- hosts

  #hostCommand(hart: Hart): Command | undefined {
    const plan = this.#plans[hart.index];
    if (this.#pci.available && this.#chance(6)) {
      plan.unshift(...this.#pci.next(hart));
      return plan.shift()?.();
    }
    const left = this.observer.parkedCalls();
    if (left.length > 0 && this.#chance(3)) return makeAgain(hart, this.#pick(left));
    if (plan.length > 0 && !this.#chance(5)) return plan.shift()!();
    if (this.#chance(60)) {
      const page = this.#pages.gpa(SNAPSHOT_PAGE + hart.index);
      if (!this.#chance(20)) return attestationCall(this.#random, hart.index, page, true);
      plan.unshift(...certificationPlan(this.#random, page).map((step) => () => step(hart.index)));
    }
    if (this.#chance(25)) return counterCall(this.#random, hart.index, this.#pages.gpa(SNAPSHOT_PAGE + hart.index));
    const tvms = this.observer.tvms();
    const tvm = tvms.length > 0 ? this.#pick(tvms) : undefined;
    const choice = this.#random(100);
    if (choice < 6) return this.#convert(hart);
    if (choice < 10) return this.#covh(hart, "initiateFence");
    if (choice < 13) return this.#covh(hart, "localFence");
    if (choice < 17) return this.#reclaim(hart);
    if (choice < 20) return this.#otherCall(hart);
    if (choice < 21) return this.#interrupts.hostAccess(hart);
    if (choice < 22) return this.#touchMemory(hart, BigInt(MEMORY + PAGE * (FIRST_PAGE + this.#random(PAGES))));
    if (this.observer.naclOn(hart) === undefined && !this.#chance(4)) return this.#setNacl(hart);
    if (tvm === undefined || (tvms.length < MAX_TVMS && choice < 26)) {
      this.#planTvm(hart);
      return plan.shift()!();
    }
    if (choice < 28 && this.#chance(3)) return this.#covh(hart, "tvmDestroy", guest(tvm));
    if (!tvm.runnable) {
      if (this.#chance(24)) this.#planRegions(hart, tvm);
      return this.#build(hart, tvm);
    }
    if (choice < 60) return this.#run(hart, tvm);
    if (choice < 72 && tvm.hasFiles) return this.#manageFiles(hart, tvm);
    if (choice < 63 && plan.length === 0 && this.#chance(4)) {
      this.#planHuge(hart, tvm);
      return plan.shift()?.();
    }
    return this.#manage(hart, tvm);
  }

  #covh(hart: Hart, name: keyof typeof Covh, ...args: Value[]): Command {
    return { hart: hart.index, do: "call", eid: Eid.covh, fid: Covh[name], args };
  }

  #convert(hart: Hart): Command {
    if (this.#chance(100)) return this.#covh(hart, "convertPages", this.#pages.gpa(this.#pick(HUGE_PAGES)), 512n);
    const count = 1 + this.#random(6);
    return this.#covh(hart, "convertPages", this.#pages.gpa(this.#pages.owned(count)), BigInt(count));
  }

  #reclaim(hart: Hart): Command {
    if (this.#chance(20)) return this.#covh(hart, "reclaimPages", this.#pages.gpa(this.#pick(HUGE_PAGES)), 512n);
    const count = 1 + this.#random(6);
    return this.#covh(hart, "reclaimPages", this.#pages.gpa(this.#pages.fenced(count)), BigInt(count));
  }

  #touchMemory(hart: Hart, at: bigint): Command {
    if (this.#chance(2)) return { hart: hart.index, do: "load", at };
    // What nobody may find in the page when it is somebody else's.
    return { hart: hart.index, do: "store", at, value: at ^ 0x5ec2_0000_0000_0000n };
  }

  #setNacl(hart: Hart): Command {
    const args = [this.#pages.gpa(naclPage(hart.index)), 0n, 0n];
    return { hart: hart.index, do: "call", eid: Eid.nacl, fid: 1, args };
  }

  /** Everything that has nothing to do with TVMs. */
  #otherCall(hart: Hart): Command {
    const { harts } = this.#world.machine;
    const call = (eid: number, fid: number, ...args: Value[]): Command => ({
      hart: hart.index,
      do: "call",
      eid,
      fid,
      args,
    });
    const other = BigInt(this.#random(harts.length));
    const all = (1n << 64n) - 1n;
    switch (this.#random(18)) {
      case 0:
        return call(Eid.ipi, 0, BigInt(this.#random(1 << harts.length)), 0n);
      case 1:
        return call(
          Eid.rfence,
          this.#random(3),
          this.#chance(2) ? 0n : 1n << other,
          this.#chance(2) ? all : 0n,
          0n,
          all,
          0n,
        );
      case 2:
      case 3:
      case 4:
        return call(Eid.hsm, 0, other, this.#pages.gpa(512), 7n);
      case 5:
        return call(Eid.hsm, 2, other);
      case 6:
        // The last hart that runs should not stop: nobody could start it again.
        if (harts.filter((each) => each.state === "guest" && this.#world.vmOn(each) === 0n).length < 2)
          return call(Eid.base, 0);
        return call(Eid.hsm, 1);
      case 7:
        return call(Eid.hsm, 3, this.#chance(3) ? 0x8000_0000n : 0n, 0n, 0n);
      case 8:
        return call(Eid.time, 0, this.#world.machine.clock.now + BigInt(this.#random(3000)));
      case 9:
        return call(Eid.dbcn, this.#random(3), BigInt(this.#random(40)), this.#pages.gpa(paramPage(hart.index)), 0n);
      case 10:
        return call(this.#pick([Eid.putchar, Eid.getchar]), 0, 65n);
      case 11:
        return call(Eid.base, this.#random(7), BigInt(this.#pick(Object.values(Eid))));
      case 12:
        return this.#chance(4) ? call(Eid.nacl, 1, all, all, 0n) : call(Eid.nacl, 0, 0n);
      case 13:
        return this.#setNacl(hart);
      case 14:
        return this.#covh(hart, "tsmGetInfo", this.#pages.gpa(paramPage(hart.index)), 48n);
      case 15:
        return { hart: hart.index, do: "fp" };
      case 16:
        return { hart: hart.index, do: "sfence" };
      default:
        // vsie: the interrupts that end a run.
        return { hart: hart.index, do: "csr", csr: 0x104, value: BigInt(this.#pick([0, 2, 0x20, 0x222])) };
    }
  }

  // ---- TVMs, from the host's side

  /** All steps from ordinary memory to a TVM that runs; now and then one is left out, or done wrongly. */
  #planTvm(hart: Hart): void {
    const { statePages, vcpuPages } = this.observer;
    const vcpus = 1 + this.#random(2);
    const tables = 4 + this.#random(8);
    const measured = this.#random(4);
    const pages = 4 + statePages + vcpus * vcpuPages + tables + measured + 2;
    const number = this.#made++;
    const id: Value = `guest ${number}`;
    let first = 0;
    let at = 0;
    const take = (count: number): bigint => {
      const page = first + at;
      at += count;
      return this.#pages.gpa(page);
    };
    const param = this.#pages.gpa(paramPage(hart.index));
    const call = (name: keyof typeof Covh, ...args: Value[]): Command => this.#covh(hart, name, ...args);
    const withFiles = this.#interrupts.available && this.#chance(3);
    const steps: Step[] = [
      () => {
        first = this.#pages.owned(pages, 4);
        return call("convertPages", this.#pages.gpa(first), BigInt(pages));
      },
      () => call("initiateFence"),
      ...this.#catchUp(hart),
      () => ({ hart: hart.index, do: "store", at: param, value: take(4) }),
      () => ({ hart: hart.index, do: "store", at: param + 8n, value: take(statePages) }),
      () => ({ ...call("tvmCreate", param, 16n), makes: number }) as Command,
      () => call("addMemoryRegion", id, TVM_MEMORY, TVM_MEMORY_SIZE),
      () => call("addPageTablePages", id, take(tables), BigInt(tables)),
    ];
    for (let vcpu = 0; vcpu < vcpus; vcpu++) steps.push(() => call("cpuCreate", id, BigInt(vcpu), take(vcpuPages)));
    if (withFiles) steps.push(...this.#interrupts.geometry(hart, id, param + 64n, vcpus));
    if (measured > 0) {
      const source = this.#pages.gpa(this.#pages.owned(measured));
      steps.push(() => call("addMeasuredPages", id, source, take(measured), 0n, BigInt(measured), TVM_MEMORY));
    }
    if (this.#chance(3)) steps.push(() => call("addMemoryRegion", id, TVM_SECOND, 0x1_0000n));
    steps.push(() => call("tvmFinalize", id, TVM_MEMORY, 0x1234n));
    if (measured === 0) {
      steps.push(() => call("addZeroPages", id, take(2), 0n, 2n, TVM_MEMORY));
    }
    if (withFiles) steps.push(...this.#interrupts.bind(hart, id, 0, this.#catchUp(hart)));
    steps.push(() => call("cpuRun", id, 0n));
    this.#plans[hart.index].push(...steps.filter(() => !this.#chance(60)));
  }

  /** Local fences of the others. */
  #catchUp(hart: Hart): Step[] {
    return this.#world.machine.harts.flatMap((other) => {
      if (other === hart) return [];
      const step: Step = () =>
        other.state === "guest" && this.#world.vmOn(other) === 0n ? this.#covh(other, "localFence") : undefined;
      return [step];
    });
  }

  /** More regions than a TVM may have. */
  #planRegions(hart: Hart, tvm: TvmView): void {
    for (let i = 0; i < 130; i++) {
      const gpa = TVM_SECOND + 0x100_0000n + BigInt(2 * PAGE * i);
      this.#plans[hart.index].push(() => this.#covh(hart, "addMemoryRegion", guest(tvm), gpa, BigInt(PAGE)));
    }
  }

  /** A TVM that is not finalized. */
  #build(hart: Hart, tvm: TvmView): Command {
    const id = guest(tvm);
    const { vcpuPages } = this.observer;
    switch (this.#random(8)) {
      case 0:
        return this.#covh(
          hart,
          "addMemoryRegion",
          id,
          TVM_SECOND + this.#window(8),
          BigInt(PAGE * (1 + this.#random(4))),
        );
      case 1:
        return this.#covh(
          hart,
          "addPageTablePages",
          id,
          this.#pages.gpa(this.#pages.fenced(2)),
          BigInt(1 + this.#random(3)),
        );
      case 2:
        return this.#covh(
          hart,
          "cpuCreate",
          id,
          BigInt(this.#random(3)),
          this.#pages.gpa(this.#pages.fenced(vcpuPages)),
        );
      case 3:
      case 4: {
        const count = 1 + this.#random(3);
        const [source, to] = [this.#pages.gpa(this.#pages.owned(count)), this.#pages.gpa(this.#pages.fenced(count))];
        return this.#covh(
          hart,
          "addMeasuredPages",
          id,
          source,
          to,
          0n,
          BigInt(count),
          TVM_MEMORY + this.#window(SMALL_WINDOW),
        );
      }
      case 5:
        return this.#covh(hart, "tvmDestroy", id);
      default:
        return this.#covh(hart, "tvmFinalize", id, TVM_MEMORY, 0n);
    }
  }

  #manageFiles(hart: Hart, tvm: TvmView): Command | undefined {
    if (this.#chance(10)) return this.#interrupts.convertOrReclaim(hart);
    this.#plans[hart.index].unshift(...this.#interrupts.manage(hart, tvm, this.#catchUp(hart)));
    return this.#plans[hart.index].shift()?.();
  }

  #run(hart: Hart, tvm: TvmView): Command | undefined {
    let vcpu = tvm.vcpus.length > 0 ? this.#pick(tvm.vcpus) : undefined;
    if (tvm.hasFiles && !this.#chance(6)) {
      vcpu = tvm.vcpus.find((each) => this.#interrupts.runsOn(hart, each));
      if (vcpu === undefined) return this.#manageFiles(hart, tvm);
    }
    if (vcpu && isAboutRange(vcpu.pending) && this.#chance(2)) {
      this.#planGiveUp(hart, tvm, vcpu.gpa, vcpu.length, vcpu.id, vcpu.pending === Pending.ShareMemory);
      return this.#plans[hart.index].shift()!()!;
    }
    if (this.#chance(6)) {
      const nacl = this.observer.naclOn(hart);
      if (nacl !== undefined) return { hart: hart.index, do: "store", at: nacl + 80n, value: BigInt(this.#random(2)) };
    }
    return this.#covh(hart, "cpuRun", guest(tvm), BigInt(vcpu?.id ?? 0));
  }

  /** A range that the TVM wants to be of the other kind: its pages go, and the TVM is told. */
  #planGiveUp(hart: Hart, tvm: TvmView, gpa: bigint, length: bigint, vcpu: number, sharing: boolean): void {
    const id = guest(tvm);
    const steps: Step[] = [];
    for (let at = gpa; at < gpa + length && at < gpa + 0x8000n; at += 0x1000n) {
      steps.push(() => this.#covh(hart, "blockPages", id, at, 0x1000n));
    }
    steps.push(
      () => this.#covh(hart, "tvmInitiateFence", id),
      () => this.#covh(hart, "removePages", id, gpa, length),
      () => this.#answer(hart, this.#chance(6) ? 1n : 0n),
      () => this.#covh(hart, "cpuRun", id, BigInt(vcpu)),
    );
    const count = 1 + this.#random(2);
    if (sharing) {
      steps.push(() =>
        this.#covh(hart, "addSharedPages", id, this.#pages.gpa(this.#pages.owned(count)), 0n, BigInt(count), gpa),
      );
    } else {
      steps.push(() =>
        this.#covh(hart, "addZeroPages", id, this.#pages.gpa(this.#pages.fenced(count)), 0n, BigInt(count), gpa),
      );
    }
    this.#plans[hart.index].unshift(...steps);
  }

  #answer(hart: Hart, value: bigint): Command | undefined {
    const nacl = this.observer.naclOn(hart);
    return nacl === undefined ? undefined : { hart: hart.index, do: "store", at: nacl + 80n, value };
  }

  /** A large page in, made small, made large again; or shared. */
  #planHuge(hart: Hart, tvm: TvmView): void {
    const id = guest(tvm);
    const host = this.#pages.gpa(this.#pick(HUGE_PAGES));
    const gpa = TVM_MEMORY + 0x20_0000n;
    const size = 0x20_0000n;
    const call =
      (name: keyof typeof Covh, ...args: Value[]): Step =>
      () =>
        this.#covh(hart, name, ...args);
    const block = [call("blockPages", id, gpa, size), call("tvmInitiateFence", id)];
    const small = this.#chance(2);
    const steps = [
      call("convertPages", host, 512n),
      call("initiateFence"),
      ...this.#catchUp(hart),
      small ? call("addZeroPages", id, host, 0n, 512n, gpa) : call("addZeroPages", id, host, 1n, 1n, gpa),
      ...block,
      small ? call("promotePage", id, gpa, 1n) : call("demotePage", id, gpa, 0n),
      ...(this.#chance(2)
        ? [...block, small ? call("demotePage", id, gpa, 0n) : call("promotePage", id, gpa, 1n)]
        : []),
      ...(this.#chance(2) ? [...block, call("unblockPages", id, gpa, size)] : []),
    ];
    this.#plans[hart.index].push(...steps);
  }

  /** Page calls on a TVM that runs. */
  #manage(hart: Hart, tvm: TvmView): Command {
    const id = guest(tvm);
    const count = 1 + this.#random(3);
    const length = BigInt(count * PAGE);
    const regions = this.observer.regions(tvm);
    const region = regions.length > 0 && this.#chance(2) ? this.#pick(regions) : undefined;
    const gpa = region ? region.start + this.#window(4) : TVM_MEMORY + this.#window(SMALL_WINDOW);
    switch (this.#random(16)) {
      case 0:
      case 1:
      case 2:
        return this.#covh(hart, "addZeroPages", id, this.#pages.gpa(this.#pages.fenced(count)), 0n, BigInt(count), gpa);
      case 3:
      case 4: {
        const shared = regions.find(({ type }) => type === 2);
        return this.#covh(
          hart,
          "addSharedPages",
          id,
          this.#pages.gpa(this.#pages.owned(count)),
          0n,
          BigInt(count),
          shared?.start ?? gpa,
        );
      }
      case 5:
      case 6:
        return this.#covh(hart, "blockPages", id, gpa, length);
      case 7:
        return this.#covh(hart, "unblockPages", id, gpa, length);
      case 8:
      case 9:
        return this.#covh(hart, "tvmInitiateFence", id);
      case 10:
      case 11:
        return this.#covh(hart, "removePages", id, gpa, length);
      case 12:
        return this.#covh(
          hart,
          this.#pick(["promotePage", "demotePage"] as const),
          id,
          gpa & ~0x1f_ffffn,
          BigInt(this.#random(4)),
        );
      case 13:
        return this.#covh(hart, "addPageTablePages", id, this.#pages.gpa(this.#pages.fenced(count)), BigInt(count));
      case 14:
        return this.#build(hart, tvm);
      default:
        return this.#covh(
          hart,
          this.#pick(["addZeroPages", "addSharedPages"] as const),
          id,
          this.#pages.gpa(this.#pick(HUGE_PAGES)),
          1n,
          1n,
          gpa & ~0x1f_ffffn,
        );
    }
  }

  #window(pages: number): bigint {
    return BigInt(PAGE * this.#random(pages));
  }
}

function guest(tvm: TvmView): Value {
  return `guest ${tvm.number}`;
}

/** A call that has made way for an interrupt, on whichever hart its thread is by now. */
function makeAgain(hart: Hart, [a0, a1, a2, a3, a4, a5, a6]: bigint[]): Command {
  return { hart: hart.index, do: "call", eid: Eid.covh, fid: Number(a6), args: [a0, a1, a2, a3, a4, a5] };
}
