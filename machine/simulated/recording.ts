import { readFileSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { ENTRY_TAG, EXIT_TAG, recordedEntries, recordedPrimitives } from "../../tools/build/recording-door.ts";
import type { RecordedPrimitive } from "../../tools/build/recording-door.ts";
import { HYPERVISOR } from "../../tools/build/modules.ts";
import { MisuseError } from "./errors.ts";
import type { RamRange } from "./machine-options.ts";

/**
 * A recorded run in one file: the log of what went through the door, and the very hypervisor that made it, as a module and as an image. gzip of
 *
 *     one line of JSON (RecordingHead), the module, the image, the log
 */
export interface RecordingHead {
  format: typeof FORMAT;
  /** Where the image is in RAM. */
  imageBase: number;
  ram: RamRange;
  /** The log had no room left before the run was over. */
  cutOff: boolean;
  primitives: RecordedPrimitive[];
  /** The entries, in the order of their tags, with the number of their arguments. */
  entries: { name: string; parameters: number }[];
  sizes: { module: number; image: number; log: number };
}

export interface Recording extends Omit<RecordingHead, "format" | "sizes"> {
  module: Uint8Array;
  image: Uint8Array;
  log: Uint8Array;
}

const FORMAT = "salus recording 1";

/** The head of a recording by a hypervisor of this tree. */
export function interfaceOf(door: string): Pick<RecordingHead, "primitives" | "entries"> {
  const entries = recordedEntries(HYPERVISOR.exports);
  return {
    primitives: recordedPrimitives(door),
    entries: entries.map(({ name, parameters }) => ({ name, parameters: parameters.length })),
  };
}

/** Bytes of the log that lie at the start of its memory: used, full, digest, end. */
export const LOG_HEAD = 32;

/** The log as it lies in RAM. */
export function readLog(memory: Uint8Array): { log: Uint8Array; cutOff: boolean } {
  const view = new DataView(memory.buffer, memory.byteOffset);
  const used = Number(view.getBigUint64(0, true));
  return { log: memory.subarray(LOG_HEAD, LOG_HEAD + used), cutOff: view.getBigUint64(8, true) !== 0n };
}

export function writeRecording(file: string, recording: Recording): void {
  const { module, image, log, ...rest } = recording;
  const sizes = { module: module.length, image: image.length, log: log.length };
  const head: RecordingHead = { format: FORMAT, ...rest, sizes };
  writeFileSync(file, gzipSync(Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), module, image, log])));
}

/** @throws MisuseError if that is no recording */
export function readRecording(file: string): Recording {
  let bytes: Buffer;
  try {
    bytes = gunzipSync(readFileSync(file));
  } catch (error) {
    throw new MisuseError(`${file} is no recording: ${(error as Error).message}`);
  }
  const line = bytes.indexOf("\n");
  const { format, sizes, ...rest } = JSON.parse(bytes.subarray(0, line).toString()) as RecordingHead;
  if ((format as string) !== FORMAT) throw new MisuseError(`${file} is of another format: ${String(format)}`);
  let at = line + 1;
  const next = (size: number): Uint8Array => bytes.subarray(at, (at += size));
  return { ...rest, module: next(sizes.module), image: next(sizes.image), log: next(sizes.log) };
}

export { ENTRY_TAG, EXIT_TAG };
