import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { DoorReplacement } from "../../../machine/simulated/door.ts";
import { exploreBindStates } from "../../explore/bind-states.ts";

/** Interrupt files of two vCPUs on three guest files and two harts: every state there is. */

const SECONDS = 120;

test("every sequence of binds, rebinds, unbinds, fences, interrupts and runs", async () => {
  const report = await exploreBindStates(SECONDS);
  assert(report.complete, `not all of it in ${SECONDS} s: ${JSON.stringify(report)}`);
  assert(report.states > 4000 && report.depth > 12, JSON.stringify(report));
  assert(report.refused > report.transitions / 2);
});

describe("the check bites", () => {
  const EIP0 = 0x80n;
  const csrRead = (door: Record<string, unknown>) => door["csrRead"] as (csr: number) => bigint;

  test("a save that forgets what is pending", async () => {
    const door: DoorReplacement = (usual) => ({
      csrRead: (csr: number) =>
        csr === Csr.vsireg && csrRead(usual)(Csr.vsiselect) === EIP0 ? 0n : csrRead(usual)(csr),
    });
    await assert.rejects(
      exploreBindStates(SECONDS, door),
      /pending interrupts of vCPU 0[^]*unbindImsicEnd|rebindImsicClone/,
    );
  });

  test("a restore that forgets them", async () => {
    const door: DoorReplacement = (usual) => ({
      csrSet: (csr: number, mask: bigint) => {
        if (csr !== Csr.vsireg) (usual["csrSet"] as (csr: number, mask: bigint) => void)(csr, mask);
      },
    });
    await assert.rejects(
      exploreBindStates(SECONDS, door),
      /pending interrupts of vCPU 0[^]*"do":"(bind|rebindImsicEnd)"/,
    );
  });
});
