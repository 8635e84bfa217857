import { read64, write64 } from "../riscv/hw";

/**
 * The performance counters of one vCPU (SBI PMU). Counter n of a VM is counter n of the hardware (riscv/counters.ts), programmed through the
 * firmware's PMU while the vCPU is current, and free for others while it is not. Masks have bit n for counter n.
 *
 *     configured   the vCPU has given it an event
 *     started      and wants it to run
 *     loaded       the hart's firmware has that event in it now: only while the vCPU is current
 *     readable     and the hardware has the vCPU's value: it reads the CSR without us (hcounteren)
 *     overflowed   it overflowed since it was started
 *
 * Only the hart that runs the vCPU touches the record.
 */
@unmanaged
export class CounterState {
  configured: u64;
  started: u64;
  loaded: u64;
  readable: u64;
  overflowed: u64;

  /** Value of counter `index` when it was in the hardware last. */
  value(index: u64): u64 {
    return read64(this.entry(index));
  }

  setValue(index: u64, value: u64): void {
    write64(this.entry(index), value);
  }

  /** event_idx of the SBI. */
  event(index: u64): u64 {
    return read64(this.entry(index) + 8) & 0xffff_ffff;
  }

  /** Flags of the firmware's counter_config_matching that the event is configured with. */
  flags(index: u64): u64 {
    return read64(this.entry(index) + 8) >> 32;
  }

  /** event_data of the SBI. */
  data(index: u64): u64 {
    return read64(this.entry(index) + 16);
  }

  setEvent(index: u64, event: u64, flags: u64, data: u64): void {
    write64(this.entry(index) + 8, event | (flags << 32));
    write64(this.entry(index) + 16, data);
  }

  private entry(index: u64): u64 {
    return <u64>(changetype<usize>(this) + offsetof<CounterState>()) + index * ENTRY_BYTES;
  }
}

const ENTRY_BYTES: u64 = 24;
const ENTRIES: usize = 32;
/** Bytes of the record with its 32 counters: value, event and flags, data. */
export const COUNTER_STATE_BYTES: usize = 5 * 8 + ENTRIES * 24;
