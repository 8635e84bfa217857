import { awaitIdle, commandResult, post, runOn } from "../../lib/mailbox";
import { beginTest, check, checkEqual, endTest, skipTest } from "../../lib/protocol";
import { HartCommand } from "../commands";
import { awaitInterrupt, hasImsic, openInterruptFile, sendImsicInterrupt, TEST_INTERRUPT } from "../imsic";
import { hartAt, hartCount } from "../state";

/** Interrupts between the host's harts through their interrupt files. */
export function testImsic(): void {
  if (!hasImsic()) {
    skipTest("interrupt files", "no IMSIC");
    return;
  }
  beginTest("interrupts through the IMSIC");
  openInterruptFile();
  sendImsicInterrupt(0);
  checkEqual(awaitInterrupt(), TEST_INTERRUPT, "an interrupt to itself");
  for (let index: u64 = 1; index < hartCount(); index++) {
    const hart = hartAt(index);
    check(runOn(hart, HartCommand.OpenImsic, 0), "the hart opens its file");
    post(hart, HartCommand.AwaitImsic, 0);
    sendImsicInterrupt(index);
    if (check(awaitIdle(hart), "the hart answers")) {
      checkEqual(commandResult(hart), TEST_INTERRUPT, "the interrupt that it got");
    }
  }
  endTest();
}
