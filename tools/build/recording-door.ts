import { cPrototype } from "./c-source.ts";
import { declaredPrimitives } from "./checks.ts";
import { RECORDER_EXPORTS } from "./modules.ts";

/**
 * The flavour that records: wrappers in C around each primitive of the door and each entry, generated from their declarations, and what the
 * replay has to know of them (machine/simulated/replay.ts). hypervisor/recording.ts writes the log:
 *
 *     primitive   u8 number, u8 digest, then what came in: the result, and what the table below adds
 *     entry       u8 ENTRY + number of the export, u8 digest, hart record, context, its registers 1 to 31 (unless context is 0), arguments
 *     exit        u8 EXIT, u8 digest, action
 *
 * Numbers are LEB128. The digest is the highest byte of one that goes over everything that went out since boot: tags do not need it, arguments
 * of primitives and the registers at an exit do.
 */

/** Tags: primitives count from 1 in the order of their declaration, entries in the order of the exports. */
export const ENTRY_TAG = 0xe0;
export const EXIT_TAG = 0xff;

/** Primitives that concern nothing but the code that calls them. */
const UNRECORDED = new Set(["hartRecord", "setHartRecord"]);

/** What comes in beside the result: a range of bytes, or a word unless its address is 0. Both name parameters by their index. */
export interface Effect {
  bytes?: { at: number; length: number };
  word?: number;
}

const EFFECTS: Readonly<Record<string, Effect | undefined>> = {
  copyBytes: { bytes: { at: 0, length: 2 } },
  sbiCall: { word: 7 },
};

/** It does not come back. */
const LAST = "endHart";

export interface RecordedPrimitive {
  name: string;
  tag: number;
  parameters: string[];
  /** u32, u64 or void. */
  result: string;
  effect: Effect | undefined;
}

/** The primitives that a file declares, as they are recorded. */
export function recordedPrimitives(door: string): RecordedPrimitive[] {
  return [...declaredPrimitives(door)]
    .map(([name, signature], index) => {
      const { parameters, result } = parts(signature);
      return { name, tag: index + 1, parameters, result, effect: EFFECTS[name] };
    })
    .filter(({ name }) => !UNRECORDED.has(name));
}

/** The exports that assembly calls, in the order of their numbers. */
export function recordedEntries(
  exports: Record<string, string>,
): { name: string; parameters: string[]; result: string }[] {
  return Object.entries(exports)
    .filter(([name]) => name !== "panicAssert" && name !== "panicWasm" && !(name in RECORDER_EXPORTS))
    .map(([name, signature]) => ({ name, ...parts(signature) }));
}

/** The log, as the first argument of what writes it. The door's image_RecordLog is an address of constants. */
const LOG = "(u64)record_log";
const LOG_SYMBOLS = `extern char record_log[] __asm__("image_RecordLog"), record_log_end[] __asm__("image_End");`;

/** The header with all wrappers. */
export function recordingDoor(door: string, exports: Record<string, string>): string {
  const primitives = recordedPrimitives(door);
  return [
    "#pragma once",
    LOG_SYMBOLS,
    ...Object.entries(RECORDER_EXPORTS).map(([name, signature]) => cPrototype(name, signature)),
    ...primitives.map(primitiveWrapper),
    ...primitives.map(({ name }) => `#define hw_${name} recorded_${name}`),
    ...recordedEntries(exports).map(entryWrapper),
    "",
  ].join("\n");
}

function primitiveWrapper({ name, tag, parameters, result, effect }: RecordedPrimitive): string {
  const list = parameters.map((type, index) => `${type} a${index}`).join(", ") || "void";
  const call = `hw_${name}(${parameters.map((_, index) => `a${index}`).join(", ")});`;
  const before = [...parameters.map((_, index) => `recordWord(${LOG}, a${index});`), `recordTag(${LOG}, ${tag});`];
  const after: string[] = [];
  if (result !== "void") after.push(`recordValue(${LOG}, result);`);
  if (effect?.bytes) after.push(`recordBytes(${LOG}, a${effect.bytes.at}, a${effect.bytes.length});`);
  if (effect?.word !== undefined)
    after.push(`if (a${effect.word}) recordValue(${LOG}, *(volatile u64*)a${effect.word});`);
  const middle = result === "void" ? [call] : [`${result} result = ${call}`];
  const end = result === "void" || name === LAST ? [] : ["return result;"];
  return `door ${result} recorded_${name}(${list}) { ${[...before, ...middle, ...after, ...end].join(" ")} }`;
}

function entryWrapper(entry: { name: string; parameters: string[]; result: string }, index: number): string {
  const { name, parameters, result } = entry;
  const list = parameters.map((type, n) => `${type} a${n}`).join(", ") || "void";
  const call = `${name}(${parameters.map((_, n) => `a${n}`).join(", ")});`;
  const before = [
    `recordEntry(${LOG}, (u64)record_log_end, ${ENTRY_TAG + index});`,
    ...parameters.map((_, n) => `recordValue(${LOG}, a${n});`),
  ];
  const rest =
    result === "void"
      ? [call]
      : [`${result} action = ${call}`, `recordExit(${LOG}, ${EXIT_TAG}, action);`, "return action;"];
  const prototype = cPrototype(name, `(${parameters.join(", ")}) => ${result}`);
  return `${prototype}\nEXPORTED ${result} recorded_${name}(${list}) { ${[...before, ...rest].join(" ")} }`;
}

/** Splits "(u32, u64) => u64". */
function parts(signature: string): { parameters: string[]; result: string } {
  const [list, result] = signature.split(" => ");
  const inner = list.slice(1, -1);
  return { parameters: inner === "" ? [] : inner.split(", "), result };
}
