import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE } from "../../machine/simulated/hypervisor-state.ts";
import { Eid } from "../unit/support/simulated/sbi.ts";
import type { Command, Value } from "./command.ts";
import { attestationCall, certificationPlan } from "./attestation-commands.ts";
import { counterCall, counterPlan } from "./counter-commands.ts";
import { IDENTITIES, TVM_IMSIC } from "./interrupt-commands.ts";
import { nastyAddress } from "./noise.ts";
import type { Observer } from "./observer.ts";
import type { World } from "./world.ts";

/** Where TVMs have their memory; the last of it is 2 MiB aligned and for large pages. */
export const TVM_MEMORY = 0x8000_0000n;
const TVM_MMIO = 0xa000_0000n;
/** Pages of it that most commands are about. */
export const SMALL_WINDOW = 24;

/** What a TVM does next: touches memory, asks for ranges to be shared or emulated, waits, calls. */
export class GuestCommands {
  readonly #world: World;
  readonly #observer: Observer;
  readonly #random: (limit: number) => number;
  /** What each vCPU is about to do. */
  readonly #plans = new Map<number, ((hart: number) => Command)[]>();

  constructor(world: World, observer: Observer, random: (limit: number) => number) {
    this.#world = world;
    this.#observer = observer;
    this.#random = random;
  }

  #chance(oneIn: number): boolean {
    return this.#random(oneIn) === 0;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random(list.length)];
  }

  #window(pages: number): bigint {
    return BigInt(PAGE * this.#random(pages));
  }

  next(hart: Hart): Command {
    const plan = this.#planOf(hart);
    if (plan.length > 0 && !this.#chance(6)) return plan.shift()!(hart.index);
    const call = (eid: number, fid: number, ...args: Value[]): Command => ({
      hart: hart.index,
      do: "call",
      eid,
      fid,
      args,
    });
    const gpa = TVM_MEMORY + this.#window(SMALL_WINDOW);
    const length = BigInt(PAGE * (1 + this.#random(2)));
    const mmio = TVM_MMIO + BigInt(PAGE * 2 * this.#random(200));
    const choice = this.#random(40);
    if (choice < 8) return { hart: hart.index, do: this.#chance(2) ? "load" : "store", at: gpa, value: this.#tag(gpa) };
    if (choice < 10)
      return { hart: hart.index, do: "load", at: this.#chance(2) ? mmio : TVM_MEMORY + 0x20_0000n + this.#window(512) };
    if (choice < 14) return call(Eid.covg, 2, gpa, length);
    if (choice < 17) return call(Eid.covg, 3, gpa, length);
    if (choice < 20) return call(Eid.covg, 0, mmio, 0x1000n);
    if (choice < 22) return call(Eid.covg, 1, this.#mmioOf(hart) ?? mmio, 0x1000n);
    if (this.#chance(10)) return this.#interrupt(hart);
    if (this.#chance(12)) return attestationCall(this.#random, hart.index, this.#present(hart) ?? gpa, false);
    if (this.#chance(7)) return counterCall(this.#random, hart.index, gpa);
    switch (choice) {
      case 22:
        return { hart: hart.index, do: "wfi" };
      case 23:
        return { hart: hart.index, do: "fp" };
      case 24:
        return { hart: hart.index, do: "sfence" };
      case 25:
        return { hart: hart.index, do: "jump", at: gpa };
      case 26:
        return call(Eid.hsm, 0, BigInt(this.#random(3)), TVM_MEMORY, 5n);
      case 27:
        return this.#chance(3) ? call(Eid.hsm, 1) : call(Eid.hsm, 2, BigInt(this.#random(3)));
      case 28:
        return call(Eid.hsm, 3, this.#chance(3) ? 1n : 0n, 0n, 0n);
      case 29:
        return call(Eid.ipi, 0, BigInt(1 + this.#random(3)), 0n);
      case 30:
        return call(Eid.rfence, this.#random(3), BigInt(this.#random(4)), 0n, 0n, 0x1000n, 0n);
      case 31:
        return call(Eid.dbcn, this.#random(3), 5n, gpa, 0n);
      case 32:
        return call(this.#pick([Eid.putchar, Eid.getchar]), 0, 66n);
      case 33:
        return call(Eid.base, this.#random(7), BigInt(Eid.covg));
      case 34:
        return call(Eid.time, 0, BigInt(this.#random(5000)));
      case 35:
        return this.#chance(4) ? call(Eid.srst, 0, 0n, 0n) : call(Eid.srst, 0, 5n, 0n);
      case 36:
        return call(Eid.nacl, this.#chance(3) ? 0 : 1, this.#pick([gpa, TVM_MEMORY, TVM_MEMORY + 0x20_0000n]), 0n, 0n);
      case 37:
        return call(Eid.covh, this.#random(21), gpa, 1n, gpa, gpa, gpa, gpa);
      case 38:
        return { hart: hart.index, do: "load", at: nastyAddress(this.#random) };
      default:
        return call(Eid.covg, this.#random(12), nastyAddress(this.#random), length);
    }
  }

  /** What the vCPU on the hart goes on with. Now and then something new, if it is through with the last. */
  #planOf(hart: Hart): ((hart: number) => Command)[] {
    const vcpu = this.#world.secrecy.currentOf(hart);
    const plan = this.#plans.get(vcpu);
    if (plan && plan.length > 0) return plan;
    const steps = this.#chance(80)
      ? counterPlan()
      : this.#chance(400)
        ? certificationPlan(this.#random, this.#present(hart) ?? TVM_MEMORY)
        : [];
    this.#plans.set(vcpu, steps);
    return steps;
  }

  /** Lets its host inject, and uses its interrupt file if it has one. */
  #interrupt(hart: Hart): Command {
    const identity = this.#chance(2) ? (1n << 64n) - 1n : this.#pick(IDENTITIES);
    switch (this.#random(7)) {
      case 0:
      case 1:
      case 2:
        return { hart: hart.index, do: "call", eid: Eid.covg, fid: 4, args: [identity] };
      case 6:
        return { hart: hart.index, do: "call", eid: Eid.covg, fid: 5, args: [identity] };
      case 3: {
        const at = TVM_IMSIC + this.#window(3);
        return { hart: hart.index, do: "store", at, value: this.#pick(IDENTITIES), width: 4 };
      }
      case 4:
        return { hart: hart.index, do: "csr", csr: 0x150, value: this.#pick([0x70n, 0x72n, 0x80n, 0xc0n]) };
      default:
        return { hart: hart.index, do: "csr", csr: 0x151, value: this.#pick([0n, 1n, 0x22n, (1n << 63n) | 2n]) };
    }
  }

  /** A range that the TVM on the hart has emulated. */
  #mmioOf(hart: Hart): bigint | undefined {
    const vm = this.#world.vmOn(hart);
    const tvm = this.#observer.tvms().find(({ id }) => id === vm);
    return tvm && this.#observer.regions(tvm).find(({ type }) => type === 3)?.start;
  }

  /** A page that the TVM on the hart can reach, most of the time. */
  #present(hart: Hart): bigint | undefined {
    const vm = this.#world.vmOn(hart);
    const found: bigint[] = [];
    this.#world.full.state
      .vms()
      .find(({ id }) => id === vm)
      ?.walk(
        ({ gpa, parked }) => {
          if (!parked) found.push(BigInt(gpa));
        },
        () => {},
      );
    return found.length > 0 && !this.#chance(8) ? this.#pick(found) : undefined;
  }

  #tag(gpa: bigint): Value {
    return gpa ^ 0x7ea1_0000_0000_0000n;
  }
}
