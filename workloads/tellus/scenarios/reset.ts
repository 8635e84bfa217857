import { read64, write64 } from "../../lib/hw";
import { endLine, print, printDecimal, printHex, printLine } from "../../lib/console";
import { runOn } from "../../lib/mailbox";
import { beginTest, check, checkEqual, endTest } from "../../lib/protocol";
import { PuppetCommand } from "../../lib/puppet-protocol";
import { PAGE_SIZE, thisVm } from "../../lib/records";
import { hartStop, RESET_NO_REASON, systemReset } from "../../lib/sbi";
import { GuestScenario, SCRATCH_START } from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { expectOutcome, puppetBegin, startPuppet } from "../puppet";
import { hartAt, hartCount, ResetTest, state } from "../state";
import { Outcome } from "../tvm";
import { buildGuest } from "../tvm-builder";

/**
 * A reset keeps RAM. This test, which a boot argument asks for in place of all others, reboots the machine while a TVM with secrets exists
 * (`tellus.reset`), or waits for somebody to reset it (`tellus.await-reset`); the second boot finds the mark that the first left in ordinary memory, and searches all memory of the host for
 * the TVM's secret.
 */

/** What the first boot leaves for the second. */
const MARK: u64 = 0x7e11_05ee_c01d_b007;

/** The complement of the guest's secret: the secret itself is nowhere in the host. */
const INVERTED_SECRET: u64 = 0x1357_9bdf_2468_ace0;

const SECRET_PAGES: u64 = 16;

/** Places that are printed. */
const SHOWN: u64 = 8;

const RESET_COLD_REBOOT: u64 = 1;

export function testReset(): void {
  const mark = thisVm().heapEnd - PAGE_SIZE;
  const second = read64(mark) == MARK;
  write64(mark, 0);
  write64(mark + 8, ~(<u64>0));
  // Whether somebody reset the machine cannot be known: its mark is gone too. So that one searches at every boot.
  if (second || state().resetTest == ResetTest.Await) searchMemory(read64(mark + 8));
  if (second) return;
  beginTest("a TVM with a secret");
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  if (tvm.id != 0 && startPuppet(tvm)) {
    tvm.manualFaults = 0;
    const length = SECRET_PAGES * PAGE_SIZE;
    const outcome = puppetBegin(tvm, PuppetCommand.FillInverted, SCRATCH_START, length, INVERTED_SECRET, 0, 0, 0);
    expectOutcome(outcome, Outcome.PuppetDone, "the guest fills its pages with its secret");
  }
  if (!endTest()) return;
  if (state().resetTest == ResetTest.Await) {
    stopEveryHart();
    return;
  }
  write64(mark, MARK);
  printLine("Tellus: resetting the machine in the middle of the TVM's life");
  systemReset(RESET_COLD_REBOOT, RESET_NO_REASON);
  beginTest("reset the machine");
  check(false, "system_reset does not return");
  endTest();
}

/** Waits for a reset with every hart stopped: QEMU 10.0 cannot reset a hart that is in a guest. */
function stopEveryHart(): void {
  for (let index: u64 = 1; index < hartCount(); index++) runOn(hartAt(index), HartCommand.Stop, 0);
  printLine("Tellus: waiting for a reset in the middle of the TVM's life");
  hartStop();
}

/**
 * Looks at every word of RAM. `ones` is all ones, but the compiler does not know: it would compare with the secret itself, and that would be
 * in the image or on the stack.
 */
function searchMemory(ones: u64): void {
  beginTest("nothing of a TVM survives a reset");
  let words: u64 = 0;
  let found: u64 = 0;
  for (let i: u32 = 0; i < state().ramCount; i++) {
    const ram = state().ram(i);
    for (let at = ram.start; at < ram.end; at += 8) {
      if ((read64(at) ^ ones) != INVERTED_SECRET) continue;
      found++;
      if (found > SHOWN) continue;
      print("  found at ");
      printHex(at);
      endLine();
    }
    words += (ram.end - ram.start) / 8;
  }
  print("  words searched: ");
  printDecimal(words);
  endLine();
  checkEqual(found, 0, "words that hold the TVM's secret");
  endTest();
}
