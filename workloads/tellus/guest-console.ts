import { read8 } from "../lib/hw";
import { printCharacter } from "../lib/console";
import { guestRegister, setGuestRegister } from "../lib/nacl";
import { DbcnFunction, EID_DBCN, SBI_INVALID_ADDRESS, SBI_NOT_SUPPORTED } from "../lib/sbi";
import { Reg } from "../lib/assembler";
import { PAGE_SIZE, thisVm } from "../lib/records";
import { BINARY_TEXT, BINARY_TEXT_BYTES, SHARED_WINDOW, SHARED_WINDOW_PAGES } from "../lib/tvm-map";
import { lock, unlock } from "../lib/lock";
import { check } from "../lib/protocol";
import { Outcome, Tvm, WindowPage } from "./tvm";

/** The console of a TVM: what it writes comes from the pages that it shares. */
export function serveConsole(tvm: Tvm, eid: u64, fid: u64): Outcome {
  const first = guestRegister(Reg.A0);
  if (eid != EID_DBCN) {
    printCharacter(<u32>first);
    answerConsole(0, 0);
    return Outcome.Continue;
  }
  switch (<u32>fid) {
    case DbcnFunction.Write:
      return serveWrite(tvm, first, guestRegister(Reg.A1));
    case DbcnFunction.WriteByte:
      printCharacter(<u32>first);
      answerConsole(0, 0);
      return Outcome.Continue;
    default:
      answerConsole(SBI_NOT_SUPPORTED, 0);
      return Outcome.Continue;
  }
}

function serveWrite(tvm: Tvm, length: u64, gpa: u64): Outcome {
  const offset = gpa - SHARED_WINDOW;
  const limit = SHARED_WINDOW_PAGES * PAGE_SIZE;
  if (gpa < SHARED_WINDOW || offset >= limit || length > limit - offset || !isPopulated(tvm, offset, length)) {
    answerConsole(SBI_INVALID_ADDRESS, 0);
    return Outcome.Continue;
  }
  const text = tvm.window + offset;
  if (length == BINARY_TEXT_BYTES && read8(text) == 0 && read8(text + 7) == 0x0a) checkBinaryText(text);
  else printGuestText(text, length);
  answerConsole(0, length);
  return Outcome.Continue;
}

function isPopulated(tvm: Tvm, offset: u64, length: u64): bool {
  const wanted: u32 = WindowPage.Shared | WindowPage.Populated;
  for (let page = offset / PAGE_SIZE; page * PAGE_SIZE < offset + length; page++) {
    if (tvm.windowPage(page) != wanted) return false;
  }
  return true;
}

/** A guest that writes eight bytes with a NUL first tests binary output. */
function checkBinaryText(text: u64): void {
  let same = true;
  for (let i: u64 = 0; i < BINARY_TEXT_BYTES; i++) {
    if (read8(text + i) != ((<u32>(BINARY_TEXT >> (i * 8))) & 0xff)) same = false;
  }
  check(same, "binary console output of the guest arrives unchanged");
}

/** Guest lines are printed whole, whichever hart they arrive on. */
function printGuestText(text: u64, length: u64): void {
  const word = thisVm().lockAddress();
  lock(word);
  for (let i: u64 = 0; i < length; i++) printCharacter(read8(text + i));
  unlock(word);
}

function answerConsole(error: i64, value: u64): void {
  setGuestRegister(Reg.A0, <u64>error);
  setGuestRegister(Reg.A1, value);
}
