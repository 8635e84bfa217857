import assert from "node:assert/strict";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import type { Boot, Machine } from "../../tools/qemu/machine.ts";
import { flavour } from "../qemu/support/controlled-host.ts";
import { logIn, shell } from "../qemu/support/linux-shell.ts";
import { LiveMachine } from "../qemu/support/live-machine.ts";
import { OPERATING_SYSTEM_PATIENCE_SECONDS as patienceSeconds } from "../qemu/support/patience.ts";
import { Ssh } from "../qemu/support/ssh.ts";

/** Debian's stable kernel on machines of all sizes: somebody logs in on the console and, where there is an IOMMU, over ssh. Two harts with the PCI IOMMU are in tests/qemu/linux.test.ts. */

const PCI: Partial<Machine> = { iommu: true };
const PLATFORM: Partial<Machine> = { iommu: false, extraArguments: ["-M", "iommu-sys=on"] };

const boot = await linuxBoot({}, () => {});
boot.hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });

for (const [name, harts, iommu] of [
  ["1 hart, PCI IOMMU", 1, PCI],
  ["2 harts, platform IOMMU", 2, PLATFORM],
  ["4 harts, platform IOMMU", 4, PLATFORM],
  ["8 harts, PCI IOMMU", 8, PCI],
  ["4 harts, no IOMMU", 4, undefined],
] as const) {
  test(`${name}: logins and a power-off`, async () => {
    const network: Boot = iommu === undefined ? boot : { ...boot, sshPort: 0 };
    const machine = { harts, ...(iommu ?? { iommu: false }) };
    await LiveMachine.use({ boot: network, machine, patienceSeconds }, async (live) => {
      await logIn(live);
      assert.equal(await shell(live, "nproc"), String(harts));
      assert.equal(await shell(live, "tty"), "/dev/ttyS0");
      if (iommu !== undefined) assert.equal(await (await Ssh.to(live)).text("nproc"), String(harts));
      assert.doesNotMatch(await shell(live, "dmesg"), /BUG|WARNING:|Oops|Call Trace/);
      assert.doesNotMatch(live.received, /IOMMU: blocked/);
      live.type("poweroff\n");
      assert.deepEqual(await live.exit(), { code: 0, signal: null });
    });
  });
}
