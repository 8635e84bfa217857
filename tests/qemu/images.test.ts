import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { GUEST_OFFSET } from "../../tools/image/host-image.ts";
import { MIB } from "../../tools/qemu/machine.ts";
import { buildControlledHost, checksumOfWords, command, hostReady, padImage } from "./support/controlled-host.ts";
import { LiveMachine } from "./support/live-machine.ts";
import { withTemporaryFolder } from "./support/workshop.ts";

/** Host images and initial RAM disks, wherever QEMU's loader was told to put them. */

/** Where every host finds its kernel. */
const HOST_KERNEL = 0x8020_0000;
/** What is behind this in a composite image is not used by the host. */
const UNUSED_OFFSET = GUEST_OFFSET + MIB;

const { hypervisor, hostImage } = await buildControlledHost();

interface Placement {
  memoryMiB: number;
  kernel: { file: string; address: number };
  initrd?: { file: string; address: number };
}

async function withImages(placement: Placement, work: (machine: LiveMachine) => Promise<void>): Promise<void> {
  const { memoryMiB, kernel, initrd } = placement;
  const loader = (kind: string, { file, address }: { file: string; address: number }): string[] => [
    "-device",
    `guest-loader,addr=0x${address.toString(16)},${kind}=${file}`,
  ];
  const extraArguments = [...loader("kernel", kernel), ...(initrd ? loader("initrd", initrd) : [])];
  await LiveMachine.use({ boot: { hypervisor }, machine: { memoryMiB, extraArguments } }, work);
}

/** Checks memory of the host against what should be there. */
async function assertContent(machine: LiveMachine, address: number, content: Uint8Array): Promise<void> {
  command(machine, "sum", address, content.length);
  const [, sum] = await machine.line(/^host: sum (\S+)$/);
  assert.equal(sum, checksumOfWords(content));
}

/** Numbers of a fact that the host prints. */
function numbers(fact: string | undefined): number[] {
  assert(fact !== undefined, "the host does not say it");
  return fact.split(" ").map(Number);
}

for (const [name, memoryMiB, address] of [
  ["right behind the hypervisor", 256, 0x8040_0000],
  ["in low memory", 256, 0x8420_0000],
  ["at a page that is not 2 MiB aligned", 256, 0x8b00_1000],
  ["at such a page above 256 MiB", 512, 0x9000_1000],
  ["in the hypervisor's own 2 MiB", 256, 0x8030_0000],
] as const) {
  test(`a composite image ${name}`, async () => {
    await withTemporaryFolder(async (folder) => {
      const file = path.join(folder, "image");
      const padding = randomBytes(5 * MIB);
      const begin = padImage(hostImage.file, padding, file);
      await withImages({ memoryMiB, kernel: { file, address } }, async (machine) => {
        const facts = await hostReady(machine);
        assert.equal(Number(facts.get("image")), HOST_KERNEL);
        await assertContent(machine, HOST_KERNEL + UNUSED_OFFSET, padding.subarray(UNUSED_OFFSET - begin));
      });
    });
  });
}

test("a composite image of 16 MiB", async () => {
  await withTemporaryFolder(async (folder) => {
    const file = path.join(folder, "image");
    const padding = randomBytes(16 * MIB - hostImage.bytes);
    const begin = padImage(hostImage.file, padding, file);
    await withImages({ memoryMiB: 256, kernel: { file, address: 0x8420_0000 } }, async (machine) => {
      await hostReady(machine);
      await assertContent(machine, HOST_KERNEL + UNUSED_OFFSET, padding.subarray(UNUSED_OFFSET - begin));
    });
  });
});

for (const [name, address, bytes] of [
  ["far from the kernel", 0x8a00_0000, 3 * MIB],
  ["at any page", 0x8a12_3000, 3 * MIB],
  ["from the 2 MiB on where the kernel ends", 0x8458_0000, 3 * MIB],
  ["in the 2 MiB before the kernel", 0x8410_0000, MIB / 2],
  ["where the host has its kernel", 0x8030_0000, MIB / 2],
] as const) {
  test(`an initial RAM disk ${name}`, async () => {
    await withTemporaryFolder(async (folder) => {
      const file = path.join(folder, "initrd");
      // No whole number of pages.
      const content = randomBytes(bytes + 4);
      writeFileSync(file, content);
      const kernel = { file: path.join(folder, "image"), address: 0x8420_0000 };
      const kernelBytes = 3 * MIB;
      padImage(hostImage.file, new Uint8Array(kernelBytes - hostImage.bytes), kernel.file);
      await withImages({ memoryMiB: 256, kernel, initrd: { file, address } }, async (machine) => {
        const facts = await hostReady(machine);
        const [start, size] = numbers(facts.get("initrd"));
        const [ram, ramSize] = numbers(facts.get("memory"));
        assert.equal(size, content.length);
        assert(start >= ram && start + size <= ram + ramSize, `0x${start.toString(16)} is not RAM of the host`);
        assert(start >= HOST_KERNEL + kernelBytes || start + size <= HOST_KERNEL, "it lies in the kernel");
        await assertContent(machine, start, content);
      });
    });
  });
}

test("boot arguments of the host's module", async () => {
  const text = "console=hvc0 quiet  with=comma,and\\backslash";
  const device = `guest-loader,addr=0x84200000,kernel=${hostImage.file},bootargs=${text.replaceAll(",", ",,")}`;
  const machine = { extraArguments: ["-device", device, "-append", "for the hypervisor"] };
  await LiveMachine.use({ boot: { hypervisor }, machine }, async (running) => {
    assert.equal((await hostReady(running)).get("arguments"), text);
  });
});
