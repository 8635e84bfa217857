import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MiB, RAM_BASE, type MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { MACHINES } from "../../fuzz/machines.ts";

/** What the hypervisor says while it boots, whole: people and tools read it. Dots are what depends on the size of our own code and of the host's tree. */

/** Lines with such sizes. */
const OPEN = /code, r-x|constants, r--|own data|own records|device tree|in use/;

async function log(options: Partial<MachineOptions>): Promise<string[]> {
  const machine = await Machine.create({ options });
  machine.boot();
  const lines = machine.console.trimEnd().split("\r\n");
  return lines.map((line) => {
    if (!OPEN.test(line)) return line;
    const begin = line.replace(/0x8[01]\w{6} - 0x\w{8}/, "0x........ - 0x........");
    return begin.replace(/(, |\()\d+ (B|KiB)/, "$1... $2");
  });
}

/** What the firmware and we have of any machine's RAM. */
const OURS = [
  "salus:   0x80000000 - 0x8007ffff      reserved, not mapped, 512 KiB",
  "salus:   0x........ - 0x........      code, r-x, ... KiB",
  "salus:   0x........ - 0x........      constants, r--, ... KiB",
  "salus:   0x........ - 0x........      own data, rw-, ... KiB",
  "salus:   0x........ - 0x........      own records and tables, rw-, ... KiB",
];
/** The end of the log of a machine with 16 MiB. */
const HOST_OF_16_MIB = [
  "salus:   0x80000000 - 0x80bfffff    RAM, 12 MiB",
  "salus:   0x80200000 - 0x8020000d      kernel, loaded at 0x80800000",
  "salus:   0x........ - 0x........      device tree, ... B",
  "salus: 2 MiB of 16 MiB kept (... KiB in use), 12 MiB for the host",
  "PASS: Salus Boot 0",
];

describe("the boot's log", () => {
  test("memory above 4 GiB, sparse harts, arguments for the host", async () => {
    const ram = [
      { base: RAM_BASE, size: 32 * MiB },
      { base: 0x1_4000_0000, size: 16 * MiB },
    ];
    const lines = await log({ ram, harts: [4, 12], bootArguments: "console=hvc0 quiet", vlenb: 32, vmidBits: 0 });
    assert.deepEqual(lines, [
      "salus: Salus, a RISC-V micro hypervisor in TypeScript",
      "TEST: Salus Boot 4",
      "salus: no DICE handover: evidence comes from the development root and proves nothing",
      "salus: measured features 0x8305bf",
      "salus: 2 harts (ids 4 12), booting on hart 4, time in steps of 1/10 us",
      "salus: extensions h f d v sv39 sv48 sstc ssaia ssstateen zicbom zicboz zicntr (vectors of 256 bits)",
      "salus: memory of the machine",
      "salus:   0x80000000 - 0x81ffffff    RAM, 32 MiB",
      "salus:   0x140000000 - 0x140ffffff  RAM, 16 MiB",
      ...OURS,
      "salus: own map Sv39, host in Sv39x4, TVMs in Sv48x4, 0 bits of VMID",
      "salus: console: ns16550a at 0x10000000",
      "salus: interrupts: IMSIC at 0x28000000, guest files per hart: 3",
      "TEST: secondary init 12",
      "PASS: secondary init 12",
      "salus: harts up: 2",
      "salus: memory of the host, by its own addresses",
      "salus:   0x80000000 - 0x81bfffff    RAM, 28 MiB",
      "salus:   0x140000000 - 0x140ffffff  RAM, 16 MiB",
      "salus:   0x80200000 - 0x8020000d      kernel, loaded at 0x80800000",
      "salus:   0x........ - 0x........      device tree, ... B",
      "salus: host arguments: console=hvc0 quiet",
      "salus: 2 MiB of 48 MiB kept (... KiB in use), 44 MiB for the host",
      "PASS: Salus Boot 4",
    ]);
  });

  test("more harts than it names", async () => {
    const lines = await log({ harts: Array.from({ length: 18 }, (_, index) => index), guestFiles: 1 });
    const named = Array.from({ length: 16 }, (_, index) => index).join(" ");
    assert.equal(lines[4], `salus: 18 harts (ids ${named} ...), booting on hart 0, time in steps of 1/10 us`);
    assert(lines.includes("salus: harts up: 18"));
  });

  test("a G-stage of four levels or none", async () => {
    const lines = await log({ ...MACHINES["PCI behind an IOMMU"], gStageModes: ["sv48"] });
    assert(lines.includes("salus: own map Sv39, host in Sv48x4, TVMs in Sv48x4, 7 bits of VMID"), lines.join("\n"));
    assert(lines.includes("PASS: Salus Boot 0"));
  });

  test("PCI, an IOMMU that is a function of it, a function that is hidden", async () => {
    const lines = await log(MACHINES["PCI behind an IOMMU"]);
    assert.deepEqual(lines, [
      "salus: Salus, a RISC-V micro hypervisor in TypeScript",
      "TEST: Salus Boot 0",
      "salus: no DICE handover: evidence comes from the development root and proves nothing",
      "salus: measured features 0x8305bf",
      "salus: 2 harts (ids 0 1), booting on hart 0, time in steps of 1/10 us",
      "salus: extensions h f d v sv39 sv48 sstc ssaia ssstateen zicbom zicboz zicntr (vectors of 128 bits)",
      "salus: memory of the machine",
      "salus:   0x80000000 - 0x80ffffff    RAM, 16 MiB",
      ...OURS,
      "salus: IOMMU (PCI 0:0x0:0x1.0) at 0x4ffff000, levels of the device directory: 2 (extended), devices of the host: 10",
      "salus: own map Sv39, host in Sv39x4, TVMs in Sv48x4, 7 bits of VMID",
      "salus: console: ns16550a at 0x10000000",
      "salus: interrupts: IMSIC at 0x28000000, guest files per hart: 3",
      "salus: PCI segment 0 at 0x30000000, functions: 11, buses: 4",
      "salus:   0:0x0:0x5.0 is hidden from the host: its registers make no sense (1)",
      "TEST: secondary init 1",
      "PASS: secondary init 1",
      "salus: harts up: 2",
      "salus: memory of the host, by its own addresses",
      ...HOST_OF_16_MIB,
    ]);
  });

  test("no IMSIC, no timer of guests, Sv57", async () => {
    const lines = await log({ ...MACHINES["no Sstc, no IMSIC"], gStageModes: ["sv39", "sv48", "sv57"] });
    assert.deepEqual(lines, [
      "salus: Salus, a RISC-V micro hypervisor in TypeScript",
      "TEST: Salus Boot 0",
      "salus: no DICE handover: evidence comes from the development root and proves nothing",
      "salus: measured features 0x83003f",
      "salus: 3 harts (ids 0 1 2), booting on hart 0, time in steps of 1/10 us",
      "salus: extensions h f d v sv39 sv48 zicbom zicboz zicntr (vectors of 128 bits)",
      "salus: memory of the machine",
      "salus:   0x80000000 - 0x80ffffff    RAM, 16 MiB",
      ...OURS,
      "salus: own map Sv39, host in Sv39x4, TVMs in Sv48x4, 7 bits of VMID",
      "salus: console: ns16550a at 0x10000000",
      "salus: interrupts: no IMSIC; firmware IPIs",
      "TEST: secondary init 1",
      "PASS: secondary init 1",
      "TEST: secondary init 2",
      "PASS: secondary init 2",
      "salus: harts up: 3",
      "salus: memory of the host, by its own addresses",
      ...HOST_OF_16_MIB,
    ]);
  });
});
