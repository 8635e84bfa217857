/**
 * Which host physical memory appears where in the host VM: segments (gpa, hpa, length), sorted by gpa, disjoint, and joined
 * where both addresses run on.
 *
 *     +-------+----------+-------+-------+----------+-------+----
 *     | count | capacity | gpa 0 | hpa 0 | length 0 | gpa 1 | ...
 *     +-------+----------+-------+-------+----------+-------+----
 */
@unmanaged
export class SegmentList {
  count: u64;
  capacity: u64;

  gpa(index: u64): u64 {
    return load<u64>(this.at(index));
  }

  hpa(index: u64): u64 {
    return load<u64>(this.at(index), 8);
  }

  /** Bytes. */
  length(index: u64): u64 {
    return load<u64>(this.at(index), 16);
  }

  private at(index: u64): usize {
    return changetype<usize>(this) + offsetof<SegmentList>() + <usize>index * SEGMENT_BYTES;
  }

  private put(index: u64, gpa: u64, hpa: u64, length: u64): void {
    const at = this.at(index);
    store<u64>(at, gpa);
    store<u64>(at, hpa, 8);
    store<u64>(at, length, 16);
  }

  /** Adds a segment, joined with its neighbours where they run on. It must not overlap any other. */
  insert(gpa: u64, hpa: u64, length: u64): void {
    let index: u64 = 0;
    while (index < this.count && this.gpa(index) < gpa) index++;
    assert(index == 0 || this.gpa(index - 1) + this.length(index - 1) <= gpa, "host memory segments overlap");
    assert(index == this.count || gpa + length <= this.gpa(index), "host memory segments overlap");
    const joinsNext = index < this.count && gpa + length == this.gpa(index) && hpa + length == this.hpa(index);
    if (index != 0 && this.joins(index - 1, gpa, hpa)) {
      const before = index - 1;
      const more = joinsNext ? length + this.length(index) : length;
      this.put(before, this.gpa(before), this.hpa(before), this.length(before) + more);
      if (joinsNext) this.drop(index);
    } else if (joinsNext) {
      this.put(index, gpa, hpa, length + this.length(index));
    } else {
      assert(this.count < this.capacity, "segment list is full");
      for (let i = this.count; i > index; i--) this.put(i, this.gpa(i - 1), this.hpa(i - 1), this.length(i - 1));
      this.put(index, gpa, hpa, length);
      this.count++;
    }
  }

  /** Index of the segment that holds `gpa`, or NO_SEGMENT. */
  find(gpa: u64): u64 {
    for (let i: u64 = 0; i < this.count; i++) {
      if (gpa - this.gpa(i) < this.length(i)) return i;
    }
    return NO_SEGMENT;
  }

  /** Whether segment `index` ends where (gpa, hpa) starts. */
  private joins(index: u64, gpa: u64, hpa: u64): bool {
    const length = this.length(index);
    return this.gpa(index) + length == gpa && this.hpa(index) + length == hpa;
  }

  private drop(index: u64): void {
    this.count--;
    for (let i = index; i < this.count; i++) this.put(i, this.gpa(i + 1), this.hpa(i + 1), this.length(i + 1));
  }
}

const SEGMENT_BYTES: usize = 24;

/** `find`: no segment holds that address. */
export const NO_SEGMENT: u64 = ~0;

/** Bytes of a list with room for `capacity` segments. */
export function segmentListBytes(capacity: u64): u64 {
  return <u64>offsetof<SegmentList>() + capacity * <u64>SEGMENT_BYTES;
}

/** An empty list at `address` (8-byte aligned, segmentListBytes(capacity) long). */
export function initSegmentList(address: usize, capacity: u64): SegmentList {
  const list = changetype<SegmentList>(address);
  list.count = 0;
  list.capacity = capacity;
  return list;
}
