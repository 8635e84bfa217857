import { Sha512State, sha512Final, sha512Init, sha512Update } from "../../crypto/sha512";
import { HELPER_AREA, HelperStatus } from "../../umode/layout";
import {
  ID_SIZE,
  KEY_SIZE,
  NONCE_SIZE,
  REQUEST_DEVELOPMENT,
  REQUEST_FLAGS,
  REQUEST_INPUT_LENGTH,
  REQUEST_ISSUER,
  REQUEST_KIND,
  REQUEST_NONCE,
  REQUEST_PUBLIC_KEY,
  REQUEST_REGISTERS,
  REQUEST_SERIAL,
  REQUEST_SUBJECT,
  RequestKind,
} from "../../umode/request";
import { Hart } from "../hart";
import { helperRun, startHelper } from "../helper/run";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { copyFromVm, copyToVm } from "../memory/guest-access";
import { NOT_MAPPED, gpaRangeValid, translate } from "../memory/gstage";
import { EXC_LOAD_GUEST_PAGE, EXC_STORE_GUEST_PAGE } from "../riscv/csr";
import { copyBytes, read8, write32, write64, write8, zeroBytes } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { SBI_FAILED, SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_PENDING } from "../sbi/errors";
import { callAgain } from "../vm/call-again";
import { MEASUREMENT_REGISTERS, registerAddress } from "../vm/measurement";
import { unlessMissing } from "../vm/missing-pages";
import { MEASUREMENT_SIZE } from "../vm/tvm-layout";
import { Vcpu } from "../vm/vcpu";
import { Vm } from "../vm/vm";
import { mustGiveWay } from "../vm/wait";
import { deriveId, SCRATCH_BYTES, SCRATCH_FREE } from "./kdf";
import { Layer } from "./layer";
import { isDevelopment, isPlatformReady, Platform, platformLayer } from "./platform";
import { isVmReady, vmLayer } from "./tvm-keys";

/**
 * Evidence for a VM (docs/evidence.md). Everything that a guest gives is copied in once; the user-mode helper makes the certificate or token; what it made is
 * copied out when it has ended, which answers the call.
 */

/** What is done with the helper's output (HelperRun.purpose). */
const enum Purpose {
  /** It is the answer. */
  Deliver = 0,
  /** It is the first certificate of the issuer chain; those of the platform follow. */
  DeliverChain = 1,
}

const DIGEST: u64 = MEASUREMENT_SIZE;
/** Longest output that a caller can name; longer buffers are not looked at beyond. */
const MAX_OUTPUT: u64 = 4 * PAGE_SIZE;

/** Evidence certificate for the CSR of `length` bytes at `csr`. Caller's answer comes later. */
export function certificateForCsr(
  hart: Hart,
  caller: Vcpu,
  csr: u64,
  length: u64,
  nonce: u64,
  out: u64,
  room: u64,
): i64 {
  if (length == 0 || length > HELPER_AREA) return SBI_INVALID_PARAM;
  const bad = checkOutput(hart, caller, out, room);
  if (bad != 0) return bad;
  const input = hart.helper.input;
  zeroBytes(input, PAGE_SIZE);
  const copied = copyFromVm(caller.vm, csr, <usize>input, length);
  if (copied != 0) return unlessMissing(hart, caller, copied, csr, length, EXC_LOAD_GUEST_PAGE);
  return evidence(hart, caller, RequestKind.CsrCertificate, length, nonce, out, room);
}

/** Evidence (`kind`: KeyCertificate or Token) for the Ed25519 public key of `length` bytes at `key`. */
export function evidenceForKey(
  hart: Hart,
  caller: Vcpu,
  kind: RequestKind,
  key: u64,
  length: u64,
  nonce: u64,
  out: u64,
  room: u64,
): i64 {
  if (length != KEY_SIZE) return SBI_INVALID_PARAM;
  const bad = checkOutput(hart, caller, out, room);
  if (bad != 0) return bad;
  const input = hart.helper.input;
  zeroBytes(input, PAGE_SIZE);
  const copied = copyFromVm(caller.vm, key, <usize>input, length);
  if (copied != 0) return unlessMissing(hart, caller, copied, key, length, EXC_LOAD_GUEST_PAGE);
  return evidence(hart, caller, kind, length, nonce, out, room);
}

/** The certificate of the caller's attestation key, and its issuers. */
export function issuerChain(hart: Hart, caller: Vcpu, out: u64, room: u64): i64 {
  const bad = checkOutput(hart, caller, out, room);
  if (bad != 0) return bad;
  if (!keysDerived(hart, caller.vm)) return callAgain();
  const root = hart.root;
  const scratch = <u64>hart.workPages;
  const layer = vmLayer(root, caller.vm, scratch);
  const platform = platformLayer(root, scratch);
  const request = beginRequest(hart, caller, RequestKind.TvmCertificate, platform);
  // No byte of a guest is in this request: nobody but us decides what the platform signs.
  zeroBytes(hart.helper.input, PAGE_SIZE);
  copyBytes(request + REQUEST_PUBLIC_KEY, layer.publicKey(), KEY_SIZE);
  copyBytes(request + REQUEST_SUBJECT, layer.id(), ID_SIZE);
  putSerial(request, layer.id());
  return begin(hart, platform, Purpose.DeliverChain, out, room);
}

/** The helper has ended: answers the call of the current vCPU. */
export function finishRequest(hart: Hart): void {
  const run = helperRun(hart);
  const caller = hart.vcpu;
  let answer = SBI_FAILED;
  if (run.status == HelperStatus.Ok) answer = deliver(hart, caller);
  else if (run.status == HelperStatus.BadInput || run.status == HelperStatus.TooLong) answer = SBI_INVALID_PARAM;
  caller.a0 = answer < 0 ? <u64>answer : 0;
  caller.a1 = answer < 0 ? 0 : <u64>answer;
}

