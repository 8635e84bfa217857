import { add64, csrSet, loadAcquire64, pause, storeRelease64 } from "../lib/hw";
import { cpuRun, tsmLocalFence } from "../lib/covh";
import { allocateZeroed } from "../lib/heap";
import { clearSoftwareInterrupt, SIE_SOFTWARE } from "../lib/interrupts";
import { awaitIdle, commandArgument, completeCommand, nextCommand, post } from "../lib/mailbox";
import { sendIpi } from "../lib/sbi";
import { adoptSecondary } from "../lib/start";
import { SIE } from "../../hypervisor/riscv/csr";
import { ensureNacl, hartAt, hartCount } from "../tellus/state";
import { expect } from "./announce";

/** The benchmark's other harts, each of which runs a TVM of its own while the boot hart measures. */

/** What all harts look at: a page of words, changed by atomics. */
@unmanaged
export class Board {
  /** 1: the harts return to their mailboxes. */
  stop: u64;
  /** Number of fences that every other hart has been asked for. */
  wanted: u64;
  /** Local fences made, by all of them. */
  made: u64;
  /** Runs of TVMs that have begun. */
  entered: u64;

  at(offset: usize): u64 {
    return <u64>(changetype<usize>(this) + offset);
  }
}

export function newBoard(): Board {
  return changetype<Board>(<usize>allocateZeroed(1));
}

/** Lets hart `index` (not 0) run `tvm` until `release`; returns when it is about to. */
export function occupy(board: Board, index: u64, tvm: u64): void {
  const before = loadAcquire64(board.at(offsetof<Board>("entered")));
  post(hartAt(index), tvm, changetype<usize>(board));
  while (loadAcquire64(board.at(offsetof<Board>("entered"))) == before) pause();
}

/** Every other hart makes a local fence; returns when all have. */
export function fenceBusyHarts(board: Board): void {
  const wanted = board.wanted + 1;
  storeRelease64(board.at(offsetof<Board>("wanted")), wanted);
  for (let index: u64 = 1; index < hartCount(); index++) sendIpi(1, hartAt(index).id);
  const made = wanted * (hartCount() - 1);
  while (loadAcquire64(board.at(offsetof<Board>("made"))) < made) pause();
}

/** Ends the runs of all other harts. */
export function release(board: Board): void {
  storeRelease64(board.at(offsetof<Board>("stop")), 1);
  for (let index: u64 = 1; index < hartCount(); index++) sendIpi(1, hartAt(index).id);
  for (let index: u64 = 1; index < hartCount(); index++) assert(awaitIdle(hartAt(index)), "a hart gets idle");
}

/** A hart other than the boot hart. A command is the id of a TVM, its argument the board. */
export function serveBusyHart(hartId: u64, stackTop: u64): void {
  const hart = adoptSecondary(stackTop);
  assert(hart.id == hartId, "a hart got another one's stack");
  assert(ensureNacl() >= 0, "NACL shared memory");
  while (true) {
    const tvm = nextCommand();
    runWhileBusy(tvm, changetype<Board>(<usize>commandArgument()));
    completeCommand(0);
  }
}

function runWhileBusy(tvm: u64, board: Board): void {
  let served: u64 = loadAcquire64(board.at(offsetof<Board>("wanted")));
  // The command's own interrupt is not one that ends a run.
  clearSoftwareInterrupt();
  csrSet(SIE, SIE_SOFTWARE);
  add64(board.at(offsetof<Board>("entered")), 1);
  while (loadAcquire64(board.at(offsetof<Board>("stop"))) == 0) {
    expect(cpuRun(tvm, 0), 0);
    clearSoftwareInterrupt();
    const wanted = loadAcquire64(board.at(offsetof<Board>("wanted")));
    if (wanted == served) continue;
    served = wanted;
    expect(tsmLocalFence(), 0);
    add64(board.at(offsetof<Board>("made")), 1);
  }
}
