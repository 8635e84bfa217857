import { endLine, print, printCharacter, printDecimal } from "../lib/console";

/** What the benchmark says on the console, for tools/bench/run.ts: one line for each measurement, before its marks. */

/** The next marked interval is `name`, and consists of `units` equal operations. */
export function announce(name: string, units: u64): void {
  printLineOf("measure ", name, units);
}

/** The next marked interval is the point `at` of the curve `name`. */
export function announcePoint(name: string, at: u64, units: u64): void {
  print("bench: measure ");
  print(name);
  printCharacter(0x40);
  printDecimal(at);
  printCharacter(0x20);
  printDecimal(units);
  endLine();
}

/** A figure that is not counted but found: bytes. */
export function report(name: string, value: u64): void {
  printLineOf("value ", name, value);
}

function printLineOf(kind: string, name: string, number: u64): void {
  print("bench: ");
  print(kind);
  print(name);
  printCharacter(0x20);
  printDecimal(number);
  endLine();
}

/** Stops the benchmark with a failure unless `result` is what the call should return. */
// @ts-ignore: decorator
@inline
export function expect(result: i64, expected: u64): void {
  assert(result == <i64>expected, "a call failed");
}
