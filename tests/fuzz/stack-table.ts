import { markdownTable } from "../../tools/bench/document.ts";

/** The deepest stack, as docs/performance.md shows it. */

/** Functions that a call is made of, or that find it: those of extensions, and what the calls of COVH and COVI have in common. */
const OF_CALLS = /^sbi\/.*:(\w+Call|tvm\w+|dispatch|carryOn|callOnLockedTvm|callOnVcpu)$/;

export interface StackFigures {
  /** By entry. */
  stackDepth: Record<string, number>;
  /** By function, of a trap that goes through it. */
  stackThrough: Record<string, number>;
}

/** The deepest first. */
export function stackTable({ stackDepth, stackThrough }: StackFigures): string {
  const number = (bytes: number): string => bytes.toLocaleString("en-US");
  const calls = Object.entries(stackThrough).filter(([name]) => OF_CALLS.test(name));
  const rows = [
    ["boot", stackDepth["boot"]] as const,
    ["any trap", stackDepth["trap"]] as const,
    ...calls.sort(([, a], [, b]) => b - a),
  ];
  return markdownTable(
    ["way", "bytes, at most"],
    rows.map(([name, bytes]) => [name, number(bytes)]),
  );
}
