import { randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { IMAGE_BASE } from "../../../tools/build/modules.ts";
import { MIB } from "../../../tools/qemu/machine.ts";
import { RAM_BASE, type LiveMachine } from "./live-machine.ts";

/**
 * The secret of the TVM that workloads/controlled-host makes: 64-bit words of a base plus a number for the place. The base is drawn at
 * random for each TVM, and is nowhere in memory before the TVM has computed it.
 */

/** BASE_KEY of workloads/controlled-host/secret-guest.ts. */
const BASE_KEY = 0x9d3b_52c7_e81f_0000n;

/** SecretPlace of the same file: the numbers' upper bits. */
const PLACES = new Map([
  [0x1, "general registers"],
  [0x2, "FP registers"],
  [0x3, "vector registers"],
  [0x4, "memory"],
  [0x5, "sscratch"],
]);

/**
 * RAM below the hypervisor's image is the firmware's, and not searched: it stores the registers of a hart that traps into it, nobody else can read
 * them, and nobody else can zero them.
 */
const FIRMWARE_BYTES = IMAGE_BASE - RAM_BASE;
const PART = 64 * MIB;

export class Secret {
  /** Upper six bytes of every word, as they lie in memory. */
  readonly #mark = randomBytes(6);

  /** Boot argument of the TVM, for the host's command. */
  get argument(): string {
    const base = Buffer.concat([Buffer.alloc(2), this.#mark]).readBigUInt64LE();
    return (base ^ BASE_KEY).toString(16);
  }

  /** Every place in the machine's RAM, but for the firmware's, that holds a word of the secret. No hart may run meanwhile. */
  async search(machine: LiveMachine, memoryMiB: number): Promise<Found> {
    const found = new Found();
    const file = path.join(machine.folder, "memory");
    const end = RAM_BASE + memoryMiB * MIB;
    for (let start = RAM_BASE + FIRMWARE_BYTES; start < end; start += PART) {
      const size = Math.min(PART, end - start);
      await machine.qmp.execute("pmemsave", { val: start, size, filename: file });
      const content = readFileSync(file);
      rmSync(file);
      // The guest stores words, so that none can lie across two parts.
      for (let at = content.indexOf(this.#mark); at >= 0; at = content.indexOf(this.#mark, at + 1)) {
        found.add(start + at - 2, content.readUInt16LE(Math.max(0, at - 2)));
      }
    }
    return found;
  }
}

/** Words of a secret that lay in RAM, by the place in the TVM from where they come. */
export class Found {
  readonly #words = new Map<string, number[]>();

  add(address: number, number: number): void {
    const place = PLACES.get(number >> 8) ?? `number 0x${number.toString(16)}`;
    this.#words.set(place, [...(this.#words.get(place) ?? []), address]);
  }

  /** Where the words come from, sorted. */
  get places(): string[] {
    return [...this.#words.keys()].sort();
  }

  /** For the message of a failed test. */
  toString(): string {
    return [...this.#words]
      .map(([place, addresses]) => {
        const shown = addresses.slice(0, 6).map((address) => "0x" + address.toString(16));
        return `${place}: ${addresses.length} words at ${shown.join(", ")}${addresses.length > 6 ? ", ..." : ""}`;
      })
      .join("\n");
  }
}

/** All places of a secret, sorted, on harts with vectors. */
export const ALL_PLACES = [...PLACES.values()].sort();
