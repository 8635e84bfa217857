/**
 * A sorted list of disjoint, non-empty address intervals [start, end) in memory that the caller gives: what boot
 * computes with when it divides RAM. Lists are short (the device tree's ranges), so everything is linear.
 *
 *     +-------+----------+---------+-------+---------+-------+----
 *     | count | capacity | start 0 | end 0 | start 1 | end 1 | ...
 *     +-------+----------+---------+-------+---------+-------+----
 */
@unmanaged
export class IntervalList {
  count: u64;
  capacity: u64;

  /** First address of interval `index`. */
  start(index: u64): u64 {
    return load<u64>(this.at(index));
  }

  /** First address after interval `index`. */
  end(index: u64): u64 {
    return load<u64>(this.at(index), 8);
  }

  /** Address of interval `index`. */
  private at(index: u64): usize {
    return changetype<usize>(this) + offsetof<IntervalList>() + ((<usize>index) << 4);
  }

  private put(index: u64, start: u64, end: u64): void {
    store<u64>(this.at(index), start);
    store<u64>(this.at(index), end, 8);
  }

  /** Adds [start, end), which lies after all others. It stays an interval of its own even if it touches the last one. */
  append(start: u64, end: u64): void {
    if (start >= end) return;
    assert(this.count < this.capacity, "interval list is full");
    assert(this.count == 0 || this.end(this.count - 1) <= start, "interval appended out of order");
    this.put(this.count, start, end);
    this.count++;
  }

  /** Adds [start, end), joined with whatever it overlaps or touches. */
  add(start: u64, end: u64): void {
    if (start >= end) return;
    let from = start;
    let to = end;
    // Intervals before `first` stay as they are, and so do those from `last` on; the ones between are swallowed.
    let first: u64 = 0;
    while (first < this.count && this.end(first) < from) first++;
    let last = first;
    while (last < this.count && this.start(last) <= to) {
      if (this.start(last) < from) from = this.start(last);
      if (this.end(last) > to) to = this.end(last);
      last++;
    }
    this.replace(first, last, 1);
    this.put(first, from, to);
  }

  /** Takes [start, end) out. */
  remove(start: u64, end: u64): void {
    if (start >= end) return;
    let index: u64 = 0;
    while (index < this.count) {
      const from = this.start(index);
      const to = this.end(index);
      if (to <= start || from >= end) {
        index++;
        continue;
      }
      const left = from < start;
      const right = to > end;
      if (left && right) {
        this.replace(index, index + 1, 2);
        this.put(index, from, start);
        this.put(index + 1, end, to);
        return;
      }
      if (left) {
        this.put(index, from, start);
        index++;
      } else if (right) {
        this.put(index, end, to);
        index++;
      } else {
        this.replace(index, index + 1, 0);
      }
    }
  }

  /** Takes out everything that `other` has. */
  removeAll(other: IntervalList): void {
    for (let i: u64 = 0; i < other.count; i++) this.remove(other.start(i), other.end(i));
  }

  /** Becomes a copy of `other`. */
  copyFrom(other: IntervalList): void {
    this.count = 0;
    for (let i: u64 = 0; i < other.count; i++) this.append(other.start(i), other.end(i));
  }

  /** Whether all of [start, end) is in the list, possibly across intervals that touch. */
  covers(start: u64, end: u64): bool {
    let at = start;
    for (let i: u64 = 0; i < this.count && at < end; i++) {
      if (this.end(i) <= at) continue;
      if (this.start(i) > at) return false;
      at = this.end(i);
    }
    return at >= end;
  }

  /** Whether any of [start, end) is in the list. */
  overlaps(start: u64, end: u64): bool {
    if (start >= end) return false;
    for (let i: u64 = 0; i < this.count; i++) {
      if (this.start(i) < end && this.end(i) > start) return true;
    }
    return false;
  }

  /** Sum of the lengths. */
  total(): u64 {
    let sum: u64 = 0;
    for (let i: u64 = 0; i < this.count; i++) sum += this.end(i) - this.start(i);
    return sum;
  }

  /** Makes room: the intervals [first, last) give way to `places` undefined ones. */
  private replace(first: u64, last: u64, places: u64): void {
    const moved = this.count - last;
    const target = first + places;
    assert(target + moved <= this.capacity, "interval list is full");
    if (target < last) {
      for (let i: u64 = 0; i < moved; i++) this.put(target + i, this.start(last + i), this.end(last + i));
    } else {
      for (let i = moved; i != 0; i--) this.put(target + i - 1, this.start(last + i - 1), this.end(last + i - 1));
    }
    this.count = target + moved;
  }
}

/** Bytes of a list with room for `capacity` intervals. */
export function intervalListBytes(capacity: u64): u64 {
  return <u64>offsetof<IntervalList>() + (capacity << 4);
}

/** An empty list at `address` (8-byte aligned, intervalListBytes(capacity) long). */
export function initIntervalList(address: usize, capacity: u64): IntervalList {
  const list = changetype<IntervalList>(address);
  list.count = 0;
  list.capacity = capacity;
  return list;
}
