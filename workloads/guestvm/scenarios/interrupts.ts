import {
  csrRead,
  csrSet,
  csrSwap,
  csrWrite,
  loadAcquire64,
  mmioWrite32,
  pause,
  read64,
  storeRelease64,
  wfi,
  write64,
} from "../../lib/hw";
import { ALL_INTERRUPTS, allowExternalInterrupt, denyExternalInterrupt, shareMemory } from "../../lib/covg";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { allocateZeroed } from "../../lib/heap";
import { allowInterrupts, maskInterrupts, SIE_EXTERNAL } from "../../lib/interrupts";
import { post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest } from "../../lib/protocol";
import { PAGE_SIZE, TestVm, thisHart } from "../../lib/records";
import { SBI_INVALID_PARAM } from "../../lib/sbi";
import { awaitOnline, createHart, reserveHarts, startHart } from "../../lib/start";
import {
  BOARD_SENT,
  BOARD_STOP,
  FIRST_GUEST_IDENTITY,
  GUEST_IMSIC,
  IDENTITIES,
  INTERRUPT_BOARD,
} from "../../lib/tvm-map";
import { IRQ_SEI, SCAUSE_INTERRUPT, SIE, SIREG, SISELECT, STOPEI } from "../../../hypervisor/riscv/csr";
import { VcpuCommand } from "../secondary";

const EIDELIVERY: u64 = 0x70;
const EITHRESHOLD: u64 = 0x72;
const EIE0: u64 = 0xc0;
/** More identities than any interrupt file has. */
const NO_IDENTITY: u64 = 2048;
/** Times that an interrupt of another vCPU is looked for before the vCPU waits. */
const LOOKS: u64 = 20;

/** What vCPU 1 sends to vCPU 0, in confidential memory: an identity is sent again when the last one was received. */
@unmanaged
export class Sender {
  /** Set when nothing more is to be sent (atomic). */
  stop: u64;
  /** Set when everything that was sent was received (atomic). */
  done: u64;

  at(offset: usize): u64 {
    return <u64>(changetype<usize>(this) + offset);
  }

  /** Address of the number of interrupts sent with `identity`. */
  sent(identity: u64): u64 {
    return this.at(0) + 1024 + identity * 8;
  }

  received(identity: u64): u64 {
    return this.at(0) + 2048 + identity * 8;
  }
}

/**
 * Counts the interrupts that it receives, by identity, in a page that the host sees, until the host says stop. With two vCPUs the second sends
 * some of them. Every interrupt that was sent must arrive, wherever the vCPU and its file are meanwhile.
 */
export function runInterrupts(vm: TestVm, vcpus: u64): void {
  beginTest("the interrupt file of a vCPU");
  checkSuccess(shareMemory(INTERRUPT_BOARD, PAGE_SIZE), "ShareMemory");
  openFile();
  testOwnInterrupt();
  testAllowList();
  endTest();

  beginTest("every interrupt is received once");
  const sender = changetype<Sender>(<usize>allocateZeroed(1));
  if (vcpus > 1) startSender(vm, sender);
  else sender.done = 1;
  countInterrupts(sender);
  let lost: u64 = 0;
  let sent: u64 = 0;
  for (let identity = FIRST_GUEST_IDENTITY; identity < IDENTITIES; identity++) {
    sent += read64(sender.sent(identity));
    if (read64(sender.sent(identity)) != read64(sender.received(identity))) lost++;
  }
  write64(INTERRUPT_BOARD + BOARD_SENT, sent);
  checkEqual(lost, 0, "identities of which an interrupt was lost");
  endTest();
}

/** Turns this vCPU's own file on, with every identity enabled. */
export function openFile(): void {
  write(EIDELIVERY, 1);
  write(EITHRESHOLD, 0);
  write(EIE0, ~(<u64>1));
}

function write(register: u64, value: u64): void {
  csrWrite(SISELECT, register);
  csrWrite(SIREG, value);
}

