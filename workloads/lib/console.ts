import { hartRecord, write8, zeroBytes } from "./hw";
import { ConsoleMethod, thisHart, thisVm } from "./records";
import { debugConsoleWrite, probeExtension, putchar, EID_DBCN } from "./sbi";
import { textAt, textLength } from "./text";

/**
 * Text output. Every hart collects a line in a buffer of its own and hands it to the debug console as a whole, so that lines
 * of several harts do not mix. Without DBCN, and before a hart has its record, characters go one by one through legacy
 * putchar.
 */

/** Chooses the output method of this VM. */
export function chooseConsole(): void {
  thisVm().consoleMethod = probeExtension(EID_DBCN) > 0 ? ConsoleMethod.DebugConsole : ConsoleMethod.Putchar;
}

/** Gives this hart `capacity` bytes at `buffer` (a GPA the console may read) for its lines. */
export function useLineBuffer(buffer: u64, capacity: u32): void {
  const hart = thisHart();
  hart.lineBuffer = buffer;
  hart.lineCapacity = capacity;
  hart.lineLength = 0;
  zeroBytes(buffer, <u64>capacity);
}

/** Sends what this hart has collected. Characters that the console refuses are dropped. */
export function flushConsole(): void {
  const hart = thisHart();
  let sent: u64 = 0;
  const length = <u64>hart.lineLength;
  hart.lineLength = 0;
  while (sent < length) {
    const written = debugConsoleWrite(hart.lineBuffer + sent, length - sent);
    if (written <= 0) return;
    sent += <u64>written;
  }
}

/** One character; a line feed sends the line. */
export function printCharacter(character: u32): void {
  if (hartRecord() == 0) {
    putchar(character);
    return;
  }
  const hart = thisHart();
  if (hart.vm.consoleMethod == ConsoleMethod.Putchar || hart.lineCapacity == 0) {
    putchar(character);
    return;
  }
  write8(hart.lineBuffer + <u64>hart.lineLength, character);
  hart.lineLength++;
  if (character == 0x0a || hart.lineLength == hart.lineCapacity) flushConsole();
}

export function print(text: string): void {
  const length = textLength(text);
  for (let i: u32 = 0; i < length; i++) printCharacter(textAt(text, i));
}

export function endLine(): void {
  printCharacter(0x0a);
}

export function printLine(text: string): void {
  print(text);
  endLine();
}

/** 0x and the hexadecimal digits of `value` without leading zeros. */
export function printHex(value: u64): void {
  print("0x");
  let shift: i32 = 60;
  while (shift > 0 && value >> (<u64>shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) {
    const digit = (<u32>(value >> (<u64>shift))) & 0xf;
    printCharacter(digit < 10 ? 0x30 + digit : 0x57 + digit);
  }
}

export function printDecimal(value: u64): void {
  let divisor: u64 = 1;
  while (value / divisor >= 10) divisor *= 10;
  for (; divisor != 0; divisor /= 10) printCharacter(0x30 + <u32>((value / divisor) % 10));
}

/** Decimal with a sign: SBI results. */
export function printSigned(value: i64): void {
  if (value < 0) {
    printCharacter(0x2d);
    printDecimal(<u64>(0 - value));
  } else printDecimal(<u64>value);
}
