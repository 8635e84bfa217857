import { markEnd, markStart, read64, write64 } from "../lib/hw";
import { convertPages, cpuRun, reclaimPages, tsmInitiateFence, tvmDestroy } from "../lib/covh";
import { allocatePages, allocateZeroed } from "../lib/heap";
import { PAGE_SIZE, thisVm } from "../lib/records";
import { remoteSfenceVma } from "../lib/sbi";
import { startOtherHarts } from "../tellus/other-harts";
import { state } from "../tellus/state";
import { announce, expect } from "./announce";
import { ROUND_TRIPS, WARM_UP } from "./bench-map";
import { convertedTvm } from "./bench-tvm";
import { Board, fenceBusyHarts, newBoard, occupy, release } from "./busy-harts";
import { convertedPages, createSmallTvm, exiting, runToExits, smallProgram, SPINNING } from "./small-tvm";
import { createAndFinalize } from "./tvm-rows";

/** Operations of one hart while every other hart runs a TVM: one that computes, and for exits one that exits all the time. */

const PAGES: u64 = 100;

export function measureBusyRows(): void {
  const others = state().hartCount - 1;
  const program = smallProgram();
  // Before the other harts are there, which would have to take part in every fence.
  const tvms = convertedPages(2 * others + 1, 1);
  const memory = allocatePages(2 + PAGES);
  const doomed = convertedTvm();
  createAndFinalize(doomed);
  const own = createSmallTvm(tvms, program, 1, exiting(1));
  runToExits(own);

  const busy = allocateZeroed(1);
  for (let i: u64 = 1; i <= others; i++) {
    write64(busy + i * 16, createSmallTvm(tvms, program, 1, SPINNING));
    write64(busy + i * 16 + 8, createSmallTvm(tvms, program, 1, exiting(1)));
  }
  startOtherHarts(thisVm());

  const computing = newBoard();
  for (let i: u64 = 1; i <= others; i++) occupy(computing, i, read64(busy + i * 16));
  settle(computing, memory);
  measureMemory(computing, memory + PAGE_SIZE);

  announce("remote-fence", 1);
  markStart();
  const fenced = remoteSfenceVma(~0, ~0, 0, ~0);
  markEnd();
  expect(fenced, 0);

  announce("destroy", 1);
  markStart();
  const destroyed = tvmDestroy(doomed.id);
  markEnd();
  expect(destroyed, 0);
  release(computing);

  const leaving = newBoard();
  for (let i: u64 = 1; i <= others; i++) occupy(leaving, i, read64(busy + i * 16 + 8));
  runOwn(own, WARM_UP);
  announce("ecall-exit", ROUND_TRIPS);
  markStart();
  runOwn(own, ROUND_TRIPS);
  markEnd();
  release(leaving);
}

/** Harts that were told to run a TVM are in it when they have answered; the first page splits the leaf that the measured ones are in. */
function settle(board: Board, memory: u64): void {
  expect(convertPages(memory, 1), 1);
  expect(tsmInitiateFence(), 0);
  fenceBusyHarts(board);
}

function measureMemory(board: Board, memory: u64): void {
  announce("convert-1", 1);
  markStart();
  const one = convertPages(memory, 1);
  markEnd();
  expect(one, 1);

  announce("convert-100", 1);
  markStart();
  const converted = convertPages(memory + PAGE_SIZE, PAGES);
  markEnd();
  expect(converted, PAGES);

  announce("fence", 1);
  markStart();
  const initiated = tsmInitiateFence();
  fenceBusyHarts(board);
  markEnd();
  expect(initiated, 0);

  announce("reclaim-100", 1);
  markStart();
  const reclaimed = reclaimPages(memory + PAGE_SIZE, PAGES);
  markEnd();
  expect(reclaimed, PAGES);
}

function runOwn(tvm: u64, count: u64): void {
  for (let i: u64 = 0; i < count; i++) expect(cpuRun(tvm, 0), 0);
}
