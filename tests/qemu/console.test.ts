import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { buildArtifacts } from "../../tools/artifacts.ts";
import { GUEST_OFFSET } from "../../tools/image/host-image.ts";
import { repository } from "../../tools/repository.ts";
import { buildControlledHost, checksumOfBytes, command, flavour, hostReady } from "./support/controlled-host.ts";
import { LiveMachine } from "./support/live-machine.ts";
import { withTemporaryFolder } from "./support/workshop.ts";

/** What comes out of the machine: bytes of the console, and how it ends. */

const SBI_NOT_SUPPORTED = -2;
const SBI_INVALID_PARAM = -3;

const boot = await buildControlledHost();

async function withHost(work: (machine: LiveMachine, facts: Map<string, string>) => Promise<void>): Promise<void> {
  await LiveMachine.use({ boot }, async (machine) => work(machine, await hostReady(machine)));
}

describe("the debug console", () => {
  test("writes any byte, from a buffer across pages", async () => {
    await withHost(async (machine) => {
      const count = 10_000;
      const expected = Buffer.from(Array.from({ length: count }, (_, index) => index & 0xff)).toString("latin1");
      command(machine, "write", count);
      await machine.line(/^host: all written$/);
      assert(machine.received.includes(expected), "the bytes came out changed");
    });
  });

  test("reads any byte, into a buffer across pages", async () => {
    await withHost(async (machine) => {
      const bytes = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, index) => index)), randomBytes(6000)]);
      command(machine, "read", bytes.length);
      await machine.line(/^host: reading$/);
      machine.type(bytes.toString("latin1"));
      const [, sum] = await machine.line(/^host: read (\S+)$/);
      assert.equal(sum, checksumOfBytes(bytes));
    });
  });

  test("takes what of a buffer is the host's, and refuses the rest", async () => {
    await withHost(async (machine, facts) => {
      const [start, size] = facts.get("memory")!.split(" ").map(Number);
      const result = async (name: string, address: number | bigint, bytes: number): Promise<number> => {
        command(machine, `${name}-at`, address, bytes);
        const [, value] = await machine.line(name === "write" ? /host: wrote (-?\d+)$/ : /^host: read (-?\d+)$/);
        return Number(value);
      };
      for (const name of ["write", "read"]) {
        assert.equal(await result(name, start + size, 1), SBI_INVALID_PARAM, "after RAM");
        assert.equal(await result(name, 0x1000_0000, 1), SBI_INVALID_PARAM, "a device");
        assert.equal(await result(name, (1n << 64n) - 8n, 16), SBI_INVALID_PARAM, "an address that wraps around");
        assert.equal(await result(name, start + size, 0), 0, "no bytes");
      }
      assert.equal(await result("write", start + size - 5, 10), 5, "the last bytes of RAM");
    });
  });
});

describe("system reset", () => {
  for (const [name, type, reason, status] of [
    ["a shutdown", 0, 0, 0],
    ["a shutdown for a failure", 0, 1, 1],
  ] as const) {
    test(`${name} ends with status ${status}`, async () => {
      await withHost(async (machine) => {
        command(machine, "reset", type, reason);
        assert.deepEqual(await machine.exit(), { code: status, signal: null });
      });
    });
  }

  test("reboots start the same hypervisor and host again", async () => {
    await LiveMachine.use({ boot, whenReset: "reset" }, async (machine) => {
      const first = await hostReady(machine);
      for (const type of [1, 2]) {
        command(machine, "reset", type, 0);
        assert.deepEqual(await hostReady(machine), first);
      }
    });
  });

  test("reserved types and reasons are refused", async () => {
    await withHost(async (machine) => {
      for (const [type, reason, expected] of [
        [3, 0, SBI_INVALID_PARAM],
        [0, 2, SBI_INVALID_PARAM],
        [0xf000_0000, 0, SBI_NOT_SUPPORTED],
        [0, 0xe000_0000, SBI_NOT_SUPPORTED],
        [2 ** 32, 0, SBI_INVALID_PARAM],
      ]) {
        command(machine, "reset", type, reason);
        const [, result] = await machine.line(/^host: reset (-?\d+)$/);
        assert.equal(Number(result), expected, `type ${type}, reason ${reason}`);
      }
    });
  });
});

/** li a7, SRST; li a6, 0; li a0, 0 (shutdown); li a1, 1 (system failure); ecall; j . */
const FAILING_GUEST = [0x535258b7, 0x3548889b, 0x00000813, 0x00000513, 0x00100593, 0x00000073, 0x0000006f];

test("salus run fails if the host's tests do", async () => {
  const { hostImage } = await buildArtifacts({ flavour, log: () => {} });
  await withTemporaryFolder(async (folder) => {
    const image = readFileSync(hostImage);
    Buffer.from(Uint32Array.from(FAILING_GUEST).buffer).copy(image, GUEST_OFFSET);
    const file = path.join(folder, "image");
    writeFileSync(file, image);
    const { code, output } = await salus("run", "tellus", "--plain", "--guest-image", file);
    assert.match(output, /^FAIL: /m);
    assert.match(output, /[1-9]\d* failed/);
    assert.doesNotMatch(output, /All OK$/m);
    assert.equal(code, 1);
  });
});

/** Runs the command line; its output is both streams'. */
function salus(...args: string[]): Promise<{ code: number; output: string }> {
  const cli = path.join(repository, "bin", "salus.js");
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}
