import { read64, write64 } from "../../lib/hw";
import { beginTest, check, endTest } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { STRESS_BYTES, STRESS_START } from "../../lib/tvm-map";

/** Counts in a word of every page of the stress ranges, `rounds` times, while the host changes what is under them. */
export function runStress(rounds: u64): void {
  beginTest("memory holds while the host changes its pages");
  let wrong: u64 = 0;
  for (let round: u64 = 0; round < rounds; round++) {
    for (let offset: u64 = 0; offset < STRESS_BYTES; offset += PAGE_SIZE) {
      // Each page has its own number, at a place of its own.
      const address = STRESS_START + offset + ((offset >> 9) & 0xff8);
      if (read64(address) != (round == 0 ? 0 : offset + round)) wrong++;
      write64(address, offset + round + 1);
    }
  }
  check(wrong == 0, "every word is what was written last");
  endTest();
}
