import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { interfaceOf, readLog, writeRecording } from "../../machine/simulated/recording.ts";
import type { Recording } from "../../machine/simulated/recording.ts";
import { buildRecorder, type ArtifactOptions } from "../artifacts.ts";
import type { BuildResult } from "../build/index.ts";
import { HYPERVISOR, IMAGE_BASE } from "../build/modules.ts";
import { Failure } from "../failure.ts";
import { repository } from "../repository.ts";
import { MIB, RAM_BASE } from "./machine.ts";

/**
 * One run of the hypervisor that records. Its log lies in its image, in RAM; RAM is a file of this computer, so the log can be read when the machine is
 * gone, however it ended.
 */
export class RecordingSession {
  /** Where QEMU has to keep RAM (Boot.memoryFile). */
  readonly memoryFile: string;
  readonly #build: BuildResult;
  readonly #folder: string;

  private constructor(build: BuildResult, folder: string) {
    this.#build = build;
    this.#folder = folder;
    this.memoryFile = path.join(folder, "ram");
  }

  /** Builds the hypervisor that records. */
  static async begin(options: ArtifactOptions): Promise<RecordingSession> {
    const build = await buildRecorder(options);
    return new RecordingSession(build, mkdtempSync(path.join(tmpdir(), "salus-recording-")));
  }

  get hypervisor(): string {
    return this.#build.elf;
  }

  /** What was recorded; the machine is gone. */
  recording(memoryMiB: number): Recording {
    const { start, end } = this.#build.recordLog!;
    const memory = Buffer.alloc(end - start);
    const file = openSync(this.memoryFile, "r");
    try {
      readSync(file, memory, 0, memory.length, start - RAM_BASE);
    } finally {
      closeSync(file);
    }
    const { log, cutOff } = readLog(memory);
    if (log.length === 0) throw new Failure("nothing was recorded: the hypervisor was not entered");
    return {
      ...interfaceOf(readFileSync(path.join(repository, HYPERVISOR.door), "utf8")),
      imageBase: IMAGE_BASE,
      ram: { base: RAM_BASE, size: memoryMiB * MIB },
      cutOff,
      module: readFileSync(this.#build.wasm),
      image: readFileSync(this.#build.bin),
      log,
    };
  }

  save(file: string, memoryMiB: number): Recording {
    const recording = this.recording(memoryMiB);
    writeRecording(file, recording);
    return recording;
  }

  /** Removes the machine's RAM. */
  end(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
