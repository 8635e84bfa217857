import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import type { GuestContext } from "../../machine/simulated/guest-context.ts";
import type { Hart } from "../../machine/simulated/hart.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";
import type { CoveHost } from "../unit/support/simulated/cove-host.ts";
import { Covh, Covi, Eid } from "../unit/support/simulated/sbi.ts";
import type { CovhName, CoviName } from "../unit/support/simulated/sbi.ts";

/** What a race is about: the machine, what its host has prepared when it begins, and what hosts and TVMs do in it. */
export interface Scene {
  /** A run begins; everything in it follows from `random`. */
  begin(random: Random): void;
  /** What the host does next on the hart. */
  host(hart: Hart): Choice;
  /** What a TVM's vCPU does next. */
  tvm(context: GuestContext): Operation;
  /** What must hold while no hart is in the hypervisor, beside what the checker knows. */
  check(): void;
  /** Operations of the host on each hart. */
  readonly operations: number;
}

/** Its machine, and the scene on it: all harts run the host, and nothing else has happened. */
export interface ScenePlan {
  options: Partial<MachineOptions>;
  new (host: CoveHost): Scene;
}

export type Random = (limit: number) => number;

/** An operation, the name that it is counted by if it is a call, and what to do once it has succeeded. */
export type Choice = [name: string, operation: Operation, then?: (value: bigint) => void];

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random(list.length)];
}

export function covh(name: CovhName, ...args: (number | bigint)[]): Choice {
  return [name, operations.ecall(Eid.covh, Covh[name], ...args)];
}

export function covi(name: CoviName, ...args: (number | bigint)[]): Choice {
  return [name, operations.ecall(Eid.covi, Covi[name], ...args)];
}
