import assert from "node:assert/strict";
import type { DoorReplacement } from "../../machine/simulated/door.ts";
import type { Ending, GuestContext } from "../../machine/simulated/guest-context.ts";
import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation, SbiResult } from "../../machine/simulated/guest-script.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { Interleaver } from "../../machine/simulated/interleaver.ts";
import type { InterleaverOptions } from "../../machine/simulated/interleaver.ts";
import type { LockUse } from "../../machine/simulated/lock-monitor.ts";
import { playRaces } from "../../machine/simulated/races.ts";
import type { RaceResult } from "../../machine/simulated/races.ts";
import { randomNumbers } from "../../machine/simulated/schedule.ts";
import { CoveHost, HOST_CODE, PAGE } from "../unit/support/simulated/cove-host.ts";
import { Eid, Hsm } from "../unit/support/simulated/sbi.ts";
import { DeviceScene } from "./device-scene.ts";
import { FileScene } from "./file-scene.ts";
import { PageScene } from "./page-scene.ts";
import { ParkedScene } from "./parked-scene.ts";
import type { Scene, ScenePlan } from "./scene.ts";

/**
 * Hosts on two to four harts and TVMs on all of them, whose calls are about the same few things, so that they meet inside the hypervisor. What these
 * are is the scene's. Everything follows from the seed.
 */

export const SCENES = {
  pages: PageScene,
  files: FileScene,
  devices: DeviceScene,
  parked: ParkedScene,
} satisfies Record<string, ScenePlan>;
export type SceneName = keyof typeof SCENES;

export interface RaceSetup {
  harts?: number;
  /** "pages" if nothing is said. */
  scene?: SceneName;
  module?: HypervisorModule;
  door?: DoorReplacement;
  interleaver?: InterleaverOptions;
}

export interface RaceTally {
  /** Calls that succeeded and failed, by name. */
  successes: Record<string, number>;
  errors: Record<string, number>;
  /** Operations of TVMs. */
  tvmOperations: number;
}

export class RaceWorld {
  readonly tally: RaceTally = { successes: {}, errors: {}, tvmOperations: 0 };
  readonly #host: CoveHost;
  readonly #again: string;
  readonly #interleaver: Interleaver;
  readonly #scene: Scene;
  readonly #nacl: number;
  readonly #calls = new Map<string, { name: string; left: number; then: ((value: bigint) => void) | undefined }>();

  static async boot(setup: RaceSetup = {}): Promise<RaceWorld> {
    const harts = Array.from({ length: setup.harts ?? 2 }, (_, index) => index * 3);
    const { module, door } = setup;
    const options = { ...SCENES[setup.scene ?? "pages"].options, harts };
    return new RaceWorld(
      await CoveHost.boot({ options, ...(module ? { module } : {}), ...(door ? { door } : {}) }),
      setup,
    );
  }

  private constructor(host: CoveHost, setup: RaceSetup) {
    this.#host = host;
    const { machine } = host;
    const scene = setup.scene ?? "pages";
    this.#again = `salus race --harts ${machine.harts.length} --scene ${scene} --runs 1 --seed`;
    for (let id = 1; id < machine.harts.length; id++) {
      assert.equal(host.call(Eid.hsm, Hsm.start, id, HOST_CODE, 0).error, 0n);
      const hart = machine.harts[id];
      for (let tries = 0; tries < 10 && machine.canStep(hart); tries++) machine.step(hart);
      assert.equal(hart.state, "guest");
    }
    this.#nacl = host.take(3 * machine.harts.length);
    this.#scene = new SCENES[scene](host);
    if (host.nacl !== undefined) host.unregisterNacl();
    host.save("start");
    this.#interleaver = new Interleaver(machine, setup.interleaver);
    host.checker.paused = true;
  }

  /** Plays one run. Everything that goes wrong is an error with the seed. */
  async play(seed: number): Promise<RaceResult> {
    const { machine, checker } = this.#host;
    machine.entryPlayer = undefined;
    this.#host.restore("start");
    machine.entryPlayer = this.#interleaver;
    this.#calls.clear();
    const scene = this.#scene;
    scene.begin(randomNumbers(seed ^ 0x5a1));
    try {
      const actor = (context: GuestContext, ending: Ending | undefined) => this.#act(context, ending);
      return await playRaces(this.#interleaver, { seed, actor, checker, alsoCheck: () => scene.check() });
    } catch (error) {
      if (error instanceof Error) error.message = `seed ${seed} (again: ${this.#again} ${seed}): ${error.message}`;
      throw error;
    }
  }

  #act(context: GuestContext, ending: Ending | undefined): Operation | undefined {
    if (context.isHost) return this.#actHost(context, ending);
    this.tally.tvmOperations++;
    return this.#scene.tvm(context);
  }

  #actHost(context: GuestContext, ending: Ending | undefined): Operation | undefined {
    const all = this.#scene.operations;
    const state = this.#calls.get(context.key) ?? { name: "", left: all, then: undefined };
    this.#calls.set(context.key, state);
    if (state.name !== "" && ending && "done" in ending && typeof ending.done === "object") {
      const { error, value } = ending.done as SbiResult;
      const counts = error === 0n ? this.tally.successes : this.tally.errors;
      counts[state.name] = (counts[state.name] ?? 0) + 1;
      if (error === 0n) state.then?.(value);
    }
    state.name = "";
    state.then = undefined;
    if (state.left === all) {
      state.left--;
      return operations.ecall(Eid.nacl, 1, this.#nacl + context.id * 3 * PAGE, 0, 0);
    }
    if (state.left === 0) return undefined;
    state.left--;
    const [name, operation, then] = this.#scene.host(context.hart!);
    state.name = name;
    state.then = then;
    return operation;
  }

  /** How often each field of a record that is a lock was taken in any run, and how often a hart found it held by another one. */
  get locks(): ReadonlyMap<string, LockUse> {
    return this.#interleaver.locks.uses;
  }
}
