import { parkForever } from "./hw";
import { endLine, print, printCharacter, printDecimal } from "./console";
import { failMachine } from "./interrupts";

/** What the machine layer calls when the program itself is broken. Both end the VM with a system failure. */

/** A failed assert: `message` and `file` are string literals (0 = none). */
export function reportAssert(message: usize, file: usize, line: u32, column: u32): void {
  print("assertion failed: ");
  if (message != 0) print(changetype<string>(message));
  print(" at ");
  if (file != 0) print(changetype<string>(file));
  printCharacter(0x3a);
  printDecimal(<u64>line);
  printCharacter(0x3a);
  printDecimal(<u64>column);
  endLine();
  failMachine();
  parkForever();
}

/** Unreachable code or a bad indirect call. */
export function reportWasmTrap(kind: u32): void {
  print("WebAssembly trap ");
  printDecimal(<u64>kind);
  endLine();
  failMachine();
  parkForever();
}
