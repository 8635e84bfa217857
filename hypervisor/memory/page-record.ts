import { cas64, read64, storeRelease64 } from "../riscv/hw";

/**
 * What is known of each 4 KiB page of RAM: who owns it and in what state it is.
 *
 *     63                                        16 15         4 3     0
 *    +--------------------------------------------+------------+-------+
 *    |                  payload                   | owner slot | state |
 *    +--------------------------------------------+------------+-------+
 *
 * The owner is a slot of the VM table; who gets the page back when its owner releases it is the owner VM's parent, so
 * ownership may be any number of levels deep. The payload depends on the state.
 *
 *                        block/unblock are properties of the translation, not of the page
 *        +---------+  share / pin   +--------+
 *   +--->|  Owned  |<-------------->| Shared |   payload: references beside the owner's
 *   |    +---------+                +--------+
 *   |      | convert (host)
 *   |      v
 *   |    +-----------+  assign   +---------+  perform   Owned (TVM) | VmState | TablePool
 *   +----| Converted |---------->| Claimed |--------->
 *  reclaim +---------+<----------+---------+            destroy, remove: back to Converted of the parent
 *      payload: version   error: unclaim
 *
 * The record is its own lock: a page changes hands only by a compare-and-swap that moves it to Claimed; until then
 * no other hart touches the page, its record, or (for a converted page) the entry of its owner's page table.
 * A call that fails puts every page that it claimed back as it was.
 */
export const enum PageState {
  /** Not ours to give: firmware, reserved memory. */
  Reserved = 0,
  /** Ours: image, records, tables. */
  Hypervisor = 1,
  /** In the address space of its owner. */
  Owned = 2,
  /** Like Owned; payload = how many VMs map it or calls pin it beside its owner. */
  Shared = 3,
  /** Taken out of its owner's address space; payload = translation version then. */
  Converted = 4,
  /** In the hands of the call that is running on some hart; payload kept for the way back. */
  Claimed = 5,
  /** Record of a VM or vCPU of the owner. */
  VmState = 6,
  /** Page-table page of the owner, in use or free; payload = PFN of the next one of the same VM. */
  TablePool = 7,
}

const STATE_MASK: u64 = 15;
const OWNER_SHIFT: u64 = 4;
const OWNER_MASK: u64 = 0xfff;
const PAYLOAD_SHIFT: u64 = 16;
const MAX_REFERENCES: u64 = 0xffff_ffff;

/** Slots of the VM table that a record can name. */
export const MAX_VM_SLOTS: u64 = 4096;

// @ts-ignore: decorator
@inline
export function packRecord(state: u32, owner: u32, payload: u64): u64 {
  return (<u64>state) | ((<u64>owner) << OWNER_SHIFT) | (payload << PAYLOAD_SHIFT);
}

// @ts-ignore: decorator
@inline
export function recordState(record: u64): u32 {
  return <u32>(record & STATE_MASK);
}

// @ts-ignore: decorator
@inline
export function recordOwner(record: u64): u32 {
  return <u32>((record >> OWNER_SHIFT) & OWNER_MASK);
}

// @ts-ignore: decorator
@inline
export function recordPayload(record: u64): u64 {
  return record >> PAYLOAD_SHIFT;
}

/** Owned by `owner` and nobody else holds it: take it. False (and nothing changed) otherwise. */
// @ts-ignore: decorator
@inline
export function claimOwned(address: usize, owner: u32): bool {
  const expected = packRecord(PageState.Owned, owner, 0);
  return cas64(address, expected, packRecord(PageState.Claimed, owner, 0)) == expected;
}

/** Converted by `owner` before version `minVersion`: take it. */
// @ts-ignore: decorator
@inline
export function claimConverted(address: usize, owner: u32, minVersion: u64): bool {
  const found = read64(address);
  if ((found & 0xffff) != packRecord(PageState.Converted, owner, 0)) return false;
  if (recordPayload(found) >= minVersion) return false;
  return cas64(address, found, found + (PageState.Claimed - PageState.Converted)) == found;
}

/** Puts a page that `claimConverted` took back. */
// @ts-ignore: decorator
@inline
export function unclaimConverted(address: usize): void {
  storeRelease64(address, read64(address) - (PageState.Claimed - PageState.Converted));
}

/** Puts a page that `claimOwned` took back. */
// @ts-ignore: decorator
@inline
export function unclaimOwned(address: usize, owner: u32): void {
  storeRelease64(address, packRecord(PageState.Owned, owner, 0));
}

/** New state of a page that the caller holds Claimed (or that nobody else knows yet). */
// @ts-ignore: decorator
@inline
export function setRecord(address: usize, state: u32, owner: u32, payload: u64): void {
  storeRelease64(address, packRecord(state, owner, payload));
}

/** One more reference to a page of `owner` that stays in its owner's address space. False if it is not such a page. */
export function addReference(address: usize, owner: u32): bool {
  while (true) {
    const found = read64(address);
    if (recordOwner(found) != owner) return false;
    let references: u64 = 0;
    if (recordState(found) == PageState.Shared) {
      references = recordPayload(found);
      if (references == MAX_REFERENCES) return false;
    } else if (recordState(found) != PageState.Owned) {
      return false;
    }
    if (cas64(address, found, packRecord(PageState.Shared, owner, references + 1)) == found) return true;
  }
}

/** Drops a reference that `addReference` took. */
export function dropReference(address: usize): void {
  while (true) {
    const found = read64(address);
    assert(recordState(found) == PageState.Shared && recordPayload(found) != 0, "reference dropped that nobody held");
    const left = recordPayload(found) - 1;
    const next = packRecord(left == 0 ? PageState.Owned : PageState.Shared, recordOwner(found), left);
    if (cas64(address, found, next) == found) return;
  }
}
