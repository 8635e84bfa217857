import { CborWriter } from "./cbor-writer";
import { Csr } from "./csr";
import { DerCursor } from "./der-reader";
import { DerWriter } from "./der-writer";
import { HELPER_SCRATCH } from "./layout";

/** Where the helper's records lie in its scratch memory, which is zero at first. */
const CURSORS: usize = <usize>HELPER_SCRATCH;
const CSR: usize = <usize>HELPER_SCRATCH + 512;
const WRITER: usize = <usize>HELPER_SCRATCH + 640;
const CBOR_WRITER: usize = <usize>HELPER_SCRATCH + 768;

/** Cursor `index` (< 16). A function that calls others uses lower numbers than they do. */
// @ts-ignore: decorator
@inline
export function workspace(index: usize): DerCursor {
  return changetype<DerCursor>(CURSORS + index * 32);
}

// @ts-ignore: decorator
@inline
export function csrRecord(): Csr {
  return changetype<Csr>(CSR);
}

// @ts-ignore: decorator
@inline
export function writer(): DerWriter {
  return changetype<DerWriter>(WRITER);
}

// @ts-ignore: decorator
@inline
export function cborWriter(): CborWriter {
  return changetype<CborWriter>(CBOR_WRITER);
}