/** The part of a request that certificate and token have in common; the input page holds what the guest gave. */
function evidence(hart: Hart, caller: Vcpu, kind: RequestKind, length: u64, nonce: u64, out: u64, room: u64): i64 {
  if (!keysDerived(hart, caller.vm)) return callAgain();
  const context = hart.helper;
  const scratch = <u64>hart.workPages;
  const layer = vmLayer(hart.root, caller.vm, scratch);
  const request = beginRequest(hart, caller, kind, layer);
  const copied = copyFromVm(caller.vm, nonce, <usize>(request + REQUEST_NONCE), NONCE_SIZE);
  if (copied != 0) return unlessMissing(hart, caller, copied, nonce, NONCE_SIZE, EXC_LOAD_GUEST_PAGE);
  write64(request + REQUEST_INPUT_LENGTH, length);
  if (kind != RequestKind.CsrCertificate) {
    copyBytes(request + REQUEST_PUBLIC_KEY, context.input, KEY_SIZE);
    deriveId(request + REQUEST_SUBJECT, context.input, scratch);
  }
  const state = changetype<Sha512State>(<usize>(scratch + SCRATCH_FREE));
  const digest = scratch + SCRATCH_FREE + <u64>offsetof<Sha512State>();
  sha512Init(state);
  sha512Update(state, <usize>(request + REQUEST_NONCE), NONCE_SIZE);
  sha512Update(state, <usize>context.input, length);
  sha512Final(state, <usize>digest);
  putSerial(request, digest);
  return begin(hart, layer, Purpose.Deliver, out, room);
}

/**
 * Derives the platform's key and then that of `vm`, if nobody has before: each takes as long as anything else, so what is pending is looked at in between. False if
 * somebody waits; the call that is made again goes on.
 */
function keysDerived(hart: Hart, vm: Vm): bool {
  const root = hart.root;
  const scratch = <u64>hart.workPages;
  if (!isPlatformReady(root)) {
    platformLayer(root, scratch);
    if (mustGiveWay(hart)) return false;
  }
  if (!isVmReady(vm)) {
    vmLayer(root, vm, scratch);
    if (mustGiveWay(hart)) return false;
  }
  return true;
}

/** A request of `kind` in the helper's page, with what every kind has: issuer, registers, flags. Returns its address. */
function beginRequest(hart: Hart, caller: Vcpu, kind: RequestKind, issuer: Layer): u64 {
  const request = hart.helper.request;
  const vm = caller.vm;
  zeroBytes(request, PAGE_SIZE);
  write32(request + REQUEST_KIND, kind);
  write32(request + REQUEST_FLAGS, isDevelopment(hart.root) ? REQUEST_DEVELOPMENT : 0);
  copyBytes(request + REQUEST_ISSUER, issuer.id(), ID_SIZE);
  lockAcquire(lockOfVm(vm));
  copyBytes(request + REQUEST_REGISTERS, <u64>registerAddress(vm, 0), <u64>MEASUREMENT_REGISTERS * DIGEST);
  lockRelease(lockOfVm(vm));
  return request;
}

/** A serial number of 20 bytes: positive, and no shorter encoding (X.690, 8.3.2). */
function putSerial(request: u64, from: u64): void {
  copyBytes(request + REQUEST_SERIAL, from, ID_SIZE);
  write8(request + REQUEST_SERIAL, (read8(from) & 0x3f) | 0x40);
}

function begin(hart: Hart, signer: Layer, purpose: Purpose, out: u64, room: u64): i64 {
  const run = helperRun(hart);
  run.purpose = purpose;
  run.outputGpa = out;
  run.outputLength = room;
  zeroBytes(<u64>hart.workPages, SCRATCH_BYTES);
  startHelper(hart, signer.key());
  return SBI_PENDING;
}

/** Whether `room` bytes at `out` are memory of the caller now; SBI_PENDING if its host is to make them so. */
function checkOutput(hart: Hart, caller: Vcpu, out: u64, room: u64): i64 {
  if (room == 0) return SBI_INVALID_PARAM;
  const length = min(room, MAX_OUTPUT);
  const vm = caller.vm;
  if (!gpaRangeValid(vm, out, length)) return SBI_INVALID_ADDRESS;
  for (let at = out & ~(PAGE_SIZE - 1); at < out + length; at += PAGE_SIZE) {
    if (translate(vm, at) != NOT_MAPPED) continue;
    return unlessMissing(hart, caller, SBI_INVALID_ADDRESS, out, length, EXC_STORE_GUEST_PAGE);
  }
  return 0;
}

/** Copies the output to the caller; returns its length. */
function deliver(hart: Hart, caller: Vcpu): i64 {
  const run = helperRun(hart);
  const first = run.length;
  const platform = changetype<Platform>(hart.root.platform);
  const rest = run.purpose == Purpose.DeliverChain ? platform.chainLength : 0;
  if (first + rest > run.outputLength) return SBI_INVALID_PARAM;
  let copied = copyToVm(caller.vm, run.outputGpa, <usize>hart.helper.output, first);
  for (let done: u64 = 0; copied == 0 && done < rest; done += PAGE_SIZE) {
    const part = min(rest - done, PAGE_SIZE);
    copied = copyToVm(caller.vm, run.outputGpa + first + done, platform.chain + <usize>done, part);
  }
  return copied != 0 ? copied : <i64>(first + rest);
}
