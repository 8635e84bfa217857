import { createHash } from "node:crypto";
import { Failure } from "../failure.ts";

/** A fault to put into the hypervisor: one change of one source file. */
export interface Fault {
  /** Stays the same while the code around the fault does. */
  id: string;
  /** Name of the operator, or "named". */
  kind: string;
  file: string;
  line: number;
  /** Offsets in the source text, and what stands there instead. */
  start: number;
  end: number;
  replacement: string;
  description: string;
}

/** A fault that somebody thought of, as tests/mutants/named/*.ts lists them: `from` occurs exactly once in `file`. */
export interface NamedFault {
  /** Lower case, with hyphens. */
  id: string;
  /** Relative to hypervisor/, or with a leading "/" to the repository; without ".ts". */
  file: string;
  from: string;
  to: string;
  /** What goes wrong. */
  description: string;
  /** What is expected to notice. */
  caughtBy: string;
}

/**
 * The named faults as changes of these sources.
 *
 * @throws Failure naming every fault that does not fit the sources any more
 */
export function locate(named: readonly NamedFault[], sources: ReadonlyMap<string, string>): Fault[] {
  const problems: string[] = [];
  const faults: Fault[] = [];
  for (const { id, file, from, to, description } of named) {
    const name = file.startsWith("/") ? `${file.slice(1)}.ts` : `hypervisor/${file}.ts`;
    const text = sources.get(name);
    const start = text?.indexOf(from) ?? -1;
    if (text === undefined) problems.push(`${id}: there is no ${name}`);
    else if (start < 0) problems.push(`${id}: ${name} does not contain "${from}" any more`);
    else if (text.includes(from, start + 1)) problems.push(`${id}: ${name} contains "${from}" more than once`);
    else if (from === to) problems.push(`${id}: it changes nothing`);
    else {
      const line = text.slice(0, start).split("\n").length;
      const end = start + from.length;
      faults.push({ id, kind: "named", file: name, line, start, end, replacement: to, description });
    }
  }
  const ids = named.map(({ id }) => id);
  for (const id of new Set(ids.filter((each, index) => ids.indexOf(each) !== index)))
    problems.push(`${id}: used twice`);
  if (problems.length > 0) throw new Failure(`named faults that do not fit the sources:\n${problems.join("\n")}`);
  return faults;
}

/** The text of the fault's file with the fault in it. */
export function faulty(fault: Fault, text: string): string {
  return text.slice(0, fault.start) + fault.replacement + text.slice(fault.end);
}

/** A number that orders faults in the same way every time, differently for each seed. */
export function rank(id: string, seed: number): string {
  return createHash("sha256").update(`${seed}:${id}`).digest("hex");
}
