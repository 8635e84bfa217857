import { markEnd, markStart, mmioRead64, mmioWrite64, read64, wfi, write64 } from "../lib/hw";
import {
  ATST_DICE_TCB_INFO,
  DIGEST_SIZE,
  getEvidence,
  NONCE_SIZE,
  PCR_PAGES,
  putHexBytes,
  readMeasurement,
  TEST_CSR,
} from "../lib/attestation";
import { addMmioRegion } from "../lib/covg";
import { allocateZeroed } from "../lib/heap";
import { PAGE_SIZE } from "../lib/records";
import { EID_BASE, putchar, RESET_NO_REASON, RESET_SHUTDOWN, sbi, systemReset } from "../lib/sbi";
import { afterImage, startTestVm } from "../lib/start";
import { ZERO_PAGES_START } from "../lib/tvm-map";
import { DEVICE_PAGE, FAULTING_PAGES, FAULTS_BEFORE, ROUND_TRIPS, WARM_UP } from "../bench-host/bench-map";

export { handleTrap as trap } from "../lib/interrupts";
export { reportAssert as panicAssert, reportWasmTrap as panicWasm } from "../lib/panic";

/** Room for a certificate. */
const EVIDENCE_PAGES: u64 = 4;

/**
 * The benchmark's confidential guest: everything that a guest makes happen, each between marks. The host announces these measurements
 * in this order (bench-host/guest-rows.ts).
 */
export function main(hartId: u64, _argument: u64): void {
  startTestVm(hartId, afterImage(), ZERO_PAGES_START);
  nullCalls(WARM_UP);
  markStart();
  nullCalls(ROUND_TRIPS);
  markEnd();

  exitingCalls(WARM_UP);
  markStart();
  exitingCalls(ROUND_TRIPS);
  markEnd();

  assert(addMmioRegion(DEVICE_PAGE, PAGE_SIZE) >= 0, "AddMmioRegion");
  stores(WARM_UP);
  markStart();
  stores(ROUND_TRIPS);
  markEnd();

  loads(WARM_UP);
  markStart();
  loads(ROUND_TRIPS);
  markEnd();

  waits(WARM_UP);
  markStart();
  waits(ROUND_TRIPS);
  markEnd();

  firstTouches(0, FAULTS_BEFORE);
  markStart();
  firstTouches(FAULTS_BEFORE, FAULTING_PAGES);
  markEnd();

  measureAttestation();
  systemReset(RESET_SHUTDOWN, RESET_NO_REASON);
}

/** SBI calls that the hypervisor answers at once. */
function nullCalls(count: u64): void {
  for (let i: u64 = 0; i < count; i++) sbi(EID_BASE, 0);
}

/** SBI calls that are the host's to answer. */
function exitingCalls(count: u64): void {
  for (let i: u64 = 0; i < count; i++) putchar(0x2e);
}

function stores(count: u64): void {
  for (let i: u64 = 0; i < count; i++) mmioWrite64(DEVICE_PAGE, i);
}

function loads(count: u64): void {
  for (let i: u64 = 0; i < count; i++) mmioRead64(DEVICE_PAGE);
}

function waits(count: u64): void {
  for (let i: u64 = 0; i < count; i++) wfi();
}

function firstTouches(first: u64, count: u64): void {
  for (let page = first; page < first + count; page++) {
    assert(read64(ZERO_PAGES_START + page * PAGE_SIZE) == 0, "a new page is zero");
  }
}

/** A measurement register, and a certificate: the first one has the TVM's keys derived. */
function measureAttestation(): void {
  const request = allocateZeroed(1);
  const nonce = allocateZeroed(1);
  const output = allocateZeroed(EVIDENCE_PAGES);
  const length = putHexBytes(request, TEST_CSR);
  assert(readMeasurement(output, DIGEST_SIZE, PCR_PAGES) == <i64>DIGEST_SIZE, "ReadMeasurement");
  markStart();
  readMeasurement(output, DIGEST_SIZE, PCR_PAGES);
  markEnd();

  for (let i: u64 = 0; i < 2; i++) {
    write64(nonce, NONCE_SIZE + i);
    markStart();
    const written = getEvidence(request, length, nonce, ATST_DICE_TCB_INFO, output, EVIDENCE_PAGES * PAGE_SIZE);
    markEnd();
    assert(written > 0, "GetEvidence");
  }
}

export function secondaryMain(_hartId: u64, _stackTop: u64): void {
  assert(false, "the guest has one vCPU");
}
