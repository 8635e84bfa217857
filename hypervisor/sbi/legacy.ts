import { getChar } from "../devices/console";
import { Hart } from "../hart";
import { exitForwardedCall } from "../vm/exit";
import { PendingExit, Vcpu } from "../vm/vcpu";
import { VmKind } from "../vm/vm";
import { writeLowByteOfA0 } from "./dbcn";
import { SBI_PENDING } from "./errors";

/**
 * The console calls of SBI 0.1 (SBI 3.0 chapter 5), which old software and early consoles use. They answer in a0 alone: a1 stays as it was. A
 * TVM's go to its host.
 */

/** console_putchar(byte), EID 1: 0. */
export function legacyPutchar(hart: Hart, caller: Vcpu): i64 {
  if (caller.vm.kind == VmKind.Tvm) {
    exitForwardedCall(hart, caller, PendingExit.LegacyCall, 1);
    return SBI_PENDING;
  }
  writeLowByteOfA0(caller);
  caller.a0 = 0;
  return SBI_PENDING;
}

/** console_getchar(), EID 2: the byte, or -1 if there is none. */
export function legacyGetchar(hart: Hart, caller: Vcpu): i64 {
  if (caller.vm.kind == VmKind.Tvm) {
    exitForwardedCall(hart, caller, PendingExit.LegacyCall, 0);
    return SBI_PENDING;
  }
  caller.a0 = <u64>(<i64>getChar());
  return SBI_PENDING;
}
