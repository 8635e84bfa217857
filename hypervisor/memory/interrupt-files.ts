import { Hart } from "../hart";
import { Root } from "../root";
import { PAGE_SHIFT } from "../riscv/pte";
import { PageState, setRecord } from "./page-record";

/**
 * Who has which guest interrupt file: a record for each file of each hart, with the states of a RAM page (memory/page-record.ts), because
 * the page of a file changes hands by the same protocol.
 *
 *     Owned (host) --ConvertImsic--> Converted --bind--> Owned (TVM) --unbind, rebind, destroy--> Converted --ReclaimImsic--> Owned (host)
 *
 * A file that a TVM left is Claimed until its hart has cleared it (vm/binding.ts).
 */

/** Records of a hart: file numbers are below this. */
export const FILE_RECORDS: u64 = 64;

/** First file that can be given to a TVM: 1 is the host's own. */
const FIRST_FOR_TVMS: u64 = 2;

/** Address of the record of guest file `file` of `hart`, for the functions of memory/page-record.ts. */
// @ts-ignore: decorator
@inline
export function fileRecord(hart: Hart, file: u64): usize {
  return hart.fileRecords + <usize>(file << 3);
}

/** All files but the host's own are its to give, those of `files` (bits of hgeie); the others do not exist. Boot. */
export function initFileRecords(hart: Hart, files: u64, host: u32): void {
  for (let file: u64 = 0; file < FILE_RECORDS; file++) {
    const given = file >= FIRST_FOR_TVMS && ((files >> file) & 1) != 0;
    setRecord(fileRecord(hart, file), given ? PageState.Owned : PageState.Reserved, host, 0);
  }
}

/** No hart has a file there. */
export const NO_FILE: u64 = ~0;

/** Hart index << 8 | number of the guest file whose page is at `hpa`, NO_FILE if it is none that a TVM can get. */
export function fileAt(root: Root, hpa: u64): u64 {
  for (let index: u64 = 0; index < <u64>root.hartCount; index++) {
    const file = (hpa - root.hart(index).imsicPage) >> PAGE_SHIFT;
    if (file >= FIRST_FOR_TVMS && file < FILE_RECORDS && ((root.guestFileMask >> file) & 1) != 0) {
      return (index << 8) | file;
    }
  }
  return NO_FILE;
}
