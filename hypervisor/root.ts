import { Console } from "./devices/console";
import { Hart } from "./hart";
import { Vm } from "./vm/vm";

/**
 * The one root of all state: reachable from every hart record. Filled during boot on one hart, constant afterwards
 * except where a field says otherwise.
 */
@unmanaged
export class Root {
  console: Console;
  /** Array of Hart pointers, by hart index. */
  harts: usize;
  hartCount: u32;
  /** Harts online, halted: atomics. */
  haltedHarts: u32;

  // ---- what the machine has
  /** Feature bits of riscv/isa.ts, common to all harts. */
  features: u64;
  /** Bytes of one vector register, 0 without V. */
  vlenb: u64;
  cbozBlockSize: u64;
  timebaseFrequency: u64;
  vmidBits: u64;
  /** Implemented bits of hgeie: guest interrupt files of each hart. */
  guestFileMask: u64;
  /** Values every VM starts from; see vm/csr-policy.ts. */
  henvcfg: u64;
  hstateen0: u64;
  hedeleg: u64;
  hideleg: u64;
  /** satp of the one kernel map. */
  satp: u64;

  // ---- memory
  /** Array of MemoryRange (memory/page-map.ts). */
  ranges: usize;
  rangeCount: u64;

  // ---- VMs
  host: Vm;
  /** Array of VmSlot (vm/vm-table.ts). */
  vmSlots: usize;
  vmSlotCount: u64;
  nextVmGeneration: u64;
  /** G-stage levels of a TVM. */
  tvmLevels: u32;
  reserved1: u32;
  tvmStatePages: u64;
  vcpuStatePages: u64;

  // ---- devices
  /** Test finisher page for an exit status, 0 if none. */
  testFinisher: u64;
  uart: u64;
  /** Page that outlives a reset, with the mark that secrets were in RAM (boot/secret-mark.ts). */
  secretMark: u64;
  /** Machine description of boot (boot/machine-description.ts); its block is dropped after boot. */
  description: usize;
  /** IMSIC geometry (devices/imsic.ts), 0 without one. */
  imsic: usize;
  /** Aplic (devices/aplic.ts), 0 if the host has none. */
  aplic: usize;

  /** Array of PciSegment (devices/pci/segment.ts). */
  pciSegments: usize;
  pciSegmentCount: u32;
  /** Spin lock of what the host may change in PCI functions. */
  pciLock: u32;

  /** Array of Iommu (devices/iommu/iommu.ts). */
  iommus: usize;
  iommuCount: u32;
  reserved2: u32;

  /** OptionalState bits (vm/csr-policy.ts): state of a VM that only some machines have. Counters changes while the machine runs: atomics. */
  optionalState: u64;

  // ---- performance counters (vm/counters.ts)
  /** Bit n: VMs have counter n. */
  counters: u64;
  /** vCPUs that have configured counters; under counterLock. */
  counterUsers: u32;
  /** spin lock, last of all */
  counterLock: u32;

  /** Record of the one hart that ends the machine (boot/stop.ts), 0 while it runs: compare-and-swap. */
  endingHart: usize;

  // ---- attestation
  /** Platform (attestation/platform.ts). */
  platform: usize;

  // ---- boot
  /** The hart that boots the others and is told when they are up. */
  bootHart: Hart;
  /** Plan of memory (boot/memory-plan.ts), 0 once the host runs. */
  bootPlan: usize;

  hart(index: u64): Hart {
    return changetype<Hart>(load<usize>(this.harts + ((<usize>index) << 3)));
  }

  setHart(index: u64, hart: Hart): void {
    store<usize>(this.harts + ((<usize>index) << 3), changetype<usize>(hart));
  }
}