/** A store to its own file's page interrupts the vCPU, without an exit. */
function testOwnInterrupt(): void {
  const hart = thisHart();
  const before = hart.interruptsTaken;
  mmioWrite32(GUEST_IMSIC, 5);
  csrSet(SIE, SIE_EXTERNAL);
  const deadline = deadlineIn(PATIENCE);
  allowInterrupts();
  while (hart.interruptsTaken == before && !hasPassed(deadline)) pause();
  maskInterrupts();
  checkEqual(hart.interruptsTaken - before, 1, "interrupts taken");
  checkEqual(hart.lastInterrupt, SCAUSE_INTERRUPT | IRQ_SEI, "scause");
  checkEqual(claim(), 5, "the identity that was sent");
  checkEqual(claim(), 0, "nothing else is pending");
}

function testAllowList(): void {
  checkResult(allowExternalInterrupt(0), SBI_INVALID_PARAM, "AllowExternalInterrupt of 0");
  checkResult(allowExternalInterrupt(NO_IDENTITY), SBI_INVALID_PARAM, "AllowExternalInterrupt of no identity");
  checkResult(denyExternalInterrupt(NO_IDENTITY), SBI_INVALID_PARAM, "DenyExternalInterrupt of no identity");
  checkSuccess(allowExternalInterrupt(ALL_INTERRUPTS), "AllowExternalInterrupt of all");
  checkSuccess(denyExternalInterrupt(FIRST_GUEST_IDENTITY), "DenyExternalInterrupt");
}

function startSender(vm: TestVm, sender: Sender): void {
  reserveHarts(vm, 2);
  const hart = createHart(vm, 1, 1);
  checkSuccess(startHart(hart), "HSM start");
  check(awaitOnline(hart), "the vCPU comes up");
  post(hart, VcpuCommand.SendInterrupts, changetype<usize>(sender));
}

/** vCPU 0: until the host says stop and the sender has nothing more under way. */
function countInterrupts(sender: Sender): void {
  let idle: u64 = 0;
  while (true) {
    const identity = claim();
    if (identity != 0) {
      receive(sender, identity);
      idle = 0;
      continue;
    }
    if (loadAcquire64(INTERRUPT_BOARD + BOARD_STOP) != 0) {
      storeRelease64(sender.at(offsetof<Sender>("stop")), 1);
      if (loadAcquire64(sender.at(offsetof<Sender>("done"))) != 0 && csrRead(STOPEI) == 0) return;
    }
    if (++idle % LOOKS == 0) wfi();
  }
}

function receive(sender: Sender, identity: u64): void {
  const mine = identity >= FIRST_GUEST_IDENTITY;
  const at = mine ? sender.received(identity) : INTERRUPT_BOARD + identity * 8;
  storeRelease64(at, read64(at) + 1);
}

/** vCPU 1: sends each identity as soon as the last one arrived, straight to the page of vCPU 0's file. Returns 1. */
export function sendInterrupts(sender: Sender): u64 {
  while (loadAcquire64(sender.at(offsetof<Sender>("stop"))) == 0) {
    for (let identity = FIRST_GUEST_IDENTITY; identity < IDENTITIES; identity++) {
      if (loadAcquire64(sender.received(identity)) != read64(sender.sent(identity))) continue;
      write64(sender.sent(identity), read64(sender.sent(identity)) + 1);
      mmioWrite32(GUEST_IMSIC, <u32>identity);
    }
    pause();
  }
  for (let identity = FIRST_GUEST_IDENTITY; identity < IDENTITIES; identity++) {
    const deadline = deadlineIn(PATIENCE);
    while (loadAcquire64(sender.received(identity)) != read64(sender.sent(identity)) && !hasPassed(deadline)) pause();
  }
  storeRelease64(sender.at(offsetof<Sender>("done")), 1);
  return 1;
}

/** Claims the most urgent pending interrupt: its identity, 0 if there is none. */
function claim(): u64 {
  return csrSwap(STOPEI, 0) >> 16;
}
