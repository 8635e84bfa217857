import { getChar, putBytes } from "../devices/console";
import { Hart } from "../hart";
import { NOT_MAPPED } from "../memory/gstage";
import { pinPage, unpinPage } from "../memory/guest-access";
import { write8 } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { exitForwardedCall } from "../vm/exit";
import { PendingExit, Vcpu } from "../vm/vcpu";
import { Vm, VmKind } from "../vm/vm";
import { SBI_INVALID_PARAM, SBI_NOT_SUPPORTED, SBI_PENDING } from "./errors";

/** Function numbers of DBCN. */
const enum Dbcn {
  Write = 0,
  Read = 1,
  WriteByte = 2,
}

/** Bytes that one call handles at the most: a slow line takes some 20 ms for them, and a caller gets its interrupts between calls. */
const MAX_BYTES: u64 = 256;

/**
 * Debug console, EID 0x4442434E (SBI 3.0 chapter 12): bytes of any value, buffers of any length and alignment, whose pages need not be
 * contiguous. A call may handle fewer bytes than it was given; their number is the answer. A TVM's console is its host's.
 *
 * INVALID_PARAM if not even the first byte of the buffer is ordinary memory of the caller.
 */
export function dbcnCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Dbcn.WriteByte) return SBI_NOT_SUPPORTED;
  if (caller.vm.kind == VmKind.Tvm) {
    exitForwardedCall(hart, caller, PendingExit.ForwardedCall, fid == <u64>Dbcn.WriteByte ? 1 : 3);
    return SBI_PENDING;
  }
  if (fid == <u64>Dbcn.WriteByte) {
    writeLowByteOfA0(caller);
    return 0;
  }
  // The address is 128 bits wide: a1 low, a2 high.
  if (caller.a2 != 0) return SBI_INVALID_PARAM;
  const length = min<u64>(caller.a0, MAX_BYTES);
  return fid == <u64>Dbcn.Write ? write(caller.vm, caller.a1, length) : read(caller.vm, caller.a1, length);
}

/** Prints the byte in a0, as it is. The register's slot in the record is memory of our own. */
export function writeLowByteOfA0(caller: Vcpu): void {
  putBytes(changetype<usize>(caller) + offsetof<Vcpu>("a0"), 1);
}

function write(vm: Vm, gpa: u64, length: u64): i64 {
  let done: u64 = 0;
  while (done < length) {
    const at = gpa + done;
    const part = min<u64>(length - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    const hpa = pinPage(vm, at);
    if (hpa == NOT_MAPPED) return done != 0 ? <i64>done : SBI_INVALID_PARAM;
    putBytes(hpa, part);
    unpinPage(hpa);
    done += part;
  }
  return <i64>done;
}

/** Reads what has been typed, without waiting. A page is pinned before its bytes are taken, so none is lost. */
function read(vm: Vm, gpa: u64, length: u64): i64 {
  let done: u64 = 0;
  while (done < length) {
    const at = gpa + done;
    const part = min<u64>(length - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    const hpa = pinPage(vm, at);
    if (hpa == NOT_MAPPED) return done != 0 ? <i64>done : SBI_INVALID_PARAM;
    const taken = readInto(hpa, part);
    unpinPage(hpa);
    done += taken;
    if (taken < part) break;
  }
  return <i64>done;
}

function readInto(hpa: u64, length: u64): u64 {
  for (let i: u64 = 0; i < length; i++) {
    const byte = getChar();
    if (byte < 0) return i;
    write8(hpa + i, <u32>byte);
  }
  return length;
}
