import { MiB, RAM_BASE } from "../../machine/simulated/machine-options.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";

/** The machines that runs take place on: small RAM, so that looking at all of it is cheap, and everything optional present and absent. */
const RAM = 16 * MiB;
const HOST_IMAGE = { base: RAM_BASE + 8 * MiB, bytes: new TextEncoder().encode("simulated host") };

const common: Partial<MachineOptions> = { ram: [{ base: RAM_BASE, size: RAM }], hostImage: HOST_IMAGE };

export const MACHINES: Record<string, Partial<MachineOptions>> = {
  "two harts": { ...common, harts: [0, 1], counters: 4 },
  "one hart": { ...common, harts: [0] },
  "four harts": { ...common, harts: [0, 1, 2, 3], guestFiles: 1, counters: 4 },
  "no VMID": { ...common, harts: [0, 1], vmidBits: 0, counters: 2 },
  "one bit of VMID, no vectors": { ...common, harts: [0, 1], vmidBits: 1, vlenb: 0, zicboz: 0 },
  "no Sstc, no IMSIC": { ...common, harts: [0, 1, 2], sstc: false, guestFiles: undefined, smstateen: false },
  "Sv39 only, TLBs keep invalid entries": {
    ...common,
    harts: [0, 1],
    gStageModes: ["sv39"],
    stageOneModes: ["sv39"],
    cacheInvalid: true,
    transformedInstruction: false,
  },
  "Sv57, long vectors": {
    ...common,
    harts: [0, 1],
    counters: 1,
    gStageModes: ["sv39", "sv48", "sv57"],
    vlenb: 128,
    svadu: true,
  },
};
