import { convertPages, PAGE_DIRECTORY_PAGES, tvmCreate, tvmDestroy } from "../../lib/covh";
import { write64, read64 } from "../../lib/hw";
import { allocatePages, allocatePagesAligned, heapLeft } from "../../lib/heap";
import {
  beginTest,
  check,
  checkEqual,
  checkResult,
  checkSuccess,
  endTest,
  skipTest,
  subject,
} from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { SBI_FAILED, SBI_INVALID_PARAM } from "../../lib/sbi";
import { fenceAllHarts } from "../fences";
import { parameterBuffer, state } from "../state";
import { reclaimAndVerify } from "../tvm-builder";

/** More TVMs than there can be. */
const TOO_MANY: u64 = 4200;
/** As many as a host should be able to have. */
const ENOUGH: u64 = 1000;

/** TVMs until there is no id left; then one more after one of them ended. */
export function testTvmLimit(): void {
  // A multiple of 16 KiB for each: the directory is aligned to that.
  const each = (PAGE_DIRECTORY_PAGES + state().tvmStatePages + 3) & ~3;
  if (heapLeft() < (TOO_MANY * each + 32) * PAGE_SIZE) {
    skipTest("as many TVMs as there can be", "too little memory");
    return;
  }
  beginTest("as many TVMs as there can be");
  const ids = allocatePages((TOO_MANY * 8) / PAGE_SIZE + 1);
  const pages = allocatePagesAligned(TOO_MANY * each, PAGE_DIRECTORY_PAGES * PAGE_SIZE);
  checkSuccess(convertPages(pages, TOO_MANY * each), "ConvertPages");
  fenceAllHarts();
  let count: u64 = 0;
  let result: i64 = 0;
  while (count < TOO_MANY) {
    result = create(pages + count * each * PAGE_SIZE);
    if (result < 0) break;
    write64(ids + count * 8, <u64>result);
    count++;
  }
  checkResult(result, SBI_FAILED, "the first TVM too many");
  check(count >= ENOUGH, "TVMs before that");
  subject("an id in the middle");
  const middle = read64(ids + (count / 2) * 8);
  checkResult(tvmDestroy(middle), 0, "TvmDestroy");
  const again = create(pages + count * each * PAGE_SIZE);
  if (checkSuccess(again, "TvmCreate when there is room again")) {
    check(<u64>again != middle, "ids are not used twice");
    checkResult(tvmDestroy(middle), SBI_INVALID_PARAM, "TvmDestroy of the old id");
    checkResult(tvmDestroy(<u64>again), 0, "TvmDestroy of the new id");
  }
  subject("all others");
  let destroyed: u64 = 0;
  for (let i: u64 = 0; i < count; i++) if (tvmDestroy(read64(ids + i * 8)) == 0) destroyed++;
  checkEqual(destroyed, count - 1, "TVMs destroyed");
  reclaimAndVerify(pages, TOO_MANY * each);
  endTest();
}

function create(pages: u64): i64 {
  return tvmCreate(parameterBuffer(), pages, pages + PAGE_DIRECTORY_PAGES * PAGE_SIZE);
}
