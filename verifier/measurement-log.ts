import {
  configurationRegister,
  pagesRegister,
  type MeasuredInterruptFiles,
  type MeasuredRange,
  type MeasuredRegion,
} from "./measurement.ts";
import { Refusal } from "./refusal.ts";

/**
 * The log that a host keeps of what it gave to a TVM (docs/evidence.md), replayed. The host can write what it likes: a log explains
 * a register's value only if replaying it gives that value, and the files it names are the reader's own.
 */

/** Registers 2 and 3 of one TVM. */
export interface ReplayedLog {
  pages: Buffer;
  configuration: Buffer;
}

const LINE = /\bMEASURED: ([a-z-]+)((?: \S+)*)\s*$/;
const NUMBER = /^(?:0x[0-9a-f]{1,16}|[0-9]{1,20})$/i;
/** A log that names more pages is refused before anything is hashed: 16 GiB. */
const MAX_PAGES = 1n << 22n;

interface OpenLog {
  ranges: MeasuredRange[];
  pages: bigint;
  regions: MeasuredRegion[];
  vcpus: number[];
  interruptFiles: MeasuredInterruptFiles | undefined;
}

const nothing = (): OpenLog => ({ ranges: [], pages: 0n, regions: [], vcpus: [], interruptFiles: undefined });

/**
 * The registers of each TVM whose log is in `text`, among any other lines, in order. `files` has the content of each file by
 * the name that the log uses.
 *
 * @throws Refusal (encoding) for a line that is none, a file that nobody gave, a log that does not end
 */
export function replayMeasurementLog(text: string, files: ReadonlyMap<string, Uint8Array>): ReplayedLog[] {
  const replayed: ReplayedLog[] = [];
  let log = nothing();
  let open = false;
  for (const line of text.split(/\r?\n/)) {
    const match = LINE.exec(line);
    if (!match) continue;
    const words = match[2].trim().split(" ").filter(Boolean);
    if (match[1] === "start") {
      replayed.push(finish(log, numbers(line, words, 2)));
      log = nothing();
      open = false;
      continue;
    }
    open = true;
    note(log, match[1], words, line, files);
  }
  if (open) throw new Refusal("encoding", "the measurement log is cut off: a line MEASURED: start is missing");
  return replayed;
}

function finish(log: OpenLog, [entry, argument]: readonly bigint[]): ReplayedLog {
  const { ranges, regions, vcpus, interruptFiles } = log;
  const configuration = { entry, argument, regions, vcpus };
  return {
    pages: pagesRegister(ranges),
    configuration: configurationRegister(interruptFiles ? { ...configuration, interruptFiles } : configuration),
  };
}

function note(log: OpenLog, kind: string, words: string[], line: string, files: ReadonlyMap<string, Uint8Array>): void {
  switch (kind) {
    case "vcpu":
      log.vcpus.push(Number(numbers(line, words, 1)[0]));
      return;
    case "region": {
      const [start, end, type] = numbers(line, words, 3);
      log.regions.push({ start, end, type: Number(type) });
      return;
    }
    case "pages":
      notePages(log, words, line, files);
      return;
    case "interrupt-files": {
      const [base, groupBits, groupShift, hartBits, guestBits] = numbers(line, words, 5);
      log.interruptFiles = {
        base,
        groupBits: Number(groupBits),
        groupShift: Number(groupShift),
        hartBits: Number(hartBits),
        guestBits: Number(guestBits),
        files: [],
      };
      return;
    }
    case "file": {
      const [vcpu, address] = numbers(line, words, 2);
      if (!log.interruptFiles) throw new Refusal("encoding", `${line.trim()}: interrupt-files comes first`);
      log.interruptFiles.files.push({ vcpu: Number(vcpu), address });
      return;
    }
    default:
      throw new Refusal("encoding", `a measurement log has no "${kind}"`);
  }
}

/** GPA PAGES FILE OFFSET, or GPA PAGES zero. */
function notePages(log: OpenLog, words: string[], line: string, files: ReadonlyMap<string, Uint8Array>): void {
  const [name] = words.splice(2, 1);
  const zero = name === "zero";
  const [gpa, pages, offset] = numbers(line, words, zero ? 2 : 3);
  const content = zero ? new Uint8Array() : files.get(name);
  if (!content) throw new Refusal("encoding", `the measurement log names a file "${name}" that is not given`);
  log.pages += pages;
  if (log.pages > MAX_PAGES) throw new Refusal("encoding", "the measurement log names more than 16 GiB");
  const start = zero || offset > BigInt(content.length) ? content.length : Number(offset);
  log.ranges.push({ gpa, bytes: content.subarray(start, start + Number(pages) * 4096), pages: Number(pages) });
}

function numbers(line: string, words: readonly string[], count: number): bigint[] {
  if (words.length !== count || !words.every((word) => NUMBER.test(word) && BigInt(word) < 1n << 64n)) {
    throw new Refusal("encoding", `a line of the measurement log that is none: ${line.trim().slice(0, 120)}`);
  }
  return words.map(BigInt);
}
