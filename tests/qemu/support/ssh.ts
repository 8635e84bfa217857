import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { sshKey, type SshKey } from "../../../tools/linux/ssh-key.ts";
import type { LiveMachine } from "./live-machine.ts";
import { inTime, OPERATING_SYSTEM_PATIENCE_SECONDS } from "./patience.ts";

/** Commands in a machine that was started with `sshPort: 0`, through the port that QEMU chose. */

const OPTIONS = [
  "BatchMode=yes",
  "StrictHostKeyChecking=no",
  "UserKnownHostsFile=/dev/null",
  "LogLevel=ERROR",
  `ConnectTimeout=${OPERATING_SYSTEM_PATIENCE_SECONDS}`,
].flatMap((option) => ["-o", option]);

export interface Answer {
  status: number | null;
  output: Buffer;
  errors: string;
}

export class Ssh {
  readonly #key: SshKey;
  readonly #port: string;

  private constructor(key: SshKey, port: string) {
    this.#key = key;
    this.#port = port;
  }

  static async to(machine: LiveMachine): Promise<Ssh> {
    const key = sshKey();
    assert(key, "ssh is missing; to install it, run: node bin/salus.js setup");
    // The line of the rule: protocol[state] descriptor, source address and port, destination, ...
    const network = await machine.qmp.monitor("info usernet");
    const rule = /TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)/.exec(network);
    assert(rule, `QEMU forwards no port: ${network}`);
    return new Ssh(key, rule[1]);
  }

  /** Runs a command, whatever comes of it. */
  async run(command: string, input: Buffer | string = ""): Promise<Answer> {
    const args = [...OPTIONS, "-i", this.#key.file, "-p", this.#port, "root@127.0.0.1", command];
    const child = spawn("ssh", args, { stdio: ["pipe", "pipe", "pipe"] });
    try {
      child.stdin.on("error", () => {});
      child.stdin.end(input);
      const output: Buffer[] = [];
      let errors = "";
      child.stdout.on("data", (bytes: Buffer) => output.push(bytes));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
      const closed = new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
      const status = await inTime(
        closed,
        () => `no answer to "${command}" over ssh`,
        OPERATING_SYSTEM_PATIENCE_SECONDS,
      );
      return { status, output: Buffer.concat(output), errors };
    } finally {
      child.kill("SIGKILL");
    }
  }

  /** What a command prints, which has to succeed. */
  async bytes(command: string, input: Buffer | string = ""): Promise<Buffer> {
    const { status, output, errors } = await this.run(command, input);
    assert.equal(status, 0, `"${command}" failed over ssh: ${output.toString()}${errors}`);
    return output;
  }

  /** The same as text, without blanks around it. */
  async text(command: string, input: Buffer | string = ""): Promise<string> {
    return (await this.bytes(command, input)).toString().trim();
  }
}
