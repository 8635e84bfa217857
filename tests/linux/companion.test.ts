import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, readSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { buildWorkload } from "../../tools/build/index.ts";
import { packHostImageFile } from "../../tools/image/host-image.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import { flavour } from "../qemu/support/controlled-host.ts";
import { logIn, shell } from "../qemu/support/linux-shell.ts";
import { LiveMachine } from "../qemu/support/live-machine.ts";
import { memoryReader, READ_BYTES } from "../qemu/support/memory-reader.ts";
import { withTemporaryFolder } from "../qemu/support/workshop.ts";

/**
 * A stock Linux beside TVMs: workloads/companion keeps one hart, on which TVMs are made, run and destroyed and calls without any sense are made all the time, and starts
 * Debian's kernel on the others. That copies a disk, and touches a page that was converted.
 *
 * SALUS_COPY_MIB in the environment: how much is copied (1024 for a gigabyte).
 */

const COPY_MIB = Number(process.env["SALUS_COPY_MIB"] ?? 128);
const MIB = 1024 * 1024;
/** What one command of the shell copies. */
const PIECE_MIB = 64;
/** Status of a program that a segmentation fault ended. */
const SIGSEGV = 128 + 11;
/** Words of the companion's status (workloads/companion/status.ts). */
const STATUS = ["magic", "lives", "exits", "ecalls", "successes", "failures"] as const;
const STATUS_MAGIC = 0x6e6f_6961_706d_6f63n;

test(`${COPY_MIB} MiB are copied while TVMs come and go; a converted page is a fault`, async (t) => {
  await withTemporaryFolder(async (folder) => {
    const boot = await linuxBoot({ append: "iomem=relaxed" }, () => {});
    boot.hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });
    const companion = await buildWorkload("companion", { flavour, log: () => {} });
    const image = path.join(folder, "image");
    packHostImageFile(companion.bin, boot.hostImage!.file, image);
    boot.hostImage = { file: image, bytes: statSync(image).size };
    const disk = path.join(folder, "disk");
    const checksum = fillDisk(disk);
    boot.disks = [{ file: disk, format: "raw" }];
    await LiveMachine.use({ boot, machine: { harts: 3, memoryMiB: 2048, iommu: true } }, async (live) => {
      const [, , status, converted] = await live.line(
        /^companion: hart (\d+), status (0x[0-9a-f]+), converted (0x[0-9a-f]+)/,
      );
      await logIn(live);
      assert.equal(await shell(live, "nproc"), "2");
      await putProgram(live, "/tmp/status", memoryReader(BigInt(status)));
      await putProgram(live, "/tmp/converted", memoryReader(BigInt(converted)));
      const before = await readStatus(live);

      for (let at = 0; at < COPY_MIB; at += PIECE_MIB) {
        const count = Math.min(PIECE_MIB, COPY_MIB - at);
        const copy = `dd if=/dev/vda of=/dev/vda bs=1M count=${count} skip=${at} seek=${COPY_MIB + at} conv=notrunc`;
        await shell(live, `${copy} 2>/dev/null && sync && echo 3 >/proc/sys/vm/drop_caches`);
        // What Linux reads back, in the first piece: all of it is compared below.
        if (at > 0) continue;
        const sums = await shell(live, [at, COPY_MIB + at].map((skip) => checksumOf(skip, count)).join("; "));
        const [original, copied] = sums.split("\n");
        assert.equal(copied, original);
      }

      for (let turn = 0; turn < 2; turn++) {
        const signal = Number(await shell(live, "/tmp/converted >/dev/null 2>&1; echo ended $?").then(lastNumber));
        assert.equal(signal, SIGSEGV, "status of the reader of a converted page");
      }
      const after = await readStatus(live);
      assert.equal(after.failures, 0);
      assert(after.lives > before.lives + 10, `${after.lives - before.lives} TVMs`);
      assert(after.ecalls > before.ecalls && after.successes > before.successes);
      assert.doesNotMatch(live.received, /FAIL|salus: (panic|IOMMU: blocked)/);
      assert.doesNotMatch(await shell(live, "dmesg"), /BUG|WARNING:|Oops|Call Trace/);
      t.diagnostic(
        `${COPY_MIB} MiB copied beside ${after.lives - before.lives} TVMs with ${after.exits - before.exits} exits ` +
          `and ${after.ecalls - before.ecalls} random calls, of which ${after.successes - before.successes} succeeded`,
      );
      live.type("poweroff\n");
      assert.deepEqual(await live.exit(), { code: 0, signal: null });
    });
    assert.equal(checksumOfFile(disk, COPY_MIB), checksum);
  });
});

/** A disk whose first half is random. Returns the checksum of that half. */
function fillDisk(file: string): string {
  const hash = createHash("sha256");
  writeFileSync(file, "");
  for (let at = 0; at < COPY_MIB; at += PIECE_MIB) {
    const piece = randomBytes(Math.min(PIECE_MIB, COPY_MIB - at) * MIB);
    hash.update(piece);
    writeFileSync(file, piece, { flag: "a" });
  }
  truncateSync(file, 2 * COPY_MIB * MIB);
  return hash.digest("hex");
}

/** SHA-256 of the half of the disk that begins at `fromMiB`. */
function checksumOfFile(file: string, fromMiB: number): string {
  const hash = createHash("sha256");
  const descriptor = openSync(file, "r");
  const buffer = Buffer.alloc(MIB);
  for (let at = 0; at < COPY_MIB; at++) {
    readSync(descriptor, buffer, 0, MIB, (fromMiB + at) * MIB);
    hash.update(buffer);
  }
  closeSync(descriptor);
  return hash.digest("hex");
}

function checksumOf(skip: number, count: number): string {
  return `dd if=/dev/vda bs=1M skip=${skip} count=${count} 2>/dev/null | sha256sum`;
}

/** Makes an executable file of the bytes, through the shell. */
async function putProgram(live: LiveMachine, file: string, bytes: Buffer): Promise<void> {
  const PIECE = 120;
  for (let at = 0; at < bytes.length; at += PIECE) {
    const escaped = [...bytes.subarray(at, at + PIECE)]
      .map((byte) => `\\${byte.toString(8).padStart(3, "0")}`)
      .join("");
    await shell(live, `printf '${escaped}' ${at === 0 ? ">" : ">>"}${file}`);
  }
  await shell(live, `chmod +x ${file}`);
}

async function readStatus(live: LiveMachine): Promise<Record<(typeof STATUS)[number], number>> {
  const text = await shell(live, "/tmp/status | hexdump -v -e '1/1 \"%02x\"'");
  const bytes = Buffer.from(/[0-9a-f]{96}/.exec(text)?.[0] ?? "", "hex");
  assert.equal(bytes.length, READ_BYTES, text);
  assert.equal(bytes.readBigUInt64LE(0), STATUS_MAGIC);
  const words = STATUS.map((name, index) => [name, Number(bytes.readBigUInt64LE(8 * index))]);
  return Object.fromEntries(words) as Record<(typeof STATUS)[number], number>;
}

function lastNumber(text: string): string {
  return /ended (\d+)/.exec(text)?.[1] ?? text;
}
