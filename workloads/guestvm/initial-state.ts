import { csrProbe, csrRead, fpIsZero, PROBE_OK, vectorIsZero } from "../lib/hw";
import { check, checkEqual } from "../lib/protocol";
import { TestVm } from "../lib/records";
import {
  SATP,
  SCAUSE,
  SCOUNTEREN,
  SENVCFG,
  SEPC,
  SIE,
  SISELECT,
  SSCRATCH,
  SSTATUS,
  SSTATUS_SIE,
  SSTATUS_SUM,
  STVAL,
  TIME,
} from "../../hypervisor/riscv/csr";

/**
 * The registers that the boot vCPU found, taken before anything but the start code ran: they must not carry what the host or
 * another TVM left there. (General registers are looked at on a vCPU that starts in a few instructions of its own:
 * scenarios/registers.ts.)
 */
@unmanaged
export class InitialState {
  sscratch: u64;
  satp: u64;
  sie: u64;
  sepc: u64;
  scause: u64;
  stval: u64;
  sstatus: u64;
  scounteren: u64;
  senvcfg: u64;
  siselect: u64;
  time: u64;
  fpZero: u32;
  vectorsZero: u32;
}

/** Stores the state into the program's record. */
export function captureInitialState(vm: TestVm): void {
  const state = initialState(vm);
  state.sscratch = csrRead(SSCRATCH);
  state.satp = csrRead(SATP);
  state.sie = csrRead(SIE);
  state.sepc = csrRead(SEPC);
  state.scause = csrRead(SCAUSE);
  state.stval = csrRead(STVAL);
  state.sstatus = csrRead(SSTATUS);
  state.scounteren = csrRead(SCOUNTEREN);
  state.time = csrRead(TIME);
  state.fpZero = fpIsZero() ? 1 : 0;
  state.vectorsZero = vm.hasVectors == 0 || vectorIsZero() ? 1 : 0;
  // These two may not exist; the probe itself uses sscratch, sepc and scause, so they come last.
  state.senvcfg = csrProbe(SENVCFG) == PROBE_OK ? csrRead(SENVCFG) : 0;
  state.siselect = csrProbe(SISELECT) == PROBE_OK ? csrRead(SISELECT) : 0;
}

/** The state that `captureInitialState` stored. */
export function initialState(vm: TestVm): InitialState {
  return changetype<InitialState>(vm.program);
}

/** Checks, within a test, that the state is that of a vCPU on which nothing ran before. */
export function checkInitialState(vm: TestVm): void {
  const state = initialState(vm);
  checkEqual(state.sscratch, 0, "sscratch at start");
  checkEqual(state.satp, 0, "satp at start");
  checkEqual(state.sie, 0, "sie at start");
  checkEqual(state.sepc, 0, "sepc at start");
  checkEqual(state.scause, 0, "scause at start");
  checkEqual(state.stval, 0, "stval at start");
  checkEqual(state.sstatus & (SSTATUS_SIE | SSTATUS_SUM), 0, "sstatus.SIE and SUM at start");
  checkEqual(state.scounteren & ~7, 0, "scounteren at start");
  checkEqual(state.senvcfg, 0, "senvcfg at start");
  checkEqual(state.siselect, 0, "siselect at start");
  check(state.fpZero != 0, "FP registers are zero at start");
  check(state.vectorsZero != 0, "vector registers are zero at start");
  // The clock of a TVM starts with its first run: ten minutes are more than any test takes.
  check(state.time < 600 * vm.timebase, "the TVM's clock starts at its first run");
}
