import { markEnd, markStart, read64, write64 } from "../lib/hw";
import { cpuRun } from "../lib/covh";
import { allocateZeroed } from "../lib/heap";
import { ensureNacl } from "../tellus/state";
import { announcePoint, expect } from "./announce";
import { ROUND_TRIPS } from "./bench-map";
import { convertedPages, createSmallTvm, destroySmallTvm, exiting, runToExits, smallProgram } from "./small-tvm";

/** TVM exits while there are many TVMs, or many vCPUs: each runs until it exits, one after the other. */

const MOST_TVMS: u64 = 500;
const MOST_VCPUS: u64 = 128;

export function measureScaleRows(): void {
  assert(ensureNacl() >= 0, "NACL shared memory");
  const program = smallProgram();
  measureTvms(program);
  measureVcpus(program);
}

function measureTvms(program: u64): void {
  const pages = convertedPages(MOST_TVMS, 1);
  const ids = allocateZeroed(1);
  let count: u64 = 0;
  for (let wanted: u64 = 1; wanted <= MOST_TVMS; wanted = next(wanted)) {
    for (; count < wanted; count++) {
      const tvm = createSmallTvm(pages, program, 1, exiting(1));
      write64(ids + count * 8, tvm);
      runToExits(tvm);
    }
    // Once around before: no TVM is new to the hart.
    runTvms(ids, wanted, wanted);
    announcePoint("exits-of-tvms", wanted, ROUND_TRIPS);
    markStart();
    runTvms(ids, wanted, ROUND_TRIPS);
    markEnd();
    const spare = convertedPages(1, 1);
    announcePoint("create-of-tvms", wanted, 1);
    markStart();
    const one = createSmallTvm(spare, program, 1, exiting(1));
    markEnd();
    announcePoint("destroy-of-tvms", wanted, 1);
    markStart();
    destroySmallTvm(one);
    markEnd();
  }
  for (let i: u64 = 0; i < count; i++) destroySmallTvm(read64(ids + i * 8));
}

/** 1, 2, 5, 10, 20, ... */
function next(count: u64): u64 {
  let unit: u64 = 1;
  while (count >= unit * 10) unit *= 10;
  return count == unit * 2 ? unit * 5 : count * 2;
}

function runTvms(ids: u64, count: u64, runs: u64): void {
  let at: u64 = 0;
  for (let i: u64 = 0; i < runs; i++) {
    expect(cpuRun(read64(ids + at * 8), 0), 0);
    if (++at == count) at = 0;
  }
}

function measureVcpus(program: u64): void {
  const tvm = createSmallTvm(convertedPages(1, MOST_VCPUS), program, MOST_VCPUS, exiting(MOST_VCPUS));
  runToExits(tvm);
  for (let count: u64 = 1; count <= MOST_VCPUS; count *= 2) {
    runVcpus(tvm, count, count);
    announcePoint("exits-of-vcpus", count, ROUND_TRIPS);
    markStart();
    runVcpus(tvm, count, ROUND_TRIPS);
    markEnd();
  }
  destroySmallTvm(tvm);
}

function runVcpus(tvm: u64, count: u64, runs: u64): void {
  let at: u64 = 0;
  for (let i: u64 = 0; i < runs; i++) {
    expect(cpuRun(tvm, at), 0);
    if (++at == count) at = 0;
  }
}
