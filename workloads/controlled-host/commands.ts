import { loadAcquire64, pause, read32, read8, write8 } from "../lib/hw";
import { print, printHex, printLine, printSigned, endLine } from "../lib/console";
import { deadlineIn, hasPassed, PATIENCE } from "../lib/deadline";
import { allocatePages, allocateZeroed } from "../lib/heap";
import { awaitIdle, post } from "../lib/mailbox";
import { PAGE_SIZE } from "../lib/records";
import {
  debugConsoleRead,
  debugConsoleWrite,
  HSM_STOPPED,
  hartStatus,
  hartStop,
  sendIpi,
  systemReset,
} from "../lib/sbi";
import { HartCommand } from "../tellus/commands";
import { runUntilWfi } from "../tellus/run-loop";
import { hartAt, hartCount } from "../tellus/state";
import { Outcome, Tvm } from "../tellus/tvm";
import { CommandLine } from "./line-reader";
import { buildSecretTvm } from "./secret-guest";

/**
 * The commands, with their arguments as hexadecimal numbers. Each answers with a line `host: ...`:
 *
 *     tvm ARGUMENT         makes a TVM full of secrets (secret-guest.ts) and runs it up to its WFI
 *     run                  has that TVM run on the second hart
 *     rest                 takes the TVM out, if it runs, and stops all harts
 *     reset TYPE REASON    SBI system reset
 *     sum ADDRESS BYTES    checksum of memory (tests/qemu/support/controlled-host.ts has the same)
 *     write BYTES          that many bytes 0, 1, ... 255, 0, ... in calls of the debug console, from a buffer across pages
 *     read BYTES           that many bytes from the debug console, and their checksum
 *     write-at ADDRESS BYTES, read-at ADDRESS BYTES   one such call with that buffer, and its result
 */
export function serveCommands(): void {
  const line = changetype<CommandLine>(<usize>allocateZeroed(1));
  let tvm: Tvm | null = null;
  while (true) {
    line.read();
    line.nextWord();
    if (line.isWord("tvm")) {
      tvm = makeTvm(line.nextNumber());
    } else if (line.isWord("run")) {
      assert(tvm != null, "there is no TVM");
      leaveRunning(tvm!);
    } else if (line.isWord("rest")) {
      stopAllHarts();
    } else if (line.isWord("reset")) {
      const type = line.nextNumber();
      report("reset ", systemReset(type, line.nextNumber()));
    } else if (line.isWord("sum")) {
      const address = line.nextNumber();
      reportSum(address, line.nextNumber());
    } else if (line.isWord("write")) {
      writeBytes(line.nextNumber());
    } else if (line.isWord("read")) {
      readBytes(line.nextNumber());
    } else if (line.isWord("write-at")) {
      const address = line.nextNumber();
      report("wrote ", debugConsoleWrite(address, line.nextNumber()));
    } else if (line.isWord("read-at")) {
      const address = line.nextNumber();
      report("read ", debugConsoleRead(address, line.nextNumber()));
    } else {
      printLine("host: unknown command");
    }
  }
}

function report(what: string, result: i64): void {
  print("host: ");
  print(what);
  printSigned(result);
  endLine();
}

function makeTvm(argument: u64): Tvm {
  const tvm = buildSecretTvm(argument);
  assert(tvm.id != 0, "the TVM cannot be made");
  assert(runUntilWfi(tvm) == Outcome.Continue, "the TVM does not come to its WFI");
  printLine("host: the TVM holds its secrets");
  return tvm;
}

function leaveRunning(tvm: Tvm): void {
  post(hartAt(1), HartCommand.RunUntilInterrupt, changetype<usize>(tvm));
  const deadline = deadlineIn(PATIENCE);
  while (loadAcquire64(tvm.runningAddress()) == 0) {
    assert(!hasPassed(deadline), "the second hart does not run the TVM");
    pause();
  }
  printLine("host: the TVM runs");
}

/** After this nothing of the host runs any more, so that the hypervisor waits for interrupts on every hart. */
function stopAllHarts(): void {
  const deadline = deadlineIn(PATIENCE);
  for (let index: u64 = 1; index < hartCount(); index++) {
    const hart = hartAt(index);
    // Takes it out of the TVM.
    sendIpi(1, hart.id);
    assert(awaitIdle(hart), "a hart does not finish its command");
    post(hart, HartCommand.Stop, 0);
    while (hartStatus(hart.id) != HSM_STOPPED) assert(!hasPassed(deadline), "a hart does not stop");
  }
  printLine("host: resting");
  hartStop();
}

/** h := 31 h + word, over 32-bit words. */
function reportSum(address: u64, bytes: u64): void {
  let sum: u32 = 0;
  for (let at: u64 = 0; at < bytes; at += 4) sum = sum * 31 + read32(address + at);
  print("host: sum ");
  printHex(sum);
  endLine();
}

/** A buffer for `bytes` that begins 3 bytes before the end of a page. */
function awkwardBuffer(bytes: u64): u64 {
  return allocatePages(2 + bytes / PAGE_SIZE) + PAGE_SIZE - 3;
}

function writeBytes(bytes: u64): void {
  const buffer = awkwardBuffer(bytes);
  for (let i: u64 = 0; i < bytes; i++) write8(buffer + i, (<u32>i) & 0xff);
  let done: u64 = 0;
  while (done < bytes) {
    const written = debugConsoleWrite(buffer + done, bytes - done);
    assert(written > 0, "the console refuses bytes");
    done += <u64>written;
  }
  endLine();
  printLine("host: all written");
}

function readBytes(bytes: u64): void {
  const buffer = awkwardBuffer(bytes);
  printLine("host: reading");
  let done: u64 = 0;
  while (done < bytes) {
    const taken = debugConsoleRead(buffer + done, bytes - done);
    assert(taken >= 0, "the console cannot be read");
    if (taken == 0) pause();
    done += <u64>taken;
  }
  let sum: u32 = 0;
  for (let i: u64 = 0; i < bytes; i++) sum = sum * 31 + read8(buffer + i);
  print("host: read ");
  printHex(sum);
  endLine();
}
