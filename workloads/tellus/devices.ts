import { encodeLoad, encodeStore, LoadForm, Reg, StoreForm } from "../lib/assembler";
import { endLine, print, printHex } from "../lib/console";
import { guestRegister, setGuestRegister } from "../lib/nacl";
import { check } from "../lib/protocol";
import { PAGE_SIZE } from "../lib/records";
import {
  ECHO_COUNT,
  ECHO_GPA,
  ECHO_HTINST,
  ECHO_PAGE,
  ECHO_PATTERN,
  ECHO_REGISTERS,
  ECHO_VALUE,
  MMIO_LOAD_VALUE,
  PUPPET_PAGE,
} from "../lib/tvm-map";
import { servePuppetLoad, servePuppetStore } from "./puppet";
import { Exit } from "./state";
import { Outcome, Tvm } from "./tvm";

/** The devices that tellus emulates for its TVMs. An MMIO exit names the instruction in htinst, its register always a0. */

/** True if `htinst` is one of the seven loads into a0. */
function isLoad(htinst: u64): bool {
  for (let form: u32 = LoadForm.Lb; form <= <u32>LoadForm.Lwu; form++) {
    if (htinst == <u64>encodeLoad(form, Reg.A0, 0, 0)) return true;
  }
  return false;
}

/** True if `htinst` is one of the four stores of a0. */
function isStore(htinst: u64): bool {
  for (let form: u32 = StoreForm.Sb; form <= <u32>StoreForm.Sd; form++) {
    if (htinst == <u64>encodeStore(form, Reg.A0, 0, 0)) return true;
  }
  return false;
}

/** Emulates the access of an MMIO exit. */
export function serveMmio(tvm: Tvm, exit: Exit): Outcome {
  const load = isLoad(exit.htinst);
  if (!check(load || isStore(exit.htinst), "htinst is a load or store of a0")) return Outcome.Unknown;
  const page = exit.gpa & ~(PAGE_SIZE - 1);
  if (page == PUPPET_PAGE) {
    return load ? servePuppetLoad(tvm, exit.gpa - page) : servePuppetStore(tvm, exit.gpa - page);
  }
  if (page == ECHO_PAGE) serveEcho(tvm, exit, load);
  else serveRegister(tvm, exit, load);
  return Outcome.Continue;
}

/** The device of the original test: loads give a constant, stores are printed. */
function serveRegister(tvm: Tvm, exit: Exit, load: bool): void {
  check(
    exit.gpa >= tvm.mmioStart && exit.gpa < tvm.mmioStart + tvm.mmioLength,
    "the guest accesses a range that it made MMIO",
  );
  if (load) {
    setGuestRegister(Reg.A0, MMIO_LOAD_VALUE);
    return;
  }
  print("Guest says: ");
  printHex(guestRegister(Reg.A0));
  print(" at ");
  printHex(exit.gpa);
  endLine();
}

function serveEcho(tvm: Tvm, exit: Exit, load: bool): void {
  const offset = exit.gpa - ECHO_PAGE;
  if (load && offset >= ECHO_REGISTERS) {
    setGuestRegister(Reg.A0, echoRegister(tvm, offset));
    return;
  }
  if (load) setGuestRegister(Reg.A0, ECHO_PATTERN);
  else tvm.echoValue = guestRegister(Reg.A0);
  tvm.echoGpa = exit.gpa;
  tvm.echoHtinst = exit.htinst;
  tvm.echoCount++;
}

function echoRegister(tvm: Tvm, offset: u64): u64 {
  switch (<u32>offset) {
    case <u32>ECHO_VALUE:
      return tvm.echoValue;
    case <u32>ECHO_GPA:
      return tvm.echoGpa;
    case <u32>ECHO_HTINST:
      return tvm.echoHtinst;
    case <u32>ECHO_COUNT:
      return tvm.echoCount;
    default:
      return 0;
  }
}
