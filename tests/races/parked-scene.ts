import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";
import type { CoveHost } from "../unit/support/simulated/cove-host.ts";
import { covh, pick } from "./scene.ts";
import type { Choice, Random, Scene } from "./scene.ts";

/**
 * Hosts with interrupts to take, whose calls on long ranges therefore make way, and which all make the same few calls with the same registers: what one hart has left
 * half-way, another takes, while the first makes it again. The checker knows of every page whose it is.
 */

/** Three batches. */
const LONG = 2 * 512 + 1;
const SOFTWARE = 1n << 1n;

export class ParkedScene implements Scene {
  static readonly options: Partial<MachineOptions> = {};
  readonly operations: number = 40;
  readonly #arenas: number[];
  #random: Random = () => 0;

  constructor(host: CoveHost) {
    this.#arenas = [host.take(LONG), host.take(LONG)];
  }

  begin(random: Random): void {
    this.#random = random;
  }

  check(): void {
    // Nothing but what the checker knows.
  }

  host(): Choice {
    const choices: (() => Choice)[] = [
      () => ["", operations.csrWrite("sie", SOFTWARE)],
      () => ["", operations.csrWrite("sip", SOFTWARE)],
      () => ["", operations.csrWrite("sie", 0)],
      () => this.#long("convertPages"),
      () => this.#long("convertPages"),
      () => this.#long("convertPages"),
      () => this.#long("reclaimPages"),
      () => this.#long("reclaimPages"),
      () => covh("initiateFence"),
      () => covh("localFence"),
      () => covh("localFence"),
      () => covh("tsmGetInfo", this.#arenas[0], 0),
    ];
    return pick(this.#random, choices)();
  }

  /** Always with the same registers: that is how a call is known again. */
  #long(name: "convertPages" | "reclaimPages"): Choice {
    return covh(name, pick(this.#random, this.#arenas), LONG, 0, 0, 0, 0);
  }

  tvm(): Operation {
    return operations.wfi();
  }
}
