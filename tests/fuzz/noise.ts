import { PAGE } from "../../machine/simulated/hypervisor-state.ts";
import { FUNCTIONS } from "./command.ts";
import { Eid } from "../unit/support/simulated/sbi.ts";
import type { Command, Value } from "./command.ts";
import { MEMORY } from "./observer.ts";

/** sstatus, sie, stvec, sip, satp, siselect, sireg, stopei, stimecmp, hie, hgeie, hip, hgatp, hgeip, hvip. */
const NOISY_CSRS = [
  ...[0x100, 0x104, 0x105, 0x144, 0x180, 0x150, 0x151, 0x15c, 0x14d, 0x604, 0x607, 0x644, 0x680, 0xe12, 0x645],
];

/** Commands without any sense: any call that exists or does not, with arguments from the places where mistakes are made. */
export function noise(random: (limit: number) => number, hart: number, guests: ReadonlyMap<number, bigint>): Command {
  const choice = random(20);
  if (choice === 0) return { hart, do: "load", at: nastyAddress(random) };
  if (choice === 1) return { hart, do: "store", at: nastyAddress(random), value: 0n };
  if (choice === 2) return { hart, do: "jump", at: nastyAddress(random) };
  if (choice === 3) return { hart, do: "csr", csr: NOISY_CSRS[random(NOISY_CSRS.length)], value: anything(random) };
  const args = Array.from({ length: 6 }, () => argument(random, guests));
  if (choice === 4) return { hart, do: "call", eid: anything(random), fid: BigInt(random(8)), args };
  const extensions = Object.keys(FUNCTIONS) as (keyof typeof FUNCTIONS)[];
  // Mostly the calls that move pages.
  const extension = choice < 16 ? "covh" : extensions[random(extensions.length)];
  // A reset would end the run: only malformed ones.
  if (extension === "srst") args[0] = 3n + BigInt(random(1000));
  const fid = random(30) === 0 ? anything(random) : BigInt(random(FUNCTIONS[extension].length));
  if (extension === "covh" && random(2) === 0 && guests.size > 0) args[0] = someGuest(random, guests);
  return { hart, do: "call", eid: Eid[extension], fid, args };
}

function argument(random: (limit: number) => number, guests: ReadonlyMap<number, bigint>): Value {
  switch (random(5)) {
    case 0:
      return guests.size > 0 ? someGuest(random, guests) : 2n;
    case 1:
      return BigInt(random(20));
    case 2:
      return nastyAddress(random);
    case 3:
      return BigInt(PAGE * random(64));
    default:
      return anything(random);
  }
}

function someGuest(random: (limit: number) => number, guests: ReadonlyMap<number, bigint>): Value {
  const numbers = [...guests.keys()];
  return `guest ${numbers[random(numbers.length)]}`;
}

const ALL = (1n << 64n) - 1n;
const EDGES = [0n, 1n, ALL, ALL - 0xfffn, 1n << 63n, 1n << 41n, 1n << 50n, (1n << 41n) - 0x1000n, 1n << 32n, 1n << 44n];

/** Where the host's memory, ours, devices, nothing, and the ends of number ranges are; not always aligned. */
export function nastyAddress(random: (limit: number) => number): bigint {
  switch (random(6)) {
    case 0:
      return EDGES[random(EDGES.length)] + (random(3) === 0 ? BigInt(random(5000)) : 0n);
    case 1:
      // Any page of RAM, as the machine numbers it: also ours.
      return BigInt(MEMORY + PAGE * random(4096)) + (random(8) === 0 ? BigInt(random(PAGE)) : 0n);
    case 2:
      return 0x9000_0000n + BigInt(PAGE * random(32));
    case 3:
      return 0x1000_0000n + BigInt(random(0x2000));
    default:
      return BigInt(MEMORY + PAGE * (256 + random(64)));
  }
}

function anything(random: (limit: number) => number): bigint {
  if (random(3) === 0) return EDGES[random(EDGES.length)];
  const bits = BigInt(1 + random(64));
  const value = (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
  // Not what registers are told apart by.
  return BigInt.asUintN(Number(bits), value) & ~(1n << 62n);
}
