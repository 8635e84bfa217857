import { Aplic, APLIC_SIZE, readAplic, writeAplic } from "../devices/aplic";
import { Hart } from "../hart";
import { EXC_LOAD_ACCESS, EXC_STORE_ACCESS, SEPC, STVAL } from "../riscv/csr";
import { csrRead, csrWrite } from "../riscv/hw";
import { injectException } from "./inject";
import { dataRegister, putDataRegister, trappedAccess, trappedLength, TRAPPED_NOTHING } from "./mmio";
import { accessIsStore, accessWidth, loadedValue, storedValue } from "./mmio-decode";
import { Vcpu } from "./vcpu";

/**
 * The host's loads and stores of APLIC registers, which are not mapped in its address space (devices/aplic.ts says what becomes of them).
 */

/** Registers have 32 bits and are accessed as such (AIA 4.5). */
const REGISTER_BYTES: u32 = 4;

/**
 * The host's vCPU, which is current, took guest page fault `cause` (load or store) at `gpa`. False if no APLIC is there and nothing is done. An access of
 * another width is an access fault.
 */
export function accessAplic(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64): bool {
  const root = hart.root;
  if (root.aplic == 0) return false;
  const offset = gpa - changetype<Aplic>(root.aplic).base;
  if (offset >= APLIC_SIZE) return false;
  const trapped = trappedAccess(cause, gpa);
  if (trapped == TRAPPED_NOTHING) return true;

  const access = <u32>trapped;
  const store = accessIsStore(access);
  if (accessWidth(access) != REGISTER_BYTES) {
    injectException(store ? EXC_STORE_ACCESS : EXC_LOAD_ACCESS, csrRead(STVAL));
    return true;
  }
  if (store) writeAplic(root, offset, <u32>storedValue(access, dataRegister(vcpu, access)));
  else putDataRegister(vcpu, access, loadedValue(access, <u64>readAplic(root, offset)));
  csrWrite(SEPC, csrRead(SEPC) + <u64>trappedLength(trapped));
  return true;
}
