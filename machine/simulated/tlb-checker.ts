import type { OwnershipView } from "./checker.ts";
import { InvariantViolation, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import type { VmState } from "./hypervisor-state.ts";
import { PAGE, PageState, describeRecord } from "./hypervisor-state.ts";
import type { Machine } from "./machine.ts";
import type { CachedLeaf } from "./tlb.ts";
import { currentVmid } from "./translation.ts";

/**
 * Translations that a hart could use now without looking into memory (design: invariants 1 and 2). A hart that is in a guest may use
 * every entry of its caches under the VMID in hgatp, so each of them must lead to memory that its VM may reach, or that is still in
 * between: given up by the VM, fenced by nobody yet.
 */
export function checkTlbs(machine: Machine, view: OwnershipView): void {
  for (const hart of machine.harts) {
    if (hart.state !== "guest") continue;
    const vm = view.vmOfHart(hart);
    if (!vm) continue;
    const vmid = currentVmid(hart.csr);
    const context = hart.record.word("current");
    const fail = (problem: string): never => {
      throw new InvariantViolation(`hart ${hart.id} in VM ${vm.id}, VMID ${vmid}: ${problem}`);
    };
    for (const leaf of hart.tlb.cachedLeaves(vmid)) {
      if (leaf.space !== BigInt(vm.rootTable)) fail(`it keeps a translation of another VM: ${describe(leaf)}`);
      const problem = leafProblem(view, vm, hart, leaf);
      if (problem) fail(problem);
    }
    for (const table of hart.tlb.cachedTables(vmid)) {
      const hpa = Number(table.table);
      if (table.space !== BigInt(vm.rootTable)) fail(`it keeps a pointer to table ${hex(hpa)} of another VM`);
      const linked = view.tablesOf(vm).get(hpa);
      if (linked?.level === table.level && BigInt(linked.gpa) === table.from) continue;
      const retired = !vm.isHost && vm.linkedPages("retiredTables").includes(hpa);
      if (!retired)
        fail(`it keeps a pointer to table ${hex(hpa)} for gpa ${hex(table.from)}, which has another use by now`);
    }
    for (const leaf of hart.tlb.cachedGuestLeaves(vmid)) {
      if (leaf.space !== BigInt(vm.rootTable) || leaf.vcpu !== context) {
        fail(`it keeps a guest translation of another vCPU: gva ${hex(leaf.from)}`);
      }
    }
  }
}

function describe(leaf: CachedLeaf): string {
  return `gpa ${hex(leaf.from)} -> ${leaf.to === undefined ? "nothing" : hex(leaf.to)}`;
}

/** What is wrong with a cached leaf of a VM that runs; undefined if nothing. */
function leafProblem(view: OwnershipView, vm: VmState, hart: Hart, leaf: CachedLeaf): string | undefined {
  if (leaf.to === undefined) return undefined;
  const first = Number(leaf.to);
  if (view.state.pageIndex(first) < 0) {
    const entered = hart.record.number("enteredVersion");
    if (view.files.mayReach(vm.slot, first, entered)) return undefined;
    return `a cached translation leads to ${hex(first)}, which is no memory, or another's interrupt file`;
  }
  for (let offset = 0; offset < Number(leaf.size); offset += PAGE) {
    const record = view.recordAt(first + offset);
    if (!record) return `a cached translation leads to ${hex(first + offset)}, which is no memory`;
    const { state, owner, payload } = record;
    const own = owner === vm.slot;
    if (own && (state === PageState.Owned || state === PageState.Shared)) continue;
    // On its way out: until the hart announced that it caught up, nobody else gets the page.
    if (own && state === PageState.Converted && payload >= hart.record.number("enteredVersion")) continue;
    if (
      state === PageState.Shared &&
      owner === vm.parentSlot &&
      holds(view, vm, Number(leaf.from) + offset, first + offset)
    ) {
      continue;
    }
    const what = `gpa ${hex(Number(leaf.from) + offset)} -> ${hex(first + offset)}`;
    return `a stale translation can still be used: ${what}, which is ${describeRecord(record)}`;
  }
  return undefined;
}

/** Whether the VM's tables still have the page at that gpa, blocked or not. */
function holds(view: OwnershipView, vm: VmState, gpa: number, hpa: number): boolean {
  return view
    .mapped(vm)
    .some((entry) => gpa >= entry.gpa && gpa < entry.gpa + entry.size && entry.hpa + (gpa - entry.gpa) === hpa);
}
