import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import path from "node:path";
import { locateQemu } from "../../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, qemuArguments, type Boot, type Machine } from "../../../tools/qemu/machine.ts";
import { lastLines } from "../../../tools/qemu/protocol.ts";
import { startQemu } from "../../../tools/qemu/runner.ts";
import { Door } from "./door.ts";
import { Gdb } from "./gdb.ts";
import { inTime, PATIENCE_SECONDS } from "./patience.ts";
import { Qmp } from "./qmp.ts";
import { withTemporaryFolder } from "./workshop.ts";

/** First address of RAM. */
export const RAM_BASE = 0x8000_0000;

/** A QEMU that a test talks to while it runs: its serial port, its control channel and, if wanted, its gdb server. */

export interface LiveOptions {
  machine?: Partial<Machine>;
  boot: Boot;
  /** Starts the gdb server; no hart runs before `gdb` resumes them. */
  gdb?: boolean;
  /** What QEMU does when the machine is reset or shut down, in place of ending. */
  whenReset?: "reset";
  whenShutDown?: "pause";
  /** How long it may say nothing that is waited for. */
  patienceSeconds?: number;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class LiveMachine {
  /** For files of the test. Removed at the end. */
  readonly folder: string;
  /** Complete lines of the serial port so far. */
  readonly lines: string[] = [];
  /** Everything of the serial port so far, byte by byte (latin1). */
  received = "";
  readonly qmp: Qmp;
  readonly #gdb: Gdb | undefined;
  readonly #patienceSeconds: number;
  readonly #serial: Socket;
  /** After the last byte of the serial port. */
  readonly #exit: Promise<Exit>;
  readonly #messages: string[];
  /** Lines before this index were waited for. */
  #seen = 0;
  /** Text before this index was waited for by `prompt`. */
  #prompted = 0;
  #wake: (() => void) | undefined;

  private constructor(
    folder: string,
    sockets: Sockets,
    qmp: Qmp,
    exit: Promise<Exit>,
    messages: string[],
    patienceSeconds: number,
  ) {
    this.folder = folder;
    this.#patienceSeconds = patienceSeconds;
    this.qmp = qmp;
    this.#gdb = sockets.gdb && new Gdb(sockets.gdb);
    this.#messages = messages;
    this.#serial = sockets.serial;
    const drained = new Promise((resolve) => this.#serial.once("close", resolve));
    this.#exit = exit.then(async (status) => {
      await drained;
      return status;
    });
    this.#exit.catch(() => {});
    this.#serial.setEncoding("latin1").on("data", (text: string) => this.#receive(text));
  }

  /** Starts a machine, runs `work` on it, and ends it, however `work` ends. */
  static async use<T>(options: LiveOptions, work: (machine: LiveMachine) => Promise<T>): Promise<T> {
    return withTemporaryFolder(async (folder) => {
      const doors: Door[] = [];
      let child: ChildProcess | undefined;
      let exit: Promise<Exit> | undefined;
      try {
        const open = async (name: string): Promise<Door> => {
          const door = await Door.listen(path.join(folder, name));
          doors.push(door);
          return door;
        };
        const serial = await open("serial");
        const qmp = await open("qmp");
        const gdb = options.gdb ? await open("gdb") : undefined;
        child = startQemu(qemu(), liveArguments(options, serial, qmp, gdb), ["ignore", "ignore", "pipe"]);
        const messages: string[] = [];
        child.stderr!.setEncoding("utf8").on("data", (text: string) => messages.push(...text.trimEnd().split("\n")));
        exit = exitOf(child);
        const gone = exit.then(({ code }): never => {
          throw new Error(`QEMU ended with status ${code}: ${messages.join("\n")}`);
        });
        gone.catch(() => {});
        const sockets: Sockets = {
          serial: await Promise.race([serial.socket, gone]),
          gdb: gdb && (await Promise.race([gdb.socket, gone])),
        };
        const control = await Qmp.connect(await Promise.race([qmp.socket, gone]));
        const machine = new LiveMachine(
          folder,
          sockets,
          control,
          exit,
          messages,
          options.patienceSeconds ?? PATIENCE_SECONDS,
        );
        return await machine.#explaining(work);
      } finally {
        child?.kill("SIGKILL");
        await exit?.catch(() => {});
        for (const door of doors) door.close();
      }
    });
  }

