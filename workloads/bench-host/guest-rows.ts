import { csrRead } from "../lib/hw";
import { addZeroPages, cpuRun, PageType } from "../lib/covh";
import { guestCsr, guestRegister } from "../lib/nacl";
import { PAGE_SIZE } from "../lib/records";
import { EID_SRST } from "../lib/sbi";
import { Reg } from "../lib/assembler";
import { EXC_ECALL_VS, EXC_LOAD_GUEST_PAGE, HTINST, HTVAL, SCAUSE } from "../../hypervisor/riscv/csr";
import { ensureNacl } from "../tellus/state";
import { announce, expect } from "./announce";
import { BenchTvm } from "./bench-tvm";
import { FAULTING_PAGES, ROUND_TRIPS } from "./bench-map";

/** Runs the guest, which marks its measurements itself. They are announced before it starts, in its order. */
export function measureGuestRows(tvm: BenchTvm): void {
  announce("null-call-tvm", ROUND_TRIPS);
  announce("ecall-exit", ROUND_TRIPS);
  announce("mmio-store-exit", ROUND_TRIPS);
  announce("mmio-load-exit", ROUND_TRIPS);
  announce("wfi-exit", ROUND_TRIPS);
  announce("demand-zero-fault", FAULTING_PAGES);
  announce("read-measurement", 1);
  announce("get-evidence-first", 1);
  announce("get-evidence", 1);
  assert(ensureNacl() >= 0, "NACL shared memory");
  runToShutdown(tvm);
}

/**
 * The least that a host does with an exit: a page for a page fault, and nothing for anything else.
 */
function runToShutdown(tvm: BenchTvm): void {
  while (true) {
    const result = cpuRun(tvm.id, 0);
    assert(result >= 0, "CpuRun");
    const cause = csrRead(SCAUSE);
    if (cause == EXC_ECALL_VS) {
      if (guestRegister(Reg.A7) == EID_SRST) return;
    } else if (cause == EXC_LOAD_GUEST_PAGE && guestCsr(HTINST) == 0) {
      expect(addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, guestCsr(HTVAL) << 2), 1);
      tvm.poolNext += PAGE_SIZE;
    }
    assert(result == 0, "the guest failed");
  }
}
