import type { OwnershipView } from "./checker.ts";
import { InvariantViolation, hex } from "./errors.ts";
import { PAGE, PageState, describeRecord } from "./hypervisor-state.ts";
import type { Machine } from "./machine.ts";

/**
 * DMA confinement (design: invariants 1 and 2): a PCI function that is a bus master is the host's, has a device context with the host's tables and nothing else, and
 * every translation that the IOMMU could use without looking leads to memory that the host has, or that waits for a fence.
 */
export function checkDma(machine: Machine, view: OwnershipView): void {
  if (!machine.pci) return;
  const host = view.vms.find((vm) => vm.isHost);
  if (!host) return;
  const fail = (problem: string): never => {
    throw new InvariantViolation(`DMA: ${problem}`);
  };
  const { iommu } = machine;
  for (const { pci, id } of machine.pci.all()) {
    if (!pci.master || id === iommu?.options.function) continue;
    if (!iommu) fail(`function ${hex(id)} is a bus master and no IOMMU confines it`);
  }
  if (!iommu) return;

  const ids = machine.bridges.flatMap(({ place, buses }) =>
    Array.from({ length: buses << 8 }, (_, index) => place.idBase + (place.firstBus << 8) + index),
  );
  for (const id of ids) {
    const context = iommu.contextInMemory(id);
    if (!context || context.control === 0n) continue;
    if (context.control !== 1n || context.rest.some((word) => word !== 0n))
      fail(`device ${hex(id)} has an odd context`);
    if ((context.iohgatp & ((1n << 44n) - 1n)) << 12n !== BigInt(host.rootTable)) {
      fail(`device ${hex(id)} translates by other tables than the host's`);
    }
    if (id === iommu.options.function) fail("the IOMMU is a device of the host");
  }

  const own = iommu.options.function;
  const registers = machine.pci.functions.find(({ spec }) => spec.devfn === own)?.decoded() ?? [];
  for (const { gpa, hpa, size } of view.mapped(host)) {
    if (own !== undefined && registers.some((each) => each.base < hpa + size && hpa < each.base + each.size)) {
      fail(`the host reaches the IOMMU's registers at gpa ${hex(gpa)}`);
    }
  }

  const record = machine.root.follow("iommus", "iommu");
  if (!record) return;
  const flushed = record.word("flushedVersion");
  for (const leaf of iommu.cachedLeaves()) {
    const first = Number(leaf.to);
    if (view.state.pageIndex(first) < 0) continue;
    for (let offset = 0; offset < Number(leaf.size); offset += PAGE) {
      const page = view.recordAt(first + offset);
      const own = page?.owner === host.slot;
      if (page && own && (page.state === PageState.Owned || page.state === PageState.Shared)) continue;
      // On its way out: nobody gets it before the IOMMU has announced a later version.
      if (page && own && page.state === PageState.Converted && BigInt(page.payload) >= flushed) continue;
      fail(
        `a stale translation can still be used: gpa ${hex(Number(leaf.from) + offset)} -> ${hex(first + offset)}, ` +
          `which is ${page ? describeRecord(page) : "no memory"}`,
      );
    }
  }
}