  /** A failure of `work` says what the machine said last. */
  async #explaining<T>(work: (machine: LiveMachine) => Promise<T>): Promise<T> {
    try {
      return await work(this);
    } catch (error) {
      if (error instanceof Error) {
        const exit = await Promise.race([
          this.#exit.catch(() => undefined),
          new Promise<void>((resolve) => setTimeout(resolve, 100)),
        ]);
        if (exit) error.message += `\nQEMU ended with status ${exit.code}, signal ${exit.signal}`;
        error.message += `\nThe last lines:\n${lastLines([...this.lines, ...this.#messages])}`;
      }
      throw error;
    }
  }

  get gdb(): Gdb {
    assert(this.#gdb, "the machine was started without its gdb server");
    return this.#gdb;
  }

  /** Stops all harts. */
  async pause(): Promise<void> {
    if (this.#gdb) await this.#gdb.interrupt();
    else await this.qmp.execute("stop");
  }

  /** Lets all harts run, the first time or after `pause`. */
  async resume(): Promise<void> {
    if (this.#gdb) this.#gdb.resume();
    else await this.qmp.execute("cont");
  }

  #receive(text: string): void {
    const rest = this.received.slice(this.received.lastIndexOf("\n") + 1);
    this.received += text;
    const lines = (rest + text).split("\n");
    lines.pop();
    for (const line of lines) this.lines.push(line.replace(/\r+$/, ""));
    this.#wake?.();
  }

  /** Types text, or bytes as latin1. */
  type(text: string): void {
    this.#serial.write(text, "latin1");
  }

  /** Waits for the next line that matches. Fails if QEMU ends before. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    let ended = false;
    const end = this.#exit.then(() => (ended = true));
    for (;;) {
      const last: boolean = ended;
      while (this.#seen < this.lines.length) {
        const match = pattern.exec(this.lines[this.#seen++]);
        if (match) return match;
      }
      assert(!last, `QEMU ended without a line like ${pattern}`);
      const more = new Promise<void>((resolve) => (this.#wake = resolve));
      await inTime(Promise.race([more, end]), () => `no line like ${pattern}`, this.#patienceSeconds);
    }
  }

  /** Waits for text that need not end a line, as a prompt, after the last one that was waited for. */
  async prompt(text: string): Promise<void> {
    let ended = false;
    const end = this.#exit.then(() => (ended = true));
    for (;;) {
      const last: boolean = ended;
      const at = this.received.indexOf(text, this.#prompted);
      if (at >= 0) {
        this.#prompted = at + text.length;
        return;
      }
      assert(!last, `QEMU ended without "${text}"`);
      const more = new Promise<void>((resolve) => (this.#wake = resolve));
      await inTime(Promise.race([more, end]), () => `no "${text}"`, this.#patienceSeconds);
    }
  }

  /** Waits until QEMU ends by itself. */
  async exit(): Promise<Exit> {
    return inTime(this.#exit, () => "QEMU does not end", this.#patienceSeconds);
  }
}

interface Sockets {
  serial: Socket;
  gdb: Socket | undefined;
}

function qemu(): string {
  const found = locateQemu(process.env["QEMU"]);
  assert(found !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
  return found;
}

function liveArguments(options: LiveOptions, serial: Door, qmp: Door, gdb: Door | undefined): string[] {
  const machine = { ...DEFAULT_MACHINE, memoryMiB: 256, iommu: false, ...options.machine };
  const args = qemuArguments(machine, options.boot);
  args.push("-monitor", "none");
  args.push("-chardev", `socket,id=serial,path=${serial.path}`, "-serial", "chardev:serial");
  args.push("-chardev", `socket,id=qmp,path=${qmp.path}`, "-qmp", "chardev:qmp");
  if (gdb) args.push("-chardev", `socket,id=gdb,path=${gdb.path}`, "-gdb", "chardev:gdb", "-S");
  const actions = [
    ...(options.whenReset ? [`reboot=${options.whenReset}`] : []),
    ...(options.whenShutDown ? [`shutdown=${options.whenShutDown}`] : []),
  ];
  if (actions.length > 0) args.push("-action", actions.join(","));
  return args;
}

function exitOf(child: ChildProcess): Promise<Exit> {
  const exit = new Promise<Exit>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  exit.catch(() => {});
  return exit;
}
