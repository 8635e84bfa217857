import { thisHart } from "../hart";
import { literalChar, literalLength } from "../lib/literal";
import { bustLock, lockAcquire, lockRelease } from "../lib/spinlock";
import { hartRecord, read8, read64, write8, write64 } from "../riscv/hw";
import {
  debugConsoleRead,
  debugConsoleWrite,
  firmwareHasDebugConsole,
  firmwareWriteByte,
  legacyReadByte,
  legacyWriteByte,
} from "./firmware-console";
import { IMPATIENT, PATIENT, uartRead, uartReclaim, uartWrite } from "./ns16550";

/**
 * The machine's one console, shared by all harts.
 *
 * A line put between `beginLine` and `endLine` appears as a whole, whatever other harts print meanwhile. A call outside
 * of such a pair is atomic by itself and appears at once.
 *
 * Bytes collect in the record's buffer, and go to the UART once the device tree has named one, else to the firmware's DBCN
 * in one call, else to its legacy putchar. Before there is a root record, each byte goes to the firmware at once.
 */
@unmanaged
export class Console {
  /** Spin lock over everything below. */
  lock: u32;
  /** beginLine calls that are open. */
  depth: u32;
  /** Record of the hart that holds the lock, 0 if none. */
  holder: u64;
  /** hpa of the ns16550a, 0 while only the firmware is known. */
  uart: u64;
  /** ConsoleRoute. */
  route: u32;
  /** Bytes that wait in the buffer. */
  used: u32;
  /** Bytes of the line that is being written: 0 right after a newline. */
  column: u64;
  /** Second return value of a firmware call. */
  firmwareResult: u64;
  /** 1 while the UART takes nothing. */
  uartStuck: u64;
  // The buffer follows: BUFFER_SIZE bytes.

  /** Address of byte `index` of the buffer. */
  bufferAt(index: u32): u64 {
    return <u64>changetype<usize>(this) + HEADER_SIZE + <u64>index;
  }

  lockAddress(): usize {
    return changetype<usize>(this) + offsetof<Console>("lock");
  }

  resultAddress(): usize {
    return changetype<usize>(this) + offsetof<Console>("firmwareResult");
  }

  holderAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Console>("holder"));
  }
}

/** Where full buffers go. */
const enum ConsoleRoute {
  /** Nobody has asked the firmware yet. */
  Unknown = 0,
  DebugConsole = 1,
  Legacy = 2,
  Uart = 3,
}

const HEADER_SIZE: u64 = 64;
const BUFFER_SIZE: u32 = 192;
/** Bytes of zeroed memory that the Console record needs, 8-byte aligned. */
export const CONSOLE_RECORD_SIZE: usize = <usize>HEADER_SIZE + <usize>BUFFER_SIZE;

/** DBCN calls that take nothing before the rest goes to the legacy putchar. */
const MAX_REFUSALS: u32 = 1_000;

const NEWLINE: u32 = 0x0a;
const CARRIAGE_RETURN: u32 = 0x0d;

/** The console of this machine, or null before the root record exists. */
function consoleRecord(): Console | null {
  const hart = hartRecord();
  if (hart == 0) return null;
  const root = thisHart().root;
  if (changetype<usize>(root) == 0) return null;
  return root.console;
}

/**
 * Chooses where output goes: the UART at `uartBase` (hpa), or the firmware if that is 0. Called when the root
 * record exists, and again when the device tree has been read.
 */
export function consoleInit(uartBase: u64): void {
  const record = consoleRecord();
  if (record == null) return;
  enter(record);
  flush(record);
  record.uart = uartBase;
  record.route = uartBase != 0 ? ConsoleRoute.Uart : ConsoleRoute.Unknown;
  leave(record);
}

/** Starts a line that no other hart's output can break. Pairs may nest on one hart. */
export function beginLine(): void {
  const record = consoleRecord();
  if (record != null) enter(record);
}

/** Ends the line (with a newline, unless one was just put) and lets other harts print. */
export function endLine(): void {
  const record = consoleRecord();
  if (record == null) return newline();
  if (!isHolder(record)) return; // a panic elsewhere took it from us
  if (record.depth == 1 && record.column != 0) append(record, NEWLINE, true);
  leave(record);
}

/** Puts a literal (ASCII). */
export function putText(text: string): void {
  const record = consoleRecord();
  const length = literalLength(text);
  if (record == null) {
    for (let i: usize = 0; i < length; i++) firmwareWriteByte(literalChar(text, i));
    return;
  }
  enter(record);
  for (let i: usize = 0; i < length; i++) append(record, literalChar(text, i), true);
  leave(record);
}

/** Puts one byte; a newline becomes what the device needs. */
export function putChar(byte: u32): void {
  const record = consoleRecord();
  if (record == null) return firmwareWriteByte(byte & 0xff);
  enter(record);
  append(record, byte & 0xff, true);
  leave(record);
}

export function newline(): void {
  putChar(NEWLINE);
}

/** Puts `value` as 0x and lower-case digits, without leading zeros. */
export function putHex(value: u64): void {
  beginPart();
  putChar(0x30);
  putChar(0x78);
  let shift: u64 = 60;
  while (shift > 0 && value >> shift == 0) shift -= 4;
  while (true) {
    const digit = (<u32>(value >> shift)) & 0xf;
    putChar(digit < 10 ? 0x30 + digit : 0x57 + digit);
    if (shift == 0) break;
    shift -= 4;
  }
  endPart();
}

/** Puts `value` in decimal. */
export function putDecimal(value: u64): void {
  beginPart();
  let divisor: u64 = 1;
  while (value / divisor >= 10) divisor *= 10;
  for (; divisor != 0; divisor /= 10) putChar(0x30 + <u32>((value / divisor) % 10));
  endPart();
}

