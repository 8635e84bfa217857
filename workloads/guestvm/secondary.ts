import { add64, pause, probeCall, read64 } from "../lib/hw";
import { useLineBuffer } from "../lib/console";
import { deadlineIn, hasPassed, PATIENCE, waitUntilAtLeast } from "../lib/deadline";
import { clearSoftwareInterrupt, softwareInterruptPending } from "../lib/interrupts";
import { commandArgument, completeCommand, nextCommand } from "../lib/mailbox";
import { AddressSpace, enterAddressSpace, leaveAddressSpace } from "../lib/paging";
import { hartStop } from "../lib/sbi";
import { adoptSecondary } from "../lib/start";
import { CONSOLE_PAGE } from "../lib/tvm-map";
import { CONSOLE_SLICE } from "./boot";
import { work } from "./scenarios/flood";
import { sendInterrupts, Sender } from "./scenarios/interrupts";

/** What vCPU 0 can ask the other vCPUs to do (the scenario Multiprocessor). */
export const enum VcpuCommand {
  /** Adds one to the meeting's counter MEETING_TURNS times, then waits for the others. Argument: Meeting. */
  Meet = 1,
  /** Waits for a software interrupt. Argument: Meeting. */
  AwaitIpi = 2,
  /** Enters the address space at the argument. */
  EnterAddressSpace = 3,
  /** Loads the word at the argument. */
  Load = 4,
  /** Leaves the address space. */
  LeaveAddressSpace = 5,
  /** Calls the code at the argument; the result is that of the probe. */
  Call = 6,
  /** Stops. */
  Stop = 7,
  /** Sends interrupts to vCPU 0 until told to stop. Argument: Sender (scenarios/interrupts.ts). */
  SendInterrupts = 8,
  /** Works until the host says stop. Argument: FloodKind, what it takes meanwhile (scenarios/flood.ts). */
  Work = 9,
}

/** Where vCPUs meet: words in confidential memory, changed with atomics only. */
@unmanaged
export class Meeting {
  counter: u64;
  arrived: u64;
  expected: u64;

  at(offset: usize): u64 {
    return <u64>(changetype<usize>(this) + offset);
  }
}

export const MEETING_TURNS: u64 = 20_000;

/** A vCPU other than 0: serves its mailbox until it is told to stop. */
export function serveSecondaryVcpu(hartId: u64, stackTop: u64): void {
  const hart = adoptSecondary(stackTop);
  assert(hart.id == hartId, "a vCPU got another one's stack");
  useLineBuffer(CONSOLE_PAGE + hart.index * <u64>CONSOLE_SLICE, CONSOLE_SLICE);
  while (true) {
    const command = nextCommand();
    if (command == VcpuCommand.Stop) {
      completeCommand(0);
      hartStop();
    }
    completeCommand(obey(<u32>command, commandArgument()));
  }
}

function obey(command: u32, argument: u64): u64 {
  switch (command) {
    case VcpuCommand.Meet:
      return meet(changetype<Meeting>(<usize>argument)) ? 1 : 0;
    case VcpuCommand.AwaitIpi:
      return awaitIpi(changetype<Meeting>(<usize>argument)) ? 1 : 0;
    case VcpuCommand.EnterAddressSpace:
      enterAddressSpace(changetype<AddressSpace>(<usize>argument));
      return 1;
    case VcpuCommand.Load:
      return read64(argument);
    case VcpuCommand.LeaveAddressSpace:
      leaveAddressSpace();
      return 1;
    case VcpuCommand.Call:
      return probeCall(argument);
    case VcpuCommand.SendInterrupts:
      return sendInterrupts(changetype<Sender>(<usize>argument));
    case VcpuCommand.Work:
      return work(argument);
    default:
      return 0;
  }
}

/** The part of one vCPU in a meeting: counts, arrives, and waits for all. False if the others do not come. */
export function meet(meeting: Meeting): bool {
  const counter = meeting.at(offsetof<Meeting>("counter"));
  for (let turn: u64 = 0; turn < MEETING_TURNS; turn++) add64(counter, 1);
  const arrived = meeting.at(offsetof<Meeting>("arrived"));
  add64(arrived, 1);
  return waitUntilAtLeast(arrived, meeting.expected);
}

/** Announces itself at the meeting, then waits for a software interrupt. */
function awaitIpi(meeting: Meeting): bool {
  clearSoftwareInterrupt();
  add64(meeting.at(offsetof<Meeting>("arrived")), 1);
  const deadline = deadlineIn(PATIENCE);
  while (!softwareInterruptPending()) {
    if (hasPassed(deadline)) return false;
    pause();
  }
  clearSoftwareInterrupt();
  return true;
}
