import { add64 } from "./hw";
import { endLine, print, printCharacter, printDecimal, printHex, printLine, printSigned } from "./console";
import { TestHart, TestVm, thisHart } from "./records";

/**
 * The serial protocol of the test VMs: a line `TEST: name`, then `PASS: name` or `FAIL: name`. A test consists of checks; a
 * failed check prints a line that says what was seen and what should have been, and the test goes on.
 */

/** Begins the test `name` on this hart. */
export function beginTest(name: string): void {
  begin(name, false);
}

/** Begins the test `name`; the hart's id follows the name in every line. */
export function beginHartTest(name: string): void {
  begin(name, true);
}

function begin(name: string, ofHart: bool): void {
  const hart = thisHart();
  hart.testName = changetype<usize>(name);
  hart.testOfHart = ofHart ? 1 : 0;
  hart.testFailures = 0;
  hart.testChecks = 0;
  hart.testSubject = 0;
  printOutcome("TEST: ", hart);
}

/** Ends the test that this hart began. Returns true if every check held. */
export function endTest(): bool {
  const hart = thisHart();
  const vm = hart.vm;
  const passed = hart.testFailures == 0;
  add64(<u64>changetype<usize>(vm) + <u64>offsetof<TestVm>("checksMade"), hart.testChecks);
  add64(
    <u64>changetype<usize>(vm) + <u64>(passed ? offsetof<TestVm>("testsPassed") : offsetof<TestVm>("testsFailed")),
    1,
  );
  printOutcome(passed ? "PASS: " : "FAIL: ", hart);
  hart.testName = 0;
  hart.testSubject = 0;
  return passed;
}

function printOutcome(word: string, hart: TestHart): void {
  print(word);
  print(changetype<string>(hart.testName));
  if (hart.testOfHart != 0) {
    printCharacter(0x20);
    printDecimal(hart.id);
  }
  endLine();
}

/** Names the call or object that the next checks are about. */
export function subject(text: string): void {
  thisHart().testSubject = changetype<usize>(text);
}

/** Counts one check of the running test; `what` says what should hold. Returns `condition`. */
export function check(condition: bool, what: string): bool {
  const hart = thisHart();
  hart.testChecks++;
  if (!condition) {
    failedCheck(hart, what);
    endLine();
  }
  return condition;
}

/** Checks that two values are equal; both are printed in hexadecimal if not. */
export function checkEqual(actual: u64, expected: u64, what: string): bool {
  const hart = thisHart();
  hart.testChecks++;
  if (actual == expected) return true;
  failedCheck(hart, what);
  print(": got ");
  printHex(actual);
  print(", expected ");
  printHex(expected);
  endLine();
  return false;
}

/** Checks an SBI result, error code or value. */
export function checkResult(actual: i64, expected: i64, what: string): bool {
  const hart = thisHart();
  hart.testChecks++;
  if (actual == expected) return true;
  failedCheck(hart, what);
  print(": got ");
  printSigned(actual);
  print(", expected ");
  printSigned(expected);
  endLine();
  return false;
}

/** Checks that an SBI call succeeded. */
export function checkSuccess(result: i64, what: string): bool {
  const hart = thisHart();
  hart.testChecks++;
  if (result >= 0) return true;
  failedCheck(hart, what);
  print(": error ");
  printSigned(result);
  endLine();
  return false;
}

function failedCheck(hart: TestHart, what: string): void {
  hart.testFailures++;
  print("  failed: ");
  if (hart.testSubject != 0) {
    print(changetype<string>(hart.testSubject));
    print(": ");
  }
  print(what);
}

/** A test that cannot be made on this machine. */
export function skipTest(name: string, why: string): void {
  print("Skipped: ");
  print(name);
  print(" (");
  print(why);
  printLine(")");
}
