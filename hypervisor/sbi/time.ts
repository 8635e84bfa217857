import { Hart } from "../hart";
import { setGuestTimer } from "../vm/timer";
import { Vcpu } from "../vm/vcpu";
import { SBI_NOT_SUPPORTED } from "./errors";

const SET_TIMER: u64 = 0;

/** Timer extension, EID 0x54494D45 (SBI 3.0 chapter 6): set_timer(time of the VM). */
export function timeCall(hart: Hart, vcpu: Vcpu, fid: u64): i64 {
  if (fid != SET_TIMER) return SBI_NOT_SUPPORTED;
  setGuestTimer(hart, vcpu, vcpu.a0);
  return 0;
}
