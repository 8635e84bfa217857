import { alignUp } from "../lib/arithmetic";

/**
 * Hands out one block of our own memory from its start to its end, while boot runs on one hart. Nothing is given back:
 * what boot takes stays ours until the machine is reset.
 *
 * The block was zeroed when it was chosen (boot/memory-plan.ts), so everything taken is zero.
 */
@unmanaged
export class BootAllocator {
  /** First byte not yet taken. */
  next: usize;
  end: usize;

  /** `bytes` zeroed bytes at a multiple of `alignment` (a power of two). The plan has counted them: running out is our mistake. */
  take(bytes: u64, alignment: u64): usize {
    const start = alignUp(<u64>this.next, alignment);
    assert(start + bytes <= <u64>this.end, "the memory plan counted too little");
    this.next = <usize>(start + bytes);
    return <usize>start;
  }

  /** Bytes that are left. */
  left(): u64 {
    return <u64>(this.end - this.next);
  }
}
