/**
 * How many arguments the host is shown of the calls of a TVM that it hears of. Registers that are not arguments of the call can hold anything
 * of the guest's, and are shown as 0.
 */

const LEGACY_PUTCHAR: u32 = 0x01;
const COVE_GUEST: u32 = 0x434f5647;
const DEBUG_CONSOLE: u32 = 0x4442434e;
const HART_STATE: u32 = 0x48534d;
const IPI: u32 = 0x735049;
const SYSTEM_RESET: u32 = 0x53525354;

const DBCN_WRITE_BYTE: u64 = 2;
const COVG_UNSHARE_MEMORY: u64 = 3;
const HSM_HART_START: u64 = 0;

/** Arguments, from a0 on, that call `fid` of extension `eid` shows to the host. */
export function shownArguments(eid: u64, fid: u64): u32 {
  if (eid >> 32 != 0) return 0;
  switch (<u32>eid) {
    case DEBUG_CONSOLE:
      return fid == DBCN_WRITE_BYTE ? 1 : 3;
    case COVE_GUEST:
      return fid <= COVG_UNSHARE_MEMORY ? 2 : 1;
    case SYSTEM_RESET:
    case IPI:
      return 2;
    case HART_STATE:
      // Where the guest starts its vCPU, and with what, is its own business.
      return fid == HSM_HART_START ? 1 : 0;
    case LEGACY_PUTCHAR:
      return 1;
    default:
      return 0;
  }
}
