import { CovgFunction } from "../../lib/covg";
import { CovhFunction } from "../../lib/covh";
import { beginTest, checkResult, endTest, subject } from "../../lib/protocol";
import {
  EID_BASE,
  EID_COVG,
  EID_COVH,
  EID_DBCN,
  EID_HSM,
  EID_IPI,
  EID_NACL,
  EID_RFENCE,
  EID_SRST,
  EID_TIME,
  probeExtension,
  sbi,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
} from "../../lib/sbi";

/** Calls that do not exist, and guest ids that name no guest. */
export function testUnknownCalls(): void {
  beginTest("unknown extensions and functions");
  checkResult(sbi(0x0bad_cafe, 0), SBI_NOT_SUPPORTED, "an unknown extension");
  checkResult(sbi(EID_COVH | ((<u64>1) << 32), 0), SBI_NOT_SUPPORTED, "COVH with a bit above 31");
  checkResult(probeExtension(0x0bad_cafe), 0, "probe of an unknown extension");
  checkResult(probeExtension(EID_COVH | ((<u64>1) << 32)), 0, "probe of COVH with a bit above 31");
  unknownFunctions();
  subject("COVG from a host");
  checkResult(probeExtension(EID_COVG), 0, "probe");
  for (let fid: u64 = 0; fid <= <u64>CovgFunction.End; fid++) {
    checkResult(sbi(EID_COVG, fid, 0x1000, 0x1000), SBI_NOT_SUPPORTED, "call");
  }
  endTest();

  beginTest("guest ids that name no guest");
  unknownGuest(0);
  unknownGuest(1);
  unknownGuest(0xdead_beef);
  unknownGuest(~0);
  endTest();
}

function unknownFunctions(): void {
  subject("the first unknown function");
  checkResult(sbi(EID_BASE, 7), SBI_NOT_SUPPORTED, "Base");
  checkResult(sbi(EID_TIME, 1), SBI_NOT_SUPPORTED, "TIME");
  checkResult(sbi(EID_IPI, 1), SBI_NOT_SUPPORTED, "IPI");
  checkResult(sbi(EID_RFENCE, 7), SBI_NOT_SUPPORTED, "RFENCE");
  checkResult(sbi(EID_HSM, 4), SBI_NOT_SUPPORTED, "HSM");
  checkResult(sbi(EID_SRST, 1), SBI_NOT_SUPPORTED, "SRST");
  checkResult(sbi(EID_DBCN, 3), SBI_NOT_SUPPORTED, "DBCN");
  checkResult(sbi(EID_NACL, 5), SBI_NOT_SUPPORTED, "NACL");
  checkResult(sbi(EID_COVH, CovhFunction.End), SBI_NOT_SUPPORTED, "COVH");
  subject("a function number with a bit above 31");
  checkResult(sbi(EID_BASE, (<u64>1) << 32), SBI_NOT_SUPPORTED, "Base");
  checkResult(sbi(EID_COVH, (<u64>1) << 32), SBI_NOT_SUPPORTED, "COVH");
}

/** Every call on a TVM, with arguments that would be right for one that exists. */
function unknownGuest(id: u64): void {
  for (let fid: u64 = CovhFunction.TvmFinalize; fid < <u64>CovhFunction.End; fid++) {
    checkResult(sbi(EID_COVH, fid, id, 0x8020_0000, 0x1000, 0, 1, 0x8020_0000), SBI_INVALID_PARAM, "unknown guest id");
  }
}