/** Puts a number of bytes in the largest unit that shows it exactly: "2 GiB", "12 MiB", "640 KiB", "100 B". */
export function putSize(bytes: u64): void {
  beginPart();
  if (bytes == 0 || (bytes & 0x3ff) != 0) {
    putDecimal(bytes);
    putText(" B");
  } else if ((bytes & 0xfffff) != 0) {
    putDecimal(bytes >> 10);
    putText(" KiB");
  } else if ((bytes & 0x3fffffff) != 0) {
    putDecimal(bytes >> 20);
    putText(" MiB");
  } else {
    putDecimal(bytes >> 30);
    putText(" GiB");
  }
  endPart();
}

/** Puts `length` bytes at `hpa` as they are (binary-safe: no newline is changed). The caller has checked the range. */
export function putBytes(hpa: u64, length: u64): void {
  const record = consoleRecord();
  if (record == null) {
    for (let i: u64 = 0; i < length; i++) firmwareWriteByte(read8(hpa + i));
    return;
  }
  enter(record);
  for (let i: u64 = 0; i < length; i++) append(record, read8(hpa + i), false);
  leave(record);
}

/** A received byte, or -1 if there is none. */
export function getChar(): i32 {
  const record = consoleRecord();
  if (record == null) return -1;
  enter(record);
  let byte: i32 = -1;
  if (route(record) == ConsoleRoute.Uart) {
    byte = uartRead(record.uart);
  } else if (record.route == ConsoleRoute.Legacy) {
    byte = legacyReadByte();
  } else {
    // The buffer is the firmware's target, so what waits in it has to go first.
    flush(record);
    const target = record.bufferAt(0);
    if (debugConsoleRead(target, 1, record.resultAddress()) == 1) byte = <i32>read8(target);
  }
  leave(record);
  return byte;
}

/** Takes the console from whoever holds it, the host's driver included: only for a panic. What the holder had buffered is shown first. */
export function bustConsole(): void {
  const record = consoleRecord();
  if (record == null) return;
  record.depth = 0;
  write64(record.holderAddress(), 0);
  bustLock(record.lockAddress());
  if (record.used > BUFFER_SIZE) record.used = 0;
  if (record.uart != 0) uartReclaim(record.uart);
  enter(record);
  if (record.column != 0) append(record, NEWLINE, true);
  leave(record);
}

/** Keeps the parts of one number together, without ending the line. */
function beginPart(): void {
  const record = consoleRecord();
  if (record != null) enter(record);
}

function endPart(): void {
  const record = consoleRecord();
  if (record != null) leave(record);
}

/** Whether this hart has the lock. Only this hart ever stores its own record there, so the answer cannot change under us. */
function isHolder(record: Console): bool {
  return read64(record.holderAddress()) == <u64>hartRecord();
}

/** Takes the lock, or goes one deeper if this hart has it. */
function enter(record: Console): void {
  if (!isHolder(record)) {
    lockAcquire(record.lockAddress());
    write64(record.holderAddress(), <u64>hartRecord());
  }
  record.depth++;
}

/** Undoes one `enter`; the last one sends the buffer and frees the lock. */
function leave(record: Console): void {
  if (!isHolder(record)) return;
  if (--record.depth != 0) return;
  flush(record);
  write64(record.holderAddress(), 0);
  lockRelease(record.lockAddress());
}

/** Adds one byte to the buffer. `text` asks for the carriage return that a UART (not the firmware) needs. */
function append(record: Console, byte: u32, text: bool): void {
  if (text && byte == NEWLINE && record.route == ConsoleRoute.Uart) pushByte(record, CARRIAGE_RETURN);
  pushByte(record, byte);
  if (byte == NEWLINE) {
    record.column = 0;
    flush(record);
  } else {
    record.column++;
  }
}

function pushByte(record: Console, byte: u32): void {
  if (record.used >= BUFFER_SIZE) flush(record);
  write8(record.bufferAt(record.used), byte);
  record.used++;
}

/** Where output goes; asks the firmware the first time. */
function route(record: Console): u32 {
  if (record.route == ConsoleRoute.Unknown) {
    record.route = firmwareHasDebugConsole(record.resultAddress()) ? ConsoleRoute.DebugConsole : ConsoleRoute.Legacy;
  }
  return record.route;
}

/** What the UART does not take is lost: the firmware's console is most likely the same device. */
function flushToUart(record: Console, used: u32): void {
  let sent: u32 = 0;
  while (sent < used) {
    const patience = record.uartStuck != 0 ? IMPATIENT : PATIENT;
    if (!uartWrite(record.uart, read8(record.bufferAt(sent)), patience)) break;
    record.uartStuck = 0;
    sent++;
  }
  if (sent < used) record.uartStuck = 1;
}

/** Sends the buffer. */
function flush(record: Console): void {
  const used = record.used;
  if (used == 0) return;
  record.used = 0;
  let sent: u32 = 0;
  if (route(record) == ConsoleRoute.Uart) {
    flushToUart(record, used);
    return;
  }
  if (record.route == ConsoleRoute.DebugConsole) {
    let refusals: u32 = 0;
    while (sent < used && refusals < MAX_REFUSALS) {
      const taken = debugConsoleWrite(record.bufferAt(sent), <u64>(used - sent), record.resultAddress());
      if (taken < 0) break;
      if (taken == 0) refusals++;
      sent += <u32>taken;
    }
  }
  for (; sent < used; sent++) legacyWriteByte(read8(record.bufferAt(sent)));
}
