import {
  ATST_DICE_TCB_INFO,
  attestationCapabilities,
  CAPABILITIES_SIZE,
  COVG_CBOR,
  DIGEST_SIZE,
  EID_ATST,
  extendMeasurement,
  getEvidence,
  getEvidenceForKey,
  ISSUER_CHAIN,
  NONCE_SIZE,
  PCR_PAGES,
  PCR_SECOND_RUNTIME,
  putHexBytes,
  readMeasurement,
  TEST_CSR,
  TEST_CSR_KEY,
} from "../lib/attestation";
import { endLine, print, printCharacter } from "../lib/console";
import { shareMemory, unshareMemory } from "../lib/covg";
import { copyBytes, csrRead, read64, read8, write64, zeroBytes } from "../lib/hw";
import { allocateZeroed } from "../lib/heap";
import { beginTest, check, checkEqual, checkSuccess, endTest } from "../lib/protocol";
import { PAGE_SIZE } from "../lib/records";
import { probeExtension, SBI_INVALID_PARAM } from "../lib/sbi";
import { textAt } from "../lib/text";
import { NONCE_PAGE } from "../lib/tvm-map";
import { TIME } from "../../hypervisor/riscv/csr";

/**
 * The attestation steps of the original guestvm: capabilities, a runtime register, and a certificate; and the evidence that leaves the guest over its console, for
 * a verifier outside (docs/evidence.md).
 */

/** SHA-384 of "helloworld", and what register 18 is after it was extended by that. */
const DIGEST: string =
  "97982a5b1414b9078103a1c008c4e3526c27b41cdbcf80790560a40f2a9bf2ed4427ab1428789915ed4b3dc07c454bd9";
const EXTENDED: string =
  "4d783cdfa8d6bc1293d0f1bfb58f9f0b05a8ef723cb8745d142d60ac3b9d213c51f06aa1e9b92ff09f64e4a2d0c8fe87";

const OUTPUT_PAGES: u64 = 4;
/** Bytes that a line of evidence has. */
const LINE_BYTES: u64 = 64;

export function testAttestation(): void {
  const work = allocateZeroed(2);
  const output = allocateZeroed(OUTPUT_PAGES);
  testRegisters(work);
  testEvidence(work, output);
}

function testRegisters(work: u64): void {
  beginTest("measurement registers");
  check(probeExtension(EID_ATST) > 0, "ATST is there");
  checkSuccess(attestationCapabilities(work, CAPABILITIES_SIZE), "GetCapabilities");
  checkEqual(<u64>read8(work + 8), 1, "SHA-384");
  checkEqual((<u64>read8(work + 9)) & 1, 1, "DiceTcbInfo");
  putHexBytes(work, DIGEST);
  checkSuccess(extendMeasurement(work, DIGEST_SIZE, PCR_SECOND_RUNTIME), "ExtendMeasurement");
  checkEqual(<u64>readMeasurement(work, NONCE_SIZE, PCR_SECOND_RUNTIME), DIGEST_SIZE, "ReadMeasurement");
  putHexBytes(work + NONCE_SIZE, EXTENDED);
  let equal = true;
  for (let i: u64 = 0; i < DIGEST_SIZE; i++) if (read8(work + i) != read8(work + NONCE_SIZE + i)) equal = false;
  check(equal, "the register is as computed");
  check(extendMeasurement(work, DIGEST_SIZE, PCR_PAGES) == SBI_INVALID_PARAM, "a static register is the hypervisor's");
  endTest();
}

/** The nonce of whoever asked the host for evidence, read once from a page that the host can write. False if nobody did. */
function takeNonce(to: u64): bool {
  if (!checkSuccess(shareMemory(NONCE_PAGE, PAGE_SIZE), "ShareMemory for the nonce")) return false;
  copyBytes(to, NONCE_PAGE, NONCE_SIZE);
  checkSuccess(unshareMemory(NONCE_PAGE, PAGE_SIZE), "UnshareMemory");
  for (let i: u64 = 0; i < NONCE_SIZE; i++) if (read8(to + i) != 0) return true;
  return false;
}

/** Evidence for a key of ours, as a certificate and as a token, with a nonce that is never the same, and the certificates of the key that signed. */
function testEvidence(work: u64, output: u64): void {
  beginTest("evidence");
  const nonce = work + PAGE_SIZE;
  if (!takeNonce(nonce)) {
    for (let i: u64 = 0; i < NONCE_SIZE; i += 8) write64(nonce + i, csrRead(TIME) * 0x9e3779b97f4a7c15 + i);
  }
  const length = putHexBytes(work, TEST_CSR);
  const room = OUTPUT_PAGES * PAGE_SIZE;
  checkEqual(read64(output), 0, "nothing is there before");
  printBytes("nonce", nonce, NONCE_SIZE);
  const certificate = getEvidence(work, length, nonce, ATST_DICE_TCB_INFO, output, room);
  if (checkSuccess(certificate, "GetEvidence: certificate")) printBytes("certificate", output, <u64>certificate);
  check(getEvidence(work, length, nonce, ATST_DICE_TCB_INFO, output, 64) == SBI_INVALID_PARAM, "no room for it");
  zeroBytes(output, PAGE_SIZE);
  const token = getEvidenceForKey(work + TEST_CSR_KEY, nonce, COVG_CBOR, output, room);
  if (checkSuccess(token, "GetEvidence: token")) printBytes("token", output, <u64>token);
  const chain = getEvidence(0, 0, 0, ISSUER_CHAIN, output, room);
  if (checkSuccess(chain, "GetEvidence: issuers")) printBytes("chain", output, <u64>chain);
  print("EVIDENCE: end");
  endLine();
  // The first byte of the key's OID is not what it should be.
  putHexBytes(work + TEST_CSR_KEY - 9, "07");
  check(getEvidence(work, length, nonce, ATST_DICE_TCB_INFO, output, room) == SBI_INVALID_PARAM, "a broken request");
  endTest();
}

/** `EVIDENCE: KIND hex`, as many lines as it takes. */
function printBytes(kind: string, at: u64, length: u64): void {
  for (let done: u64 = 0; done < length; done += LINE_BYTES) {
    print("EVIDENCE: ");
    print(kind);
    printCharacter(0x20);
    const part = min(length - done, LINE_BYTES);
    for (let i: u64 = 0; i < part; i++) {
      const byte = read8(at + done + i);
      printCharacter(textAt(DIGITS, byte >> 4));
      printCharacter(textAt(DIGITS, byte & 15));
    }
    endLine();
  }
}

const DIGITS: string = "0123456789abcdef";
