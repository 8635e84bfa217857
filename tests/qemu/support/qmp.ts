import type { Socket } from "node:net";
import { inTime } from "./patience.ts";

/** QEMU's control channel (QMP): JSON objects, a line each. */

type Arguments = Record<string, unknown>;

interface Message {
  QMP?: unknown;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: Arguments;
}

export class Qmp {
  readonly #socket: Socket;
  readonly #answers: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  readonly #events: string[] = [];
  #eventWaiters: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Greets the QEMU at the other end. */
  static async connect(socket: Socket): Promise<Qmp> {
    const qmp = new Qmp(socket);
    let rest = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) if (line.trim() !== "") qmp.#receive(JSON.parse(line) as Message);
    });
    socket.on("close", () => {
      for (const { reject } of qmp.#answers.splice(0)) reject(new Error("QEMU is gone"));
    });
    await qmp.execute("qmp_capabilities");
    return qmp;
  }

  #receive(message: Message): void {
    if (message.event !== undefined) {
      this.#events.push(message.event);
      for (const wake of this.#eventWaiters.splice(0)) wake();
    } else if (message.error !== undefined) {
      this.#answers.shift()?.reject(new Error(`QEMU: ${message.error.desc}`));
    } else if ("return" in message) {
      this.#answers.shift()?.resolve(message.return);
    }
  }

  /** Executes one command and returns its answer. */
  execute(command: string, args: Arguments = {}): Promise<unknown> {
    const answer = new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
    this.#socket.write(JSON.stringify({ execute: command, arguments: args }) + "\n");
    return inTime(answer, () => `QEMU does not answer ${command}`);
  }

  /** Executes a command of the human monitor, for what QMP does not show. */
  async monitor(command: string): Promise<string> {
    return (await this.execute("human-monitor-command", { "command-line": command })) as string;
  }

  /** Waits for the next event of that name, those that came since the last wait for it included. */
  async event(name: string): Promise<void> {
    for (;;) {
      const index = this.#events.indexOf(name);
      if (index >= 0) {
        this.#events.splice(0, index + 1);
        return;
      }
      const more = new Promise<void>((resolve) => this.#eventWaiters.push(resolve));
      await inTime(more, () => `QEMU does not report ${name}`);
    }
  }

  /** How many harts run a VM at this moment (their V bit is set). */
  async hartsInVms(): Promise<number> {
    return (await this.monitor("info registers -a")).match(/^ V\s+=\s+1\s*$/gm)?.length ?? 0;
  }

  /** The run state: "running", "paused", "shutdown"... */
  async status(): Promise<string> {
    return ((await this.execute("query-status")) as { status: string }).status;
  }
}
