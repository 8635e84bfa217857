import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RaceWorld, SCENES } from "../../races/world.ts";
import type { SceneName } from "../../races/world.ts";

/**
 * Harts that are in the hypervisor together, with whatever hypervisor the process loads: so that what only another hart in between leads to is measured by
 * `salus coverage`, and faults of it are noticed by `salus mutants`. tests/unit/races plays the same with the checked flavour.
 */

const SEEDS: Record<SceneName, number> = { pages: 60, files: 40, devices: 15, parked: 10 };

describe("harts that race", () => {
  for (const scene of Object.keys(SCENES) as SceneName[]) {
    test(`${scene}, ${SEEDS[scene]} seeds`, async () => {
      const world = await RaceWorld.boot({ scene, harts: 3 });
      for (let seed = 1; seed <= SEEDS[scene]; seed++) {
        const { together } = await world.play(seed);
        assert(together > 0);
      }
    });
  }
});
