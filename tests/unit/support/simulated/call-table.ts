import { test } from "node:test";
import type { CoveHost } from "./cove-host.ts";
import type { CovhName, SbiError } from "./sbi.ts";

/** Arguments of a refused call, computed when the host is in its state; a function may prepare what the call is refused for. */
export type Arguments = (host: CoveHost) => (number | bigint)[];

/** Situation, error, arguments. */
export type Refusal = [situation: string, error: SbiError, args: Arguments];

/** Each row is a test: from state `from`, the call is refused with exactly that error, and nothing has changed. */
export function refusals(host: () => CoveHost, from: string, name: CovhName, rows: Refusal[]): void {
  for (const [situation, error, args] of rows) {
    test(`${name}: ${situation}: ${error}`, () => {
      host().restore(from);
      host().refuses(error, name, ...args(host()));
    });
  }
}
