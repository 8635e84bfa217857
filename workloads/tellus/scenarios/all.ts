import { heapMark, heapRelease } from "../../lib/heap";
import { testConvertedMemory } from "./converted-memory";
import { testFatalExits } from "./fatal-exits";
import { testGuestCalls } from "./guest-calls";
import { testGuestScenarios } from "./guest-scenarios";
import { testImsic } from "./imsic";
import { testLargeRanges } from "./large-ranges";
import { testMultiprocessor } from "./multiprocessor";
import { testNewVcpuRegisters } from "./new-vcpu";
import { testPageLife } from "./page-life";
import { testRegisters } from "./registers";
import { testSbi } from "./sbi";
import { testSharing } from "./sharing";
import { testTwoHarts } from "./two-harts";
import { testTwoTvms } from "./two-tvms";

/** Every scenario beyond the original's, each with the heap as it was before the first. */
export function runScenarios(): void {
  const mark = heapMark();
  testSbi();
  testImsic();
  heapRelease(mark);
  testConvertedMemory();
  heapRelease(mark);
  testLargeRanges();
  heapRelease(mark);
  testNewVcpuRegisters();
  heapRelease(mark);
  testRegisters();
  heapRelease(mark);
  testGuestScenarios();
  heapRelease(mark);
  testPageLife();
  heapRelease(mark);
  testSharing();
  heapRelease(mark);
  testGuestCalls();
  heapRelease(mark);
  testFatalExits();
  heapRelease(mark);
  testTwoTvms();
  heapRelease(mark);
  testTwoHarts();
  heapRelease(mark);
  testMultiprocessor();
  heapRelease(mark);
}
