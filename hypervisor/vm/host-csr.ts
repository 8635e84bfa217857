import { filesForTvms } from "../devices/imsic";
import { Hart } from "../hart";
import {
  ATP_MODE_48,
  ATP_MODE_BARE,
  ATP_MODE_SHIFT,
  HGATP,
  HGATP_VMID_SHIFT,
  HGEIE,
  HGEIP,
  HIE,
  HIP,
  IRQ_SGEI,
  SEPC,
  SIE,
  SIP,
  STIMECMP,
  VSIE,
  VSIP,
  VSTIMECMP,
} from "../riscv/csr";
import { csrRead, csrWrite } from "../riscv/hw";
import { hostFilesPending, isOffered, rewatch } from "./guest-external";
import { VS_INTERRUPTS } from "./csr-policy";
import { hasGuestComparator } from "./timer";
import { Vcpu } from "./vcpu";

/**
 * The hypervisor CSRs that a host has, which is in VS-mode and gets a virtual-instruction exception for each access:
 *
 * | CSR    | what it is |
 * | ------ | ---------- |
 * | hie    | bits 2, 6, 10, 12 are kept; 12 (SGEIE) makes the files of hgeie interrupt the host |
 * | hip    | bit 12 (SGEIP): one of the files of hgeie has something to deliver; writes are ignored |
 * | hgeie  | bits 1 to the number of its guest files |
 * | hgeip  | the same bits, as the hardware has them; read only |
 * | hgatp  | VMID, and MODE 0 or Sv48x4, are kept and mean nothing; PPN is 0 |
 *
 * While hvictl offers the host an interrupt (vm/guest-external.ts) its accesses to sie, sip and stimecmp trap as well, and are made for it.
 */

const OPCODE_MASK: u64 = 0x7f;
const OPCODE_SYSTEM: u64 = 0x73;
const FUNCT3_SHIFT: u64 = 12;
const FUNCT3_IMMEDIATE: u64 = 4;
const RD_SHIFT: u64 = 7;
const RS1_SHIFT: u64 = 15;
const REGISTER_MASK: u64 = 31;
const CSR_SHIFT: u64 = 20;
const CSR_MASK: u64 = 0xfff;
const INSTRUCTION_LENGTH: u64 = 4;

/** funct3 without its immediate bit. */
const enum Operation {
  Write = 1,
  Set = 2,
  Clear = 3,
}

const SGEIP: u64 = 1 << IRQ_SGEI;
const HIE_WRITABLE: u64 = VS_INTERRUPTS | SGEIP;

/**
 * Does the CSR instruction that the current host vCPU trapped with, in VS-mode. False, and nothing done, if it is none or the host has no such
 * register.
 */
export function emulateHostCsr(hart: Hart, vcpu: Vcpu, instruction: u64): bool {
  const funct3 = (instruction >> FUNCT3_SHIFT) & 7;
  const operation = <u32>(funct3 & ~FUNCT3_IMMEDIATE);
  if ((instruction & OPCODE_MASK) != OPCODE_SYSTEM || operation == 0) return false;
  const csr = <u32>((instruction >> CSR_SHIFT) & CSR_MASK);
  if (!exists(hart, csr)) return false;

  const rs1 = <u32>((instruction >> RS1_SHIFT) & REGISTER_MASK);
  const source = (funct3 & FUNCT3_IMMEDIATE) != 0 ? <u64>rs1 : vcpu.gpr(rs1);
  const writes = operation == Operation.Write || rs1 != 0;
  if (writes && csr == HGEIP) return false;
  const old = readHostCsr(hart, vcpu, csr);
  if (writes) {
    let value = source;
    if (operation == Operation.Set) value = old | source;
    else if (operation == Operation.Clear) value = old & ~source;
    writeHostCsr(hart, vcpu, csr, value);
  }
  vcpu.setGpr(<u32>((instruction >> RD_SHIFT) & REGISTER_MASK), old);
  csrWrite(SEPC, csrRead(SEPC) + INSTRUCTION_LENGTH);
  return true;
}

function exists(hart: Hart, csr: u32): bool {
  switch (csr) {
    case HIE:
    case HIP:
    case HGEIE:
    case HGEIP:
    case HGATP:
      return true;
    case SIE:
    case SIP:
      return isOffered(hart);
    case STIMECMP:
      return isOffered(hart) && hasGuestComparator(hart.root);
    default:
      return false;
  }
}

function readHostCsr(hart: Hart, vcpu: Vcpu, csr: u32): u64 {
  switch (csr) {
    case HIE:
      return vcpu.virtualHie;
    case HIP:
      return (hostFilesPending(hart) & vcpu.virtualHgeie) != 0 ? SGEIP : 0;
    case HGEIE:
      return vcpu.virtualHgeie;
    case HGEIP:
      return hostFilesPending(hart);
    case HGATP:
      return vcpu.virtualHgatp;
    case SIE:
      return csrRead(VSIE);
    case SIP:
      return csrRead(VSIP);
    default:
      return csrRead(VSTIMECMP);
  }
}

function writeHostCsr(hart: Hart, vcpu: Vcpu, csr: u32, value: u64): void {
  switch (csr) {
    case HIE:
      vcpu.virtualHie = value & HIE_WRITABLE;
      return rewatch(hart);
    case HIP:
      return;
    case HGEIE:
      vcpu.virtualHgeie = value & filesForTvms(hart.root);
      return rewatch(hart);
    case HGATP:
      return writeHgatp(hart, vcpu, value);
    case SIE:
      return csrWrite(VSIE, value);
    case SIP:
      return csrWrite(VSIP, value);
    default:
      return csrWrite(VSTIMECMP, value);
  }
}

/** A mode that there is not leaves the register as it was. */
function writeHgatp(hart: Hart, vcpu: Vcpu, value: u64): void {
  const mode = value >> ATP_MODE_SHIFT;
  if (mode != ATP_MODE_BARE && mode != ATP_MODE_48) return;
  const vmids = (((<u64>1) << hart.root.vmidBits) - 1) << HGATP_VMID_SHIFT;
  vcpu.virtualHgatp = (mode << ATP_MODE_SHIFT) | (value & vmids);
}
