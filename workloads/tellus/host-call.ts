import { commandResult, runOn } from "../lib/mailbox";
import { EID_COVI, sbi } from "../lib/sbi";
import { thisHart } from "../lib/records";
import { HartCommand } from "./commands";
import { hartAt } from "./state";

/** An SBI call of tellus that is made on a chosen hart. */
@unmanaged
export class HostCall {
  eid: u64;
  fid: u64;
  a0: u64;
  a1: u64;
  a2: u64;
}

/** Makes the call on this hart; the result as sbi() gives it. */
export function makeHostCall(call: HostCall): u64 {
  return <u64>sbi(call.eid, call.fid, call.a0, call.a1, call.a2);
}

/** What a hart that does not answer gives. */
const NO_ANSWER: i64 = i64.MIN_VALUE;

/** COVI call `fid` on hart `index` of tellus' records. `call` is memory for it. */
export function coviOn(call: HostCall, index: u64, fid: u64, a0: u64, a1: u64, a2: u64 = 0): i64 {
  call.eid = EID_COVI;
  call.fid = fid;
  call.a0 = a0;
  call.a1 = a1;
  call.a2 = a2;
  if (index == thisHart().index) return <i64>makeHostCall(call);
  const hart = hartAt(index);
  return runOn(hart, HartCommand.HostCall, changetype<usize>(call)) ? <i64>commandResult(hart) : NO_ANSWER;
}
