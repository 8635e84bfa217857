import { csrClear, csrProbe, csrRead, csrSet, csrSwap, csrWrite, PROBE_OK } from "../../lib/hw";
import { beginTest, check, checkEqual, endTest, subject } from "../../lib/protocol";
import {
  ATP_MODE_48,
  ATP_MODE_57,
  ATP_MODE_SHIFT,
  EXC_ILLEGAL,
  HENVCFG,
  HGATP,
  HGATP_VMID_SHIFT,
  HGEIE,
  HGEIP,
  HIDELEG,
  HIE,
  HIP,
  HSTATUS,
  VSATP,
} from "../../../hypervisor/riscv/csr";
import { hasGuestFiles } from "../guest-files";

/** hie bits 2, 6, 10 and 12. */
const HIE_BITS: u64 = 0x1444;

/** The hypervisor CSRs that a host has, and that it has no others. */
export function testHostCsrs(): void {
  beginTest("the host's hypervisor CSRs");
  subject("hgeie");
  const files = csrSwap(HGEIE, ~(<u64>0));
  checkEqual(files, 0, "nothing is enabled at first");
  const implemented = csrSwap(HGEIE, 0);
  checkEqual(implemented & (implemented + 2), 0, "bits from 1 on, without a gap");
  check(!hasGuestFiles(1) || implemented != 0, "with COVI there are some");
  checkEqual(csrRead(HGEIE), 0, "cleared");
  checkEqual(csrRead(HGEIP), 0, "hgeip");

  subject("hie");
  csrWrite(HIE, ~(<u64>0));
  checkEqual(csrRead(HIE), HIE_BITS, "its bits");
  csrClear(HIE, 1 << 6);
  checkEqual(csrRead(HIE), HIE_BITS & ~(<u64>(1 << 6)), "one cleared");
  csrWrite(HIE, 0);
  csrSet(HIE, 1 << 2);
  checkEqual(csrSwap(HIE, 0), 1 << 2, "one set");
  subject("hip");
  csrWrite(HIP, ~(<u64>0));
  checkEqual(csrRead(HIP), 0, "ignores writes");

  subject("hgatp");
  const vmid = (<u64>5) << HGATP_VMID_SHIFT;
  const root = (ATP_MODE_48 << ATP_MODE_SHIFT) | vmid;
  csrWrite(HGATP, root | 0x12345);
  checkEqual(csrRead(HGATP), root, "Sv48x4 and a VMID");
  csrWrite(HGATP, ATP_MODE_57 << ATP_MODE_SHIFT);
  checkEqual(csrRead(HGATP), root, "a mode that there is not");
  csrWrite(HGATP, 0);
  checkEqual(csrRead(HGATP), 0, "Bare");

  subject("a register that the host does not have");
  checkEqual(csrProbe(HSTATUS), EXC_ILLEGAL, "hstatus");
  checkEqual(csrProbe(HIDELEG), EXC_ILLEGAL, "hideleg");
  checkEqual(csrProbe(HENVCFG), EXC_ILLEGAL, "henvcfg");
  checkEqual(csrProbe(VSATP), EXC_ILLEGAL, "vsatp");
  checkEqual(csrProbe(HGEIP), PROBE_OK, "hgeip can be read");
  endTest();
}
