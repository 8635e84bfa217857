import { mmioRead8, mmioWrite32, read64, vectorFill, vectorMatches, wfi, write64 } from "../lib/hw";
import { testAttestation } from "./attestation";
import { addMmioRegion, removeMmioRegion, shareMemory, unshareMemory } from "../lib/covg";
import { endLine, print, printHex, printLine } from "../lib/console";
import { beginHartTest, beginTest, check, checkEqual, checkSuccess, endTest } from "../lib/protocol";
import { PAGE_SIZE, HUGE_PAGE_SIZE, TestVm } from "../lib/records";
import { EID_COVG, probeExtension } from "../lib/sbi";
import {
  DEMOTE_PAGE,
  MMIO_LOAD_VALUE,
  MMIO_PAGE,
  PING,
  PONG,
  PROMOTE_PAGE,
  SHARED_WINDOW,
  ZERO_PAGES,
  ZERO_PAGES_START,
} from "../lib/tvm-map";

/** The steps of the original guestvm, in its order and with its words. */
export function runOriginalSequence(vm: TestVm): void {
  printLine("*****************************************");
  printLine("Hello world from Tellus guest");
  printLine("*****************************************");
  beginHartTest("guestvm boot");
  check(probeExtension(EID_COVG) > 0, "COVG is there for a TVM");
  endTest();
  printLine(vm.hasVectors != 0 ? "Vectors are enabled" : "Vectors are not enabled");

  testAttestation();
  testZeroPages();
  testMemorySharing();
  if (vm.hasVectors != 0) testVectors();
  testEmulatedMmio();
  testEmulatedMmio();
  testInterrupts();
  testHugePages();
  printLine("Exiting guest");
}

function testZeroPages(): void {
  beginTest("test demand-zero pages");
  for (let page: u64 = 0; page < ZERO_PAGES; page++) {
    const address = ZERO_PAGES_START + page * PAGE_SIZE + 16;
    checkEqual(read64(address), 0, "a new page is zero");
    write64(address, page + 1);
    checkEqual(read64(address), page + 1, "a new page keeps what is written");
  }
  endTest();
}

function testMemorySharing(): void {
  beginTest("Test memory sharing");
  checkSuccess(shareMemory(SHARED_WINDOW, PAGE_SIZE), "ShareMemory");
  checkEqual(read64(SHARED_WINDOW), PING, "the host's word in the shared page");
  write64(SHARED_WINDOW, PONG);
  checkSuccess(unshareMemory(SHARED_WINDOW, PAGE_SIZE), "UnshareMemory");
  checkEqual(read64(SHARED_WINDOW), 0, "the page is a new one when it is confidential again");
  write64(SHARED_WINDOW, 0xdeadbeef);
  checkEqual(read64(SHARED_WINDOW), 0xdeadbeef, "the confidential page keeps what is written");
  checkSuccess(shareMemory(SHARED_WINDOW, PAGE_SIZE), "ShareMemory again");
  endTest();
}

function testVectors(): void {
  beginTest("test vectors");
  const seed: u64 = 0x1234;
  vectorFill(seed);
  printLine("This text leaves the guest while its vector registers are full");
  check(vectorMatches(seed), "vector registers survive an exit");
  endTest();
}

function testEmulatedMmio(): void {
  beginTest("test emulated mmio");
  checkSuccess(addMmioRegion(MMIO_PAGE, PAGE_SIZE), "AddMmioRegion");
  mmioWrite32(MMIO_PAGE, 0xaabbccdd);
  const answer = mmioRead8(MMIO_PAGE + 0x20);
  print("Host says: ");
  printHex(<u64>answer);
  endLine();
  checkEqual(<u64>answer, MMIO_LOAD_VALUE, "emulated load");
  checkSuccess(removeMmioRegion(MMIO_PAGE, PAGE_SIZE), "RemoveMmioRegion");
  endTest();
}

function testInterrupts(): void {
  beginTest("test interrupts");
  wfi();
  printLine("WFI returned");
  endTest();
}

function testHugePages(): void {
  beginTest("test huge pages");
  checkHugePage(PROMOTE_PAGE);
  checkHugePage(DEMOTE_PAGE);
  endTest();
}

/** Writes and reads the first and the last small page of a 2 MiB range. */
function checkHugePage(gpa: u64): void {
  const last = gpa + HUGE_PAGE_SIZE - PAGE_SIZE;
  write64(gpa, gpa);
  write64(last, last);
  checkEqual(read64(gpa), gpa, "first page of a huge page");
  checkEqual(read64(last), last, "last page of a huge page");
}
