import { fpFill, fpMatches, read64, vectorFill, vectorMatches, wfi, write64 } from "../../lib/hw";
import { beginTest, check, checkEqual, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE, TestVm } from "../../lib/records";
import { SCRATCH_START } from "../../lib/tvm-map";

const ROUNDS: u64 = 12;
const PAGES: u64 = 4;

/**
 * Counts in its own memory and in its own FP and vector registers, and lets the host run something else after each round. Two
 * TVMs do this at once with different seeds; neither may see anything of the other.
 */
export function runCounter(vm: TestVm, seed: u64): void {
  beginTest("memory and registers are this TVM's own");
  for (let round: u64 = 0; round < ROUNDS; round++) {
    const value = (seed << 32) | round;
    fpFill(value);
    if (vm.hasVectors != 0) vectorFill(value);
    for (let page: u64 = 0; page < PAGES; page++) countIn(SCRATCH_START + page * PAGE_SIZE, seed, round);
    wfi();
    subject("after another TVM ran");
    check(fpMatches(value), "FP registers");
    if (vm.hasVectors != 0) check(vectorMatches(value), "vector registers");
    for (let page: u64 = 0; page < PAGES; page++) {
      checkEqual(read64(SCRATCH_START + page * PAGE_SIZE), (seed << 32) | (round + 1), "counter in memory");
    }
  }
  endTest();
}

/** A counter with the seed in its upper half; a new page holds zero. */
function countIn(address: u64, seed: u64, round: u64): void {
  checkEqual(read64(address), round == 0 ? 0 : (seed << 32) | round, "counter before the round");
  write64(address, (seed << 32) | (round + 1));
}
