import { endLine, print, printCharacter, printHex } from "../lib/console";

/**
 * What this host gave to a TVM that enters its static registers, call by call: with it and the files that it names, a verifier
 * recomputes registers 2 and 3 (docs/evidence.md, verifier/measurement-log.ts).
 */

export function logVcpu(id: u64): void {
  begin("vcpu");
  number(id);
  endLine();
}

/** A region [start, start + length) of confidential memory. */
export function logConfidentialRegion(start: u64, length: u64): void {
  begin("region");
  number(start);
  number(start + length);
  number(REGION_CONFIDENTIAL);
  endLine();
}

/** `pages` pages at `gpa` that were copied from `file`, beginning with its byte `offset`; what the file lacks is zero. */
export function logPages(gpa: u64, pages: u64, file: string, offset: u64): void {
  begin("pages");
  number(gpa);
  number(pages);
  printCharacter(0x20);
  print(file);
  number(offset);
  endLine();
}

/** The TVM is finalized: it starts at `entry` with `argument`. Its log is complete. */
export function logStart(entry: u64, argument: u64): void {
  begin("start");
  number(entry);
  number(argument);
  endLine();
}

/** In the layout that register 3 is extended with. */
const REGION_CONFIDENTIAL: u64 = 1;

function begin(what: string): void {
  print("MEASURED: ");
  print(what);
}

function number(value: u64): void {
  printCharacter(0x20);
  printHex(value);
}
