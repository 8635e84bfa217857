import { Vcpu } from "./vcpu";

/**
 * A virtual machine: the host, or a TVM. The host's record is ours; a TVM's lies in the state pages that its parent donated.
 *
 * Locks: `lock` (in the VM table, see vm/vm-table.ts) covers regions, page tables, table pool, vCPU table and lifecycle.
 * `version` and the vCPUs' `state` and `messages` are atomics. Everything else is constant after creation.
 */
@unmanaged
export class Vm {
  /** Guest id of the ABI: 0 host, 2.. TVMs; never reused. */
  id: u64;
  /** Index in the VM table; owner field of page records. */
  slot: u32;
  /** VmKind. */
  kind: u32;
  /** VmLifecycle; changed under the lock. */
  lifecycle: u32;
  /** spin lock */
  lock: u32;
  /** 1 while a call adds a range of pages to it, step by step: other calls that change its address space wait (sbi/covh/range-call.ts). */
  inRangeCall: u32;
  /** Calls on ranges that its vCPUs have left half-way (sbi/covh/parked-calls.ts). */
  parkedCalls: u32;
  /** Its entry in the VM table (vm/vm-table.ts); 0 for the host, whose entry nobody asks for. */
  tableEntry: usize;
  /** The VM that owns this one and gets its pages back; null for the host. */
  parent: Vm | null;
  /** TVMs of this VM that exist. */
  childCount: u64;

  // ---- address space
  /** Translation version: raised by a fence; see memory/fence.ts. */
  version: u64;
  /** hpa of the 16 KiB G-stage root. */
  rootTable: u64;
  /** 3, 4 or 5: Sv39x4, Sv48x4, Sv57x4. */
  levels: u32;
  regionCount: u32;
  /** hgatp without its VMID. */
  hgatp: u64;
  /** Array of Region, MAX_REGIONS long. */
  regions: usize;
  /** First free page-table page (linked through their page records), 0 if none. */
  freeTables: u64;
  freeTableCount: u64;
  /** Last table page given to the VM; the others follow through their page records (memory/table-pool.ts). */
  allTables: u64;
  /** Table pages replaced by a large leaf: usable once `retiredStamp` has been fenced. */
  retiredTables: u64;
  retiredTableCount: u64;
  retiredStamp: u64;
  /** Tables that the range that is being checked needs (memory/target-range.ts). */
  neededTables: u64;
  /** Raised whenever pages are added to places that may be part of a share (vm/share.ts). */
  insertions: u64;

  // ---- vCPUs
  /** Array of Vcpu pointers, maxVcpus long; 0 = not created. */
  vcpus: usize;
  maxVcpus: u32;
  vcpuCount: u32;

  // ---- time: guest time = time + htimedelta, same for all vCPUs
  htimedelta: u64;

  // ---- what it started from
  entryPc: u64;
  entryArgument: u64;
  /** Measurement registers (8 x 48 bytes). */
  measurements: usize;
  /** Its layer of DICE (attestation/layer.ts), and the spin lock of its derivation. */
  layer: usize;
  layerLock: u32;
  reserved2: u32;

  /** hpa and count of the donated state pages (0 for the host). */
  statePage: u64;
  statePages: u64;

  // ---- interrupt files of its vCPUs (sbi/covi/geometry.ts): where they lie in its address space
  /** 1 once COVI TvmAiaInit succeeded: its vCPUs then run only while bound to a guest file. */
  hasInterruptFiles: u32;
  imsicGroupBits: u32;
  imsicGroupShift: u32;
  imsicHartBits: u32;
  imsicGuestBits: u32;
  reserved1: u32;
  imsicBase: u64;

  /** vCPU `id`, or null. Caller holds the lock or knows that the table no longer changes for this id. */
  // @ts-ignore: decorator
  @inline
  vcpu(id: u64): Vcpu | null {
    if (id >= <u64>this.maxVcpus) return null;
    return changetype<Vcpu | null>(load<usize>(this.vcpus + ((<usize>id) << 3)));
  }

  setVcpu(id: u64, vcpu: Vcpu | null): void {
    store<usize>(this.vcpus + ((<usize>id) << 3), changetype<usize>(vcpu));
  }
}

export const enum VmKind {
  Host = 0,
  Tvm = 1,
}

export const enum VmLifecycle {
  /** Created: regions, measured pages and vCPUs may be added; nothing runs. */
  Initializing = 0,
  /** Finalized. */
  Runnable = 1,
}
