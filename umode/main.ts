import { csrCertificate, keyCertificate, tvmCertificate } from "./certificate";
import { isSignedByItsKey, readCsr } from "./csr";
import { hypercall } from "./hw";
import { HELPER_AREA, HELPER_INPUT, HelperStatus, Hypercall } from "./layout";
import { REQUEST_INPUT_LENGTH, REQUEST_KIND, RequestKind, field } from "./request";
import { token } from "./token";
import { csrRecord } from "./workspace";

/**
 * The user-mode helper: parses what a guest gives and builds certificates and tokens, where a mistake costs an error answer and nothing else. It is
 * entered here for one request, with memory that is zero, and has no secrets.
 */
export function main(): void {
  const length = serve();
  // A length of 0 is no certificate: the status is in the other half.
  hypercall(Hypercall.Done, length >> 32, length & 0xffff_ffff, 0);
}

/** Status in the upper half, bytes of output in the lower. */
function serve(): u64 {
  switch (load<u32>(field(REQUEST_KIND))) {
    case RequestKind.CsrCertificate: {
      const length = load<u64>(field(REQUEST_INPUT_LENGTH));
      const csr = csrRecord();
      if (length > HELPER_AREA || !readCsr(<usize>HELPER_INPUT, length, csr)) return status(HelperStatus.BadInput);
      if (!isSignedByItsKey(csr)) return status(HelperStatus.BadInput);
      return made(csrCertificate(csr));
    }
    case RequestKind.KeyCertificate:
      return made(keyCertificate());
    case RequestKind.TvmCertificate:
      return made(tvmCertificate());
    case RequestKind.Token:
      return made(token());
    default:
      return status(HelperStatus.Unknown);
  }
}

function status(value: HelperStatus): u64 {
  return (<u64>value) << 32;
}

function made(length: u64): u64 {
  return length == 0 ? status(HelperStatus.TooLong) : length;
}

/** An `assert` failed. Never returns. */
export function panicAssert(_message: usize, _file: usize, _line: u32, _column: u32): void {
  hypercall(Hypercall.Panic, 0, 0, 0);
}

/** The compiled code trapped. Never returns. */
export function panicWasm(_kind: u32): void {
  hypercall(Hypercall.Panic, 0, 0, 0);
}
