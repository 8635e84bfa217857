import type { CsrFile } from "./csr-file.ts";
import { MODE_VALUES } from "./csr-file.ts";
import { Cause, HypervisorStatus, Status } from "./csr-numbers.ts";
import { MachineFault, hex } from "./errors.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import type { CachedLeaf, Tlb } from "./tlb.ts";

/**
 * Two-stage address translation of a hart in VS- or VU-mode (Privileged 12.3 and 21.5): the guest's own tables first (vsatp), each of
 * whose accesses, like the result, goes through the G-stage tables that the hypervisor built (hgatp).
 */

export type AccessKind = "fetch" | "load" | "store";

/** What the trap of a failed translation shows. */
export interface TranslationFault {
  cause: number;
  /** The address that the instruction used. */
  gva: bigint;
  /** For guest page faults: the guest physical address; otherwise 0. */
  gpa: bigint;
  /** A guest page fault while the guest's own tables were read. */
  implicit: boolean;
}

export interface Translated {
  hpa: number;
  gpa: bigint;
}

export type TranslationResult = Translated | TranslationFault;

export function isFault(result: TranslationResult): result is TranslationFault {
  return "cause" in result;
}

const PTE = { v: 1n, r: 2n, w: 4n, x: 8n, u: 16n, g: 32n, a: 64n, d: 128n } as const;
const PFN_MASK = (1n << 44n) - 1n;
/** Bits 54-60 are reserved, 61-62 need Svpbmt, 63 needs Svnapot, which these harts lack. */
const RESERVED = 0x3ffn << 54n;

const PAGE_FAULTS: Record<AccessKind, number> = {
  fetch: Cause.instructionPage,
  load: Cause.loadPage,
  store: Cause.storePage,
};
const GUEST_PAGE_FAULTS: Record<AccessKind, number> = {
  fetch: Cause.instructionGuestPage,
  load: Cause.loadGuestPage,
  store: Cause.storeGuestPage,
};
const ACCESS_FAULTS: Record<AccessKind, number> = {
  fetch: Cause.instructionAccess,
  load: Cause.loadAccess,
  store: Cause.storeAccess,
};

export function accessFault(access: AccessKind): number {
  return ACCESS_FAULTS[access];
}

/** Who translates: the registers and caches of the hart. */
export interface TranslationContext {
  memory: PhysicalMemory;
  csr: CsrFile;
  tlb: Tlb;
  /** VU-mode. */
  user: boolean;
  /** The vCPU that executes: address of its record. */
  vcpu: bigint;
  /** HLVX: needs execute permission instead of read, and faults as a load. */
  executeAsLoad?: boolean;
}

/** Translates a guest virtual address. */
export function translate(context: TranslationContext, gva: bigint, access: AccessKind): TranslationResult {
  const stageOne = translateStageOne(context, gva, access);
  if (typeof stageOne !== "bigint") return stageOne;
  const leaf = gStageLeaf(context, stageOne, access);
  const needed = context.executeAsLoad ? PTE.x : access === "fetch" ? PTE.x : access === "load" ? PTE.r : PTE.w;
  if (!usable(leaf, needed, access === "store", context.csr.options.svadu)) {
    return { cause: GUEST_PAGE_FAULTS[access], gva, gpa: stageOne, implicit: false };
  }
  return { hpa: Number(leaf.to! + (stageOne - leaf.from)), gpa: stageOne };
}

/** vmid field of hgatp. */
export function currentVmid(csr: CsrFile): number {
  return Number((csr.raw("hgatp") >> 44n) & 0x3fffn);
}

/** Root of the G-stage tables in hgatp. */
function rootOf(csr: CsrFile): bigint {
  return (csr.raw("hgatp") & PFN_MASK) << 12n;
}

/** Levels that a MODE value means; 0 for Bare. */
function levelsOf(mode: number): number {
  if (mode === 0) return 0;
  return mode - MODE_VALUES.sv39 + 3;
}

/** gva -> gpa, or the fault. */
function translateStageOne(context: TranslationContext, gva: bigint, access: AccessKind): bigint | TranslationFault {
  const { csr, tlb, user } = context;
  const vsatp = csr.raw("vsatp");
  const levels = levelsOf(Number(vsatp >> 60n));
  if (levels === 0) return gva;
  const fault: TranslationFault = { cause: PAGE_FAULTS[access], gva, gpa: 0n, implicit: false };
  const bits = BigInt(12 + 9 * levels);
  if (BigInt.asIntN(64, gva) !== BigInt.asIntN(Number(bits), gva)) return fault;
  const vmid = currentVmid(csr);
  const asid = (vsatp >> 44n) & 0xffffn;
  let leaf = tlb.vsStage(vmid, asid, gva);
  if (!leaf) {
    const walked = walkStageOne(context, gva, access, levels);
    if ("cause" in walked) return walked;
    leaf = { ...walked, asid, vcpu: context.vcpu };
    if (leaf.to !== undefined || csr.options.cacheInvalid) tlb.addVsStage(vmid, leaf);
  }
  if (leaf.to === undefined) return fault;
  if (((leaf.flags & PTE.u) !== 0n) !== user) {
    const sum = (csr.raw("vsstatus") & Status.sum) !== 0n;
    if (user || access === "fetch" || !sum) return fault;
  }
  const mxr = ((csr.raw("vsstatus") | csr.raw("sstatus")) & Status.mxr) !== 0n;
  const readable = PTE.r | (mxr ? PTE.x : 0n);
  const needed = context.executeAsLoad || access === "fetch" ? PTE.x : access === "load" ? readable : PTE.w;
  if ((leaf.flags & needed) === 0n) return fault;
  if (!usable(leaf, needed & leaf.flags, access === "store", csr.options.svadu, false)) return fault;
  return leaf.to + (gva - leaf.from);
}

/** A walk of the guest's tables: its reads go through the G-stage. */
function walkStageOne(
  context: TranslationContext,
  gva: bigint,
  access: AccessKind,
  levels: number,
): CachedLeaf | TranslationFault {
  const { memory, csr } = context;
  let table = (csr.raw("vsatp") & PFN_MASK) << 12n;
  for (let level = levels - 1; ; level--) {
    const shift = BigInt(12 + 9 * level);
    const size = 1n << shift;
    const missing: CachedLeaf = { from: (gva / size) * size, size, to: undefined, flags: 0n, space: rootOf(csr) };
    const at = table + ((gva >> shift) & 0x1ffn) * 8n;
    const gLeaf = gStageLeaf(context, at, "load");
    if (!usable(gLeaf, PTE.r, false, csr.options.svadu)) {
      return { cause: GUEST_PAGE_FAULTS[access], gva, gpa: at, implicit: true };
    }
    const hpa = Number(gLeaf.to! + (at - gLeaf.from));
    if (!memory.contains(hpa, 8)) return { cause: ACCESS_FAULTS[access], gva, gpa: 0n, implicit: false };
    const entry = memory.read64(hpa);
    if (malformed(entry)) return missing;
    const to = ((entry >> 10n) & PFN_MASK) << 12n;
    if ((entry & (PTE.r | PTE.x)) !== 0n) {
      return to % size === 0n ? { ...missing, to, flags: entry & 0xffn } : missing;
    }
    if (level === 0) return missing;
    table = to;
  }
}

function malformed(entry: bigint): boolean {
  return (entry & PTE.v) === 0n || (entry & (PTE.r | PTE.w)) === PTE.w || (entry & RESERVED) !== 0n;
}

/** Whether a leaf permits the access; without hardware updates A and D have to be set. */
function usable(leaf: CachedLeaf, needed: bigint, store: boolean, svadu: boolean, gStage = true): boolean {
  if (leaf.to === undefined || (leaf.flags & needed) === 0n) return false;
  // G-stage translation treats every access as one of user mode.
  if (gStage && (leaf.flags & PTE.u) === 0n) return false;
  return svadu || ((leaf.flags & PTE.a) !== 0n && (!store || (leaf.flags & PTE.d) !== 0n));
}

/** gpa -> hpa, from the cache if it is there, however old. */
export function gStageLeaf(context: TranslationContext, gpa: bigint, access: AccessKind): CachedLeaf {
  const { csr, tlb } = context;
  const vmid = currentVmid(csr);
  const cached = tlb.gStage(vmid, gpa);
  if (cached) return cached;
  const leaf = walkGStage(context, gpa, access, vmid);
  if (leaf.to !== undefined || csr.options.cacheInvalid) tlb.addGStage(vmid, leaf);
  return leaf;
}

function walkGStage(context: TranslationContext, gpa: bigint, access: AccessKind, vmid: number): CachedLeaf {
  const { memory, csr, tlb } = context;
  const hgatp = csr.raw("hgatp");
  const levels = levelsOf(Number(hgatp >> 60n));
  if (levels === 0) throw new MachineFault(`a guest ${access}s ${hex(gpa)} with hgatp.MODE = Bare: all memory is its`);
  const pageOf = (shift: bigint): CachedLeaf => {
    const size = 1n << shift;
    return { from: (gpa >> shift) << shift, size, to: undefined, flags: 0n, space: rootOf(csr) };
  };
  const bits = BigInt(12 + 9 * levels + 2);
  if (gpa >> bits !== 0n) return pageOf(12n);
  let level = levels - 1;
  let table = rootOf(csr);
  // Start as deep as the cached pointers lead, even if the tables above say something else by now.
  for (let deeper = 0; deeper < levels - 1; deeper++) {
    const cached = tlb.table(vmid, deeper, gpa);
    if (cached === undefined) continue;
    table = cached;
    level = deeper;
    break;
  }
  for (; ; level--) {
    const shift = BigInt(12 + 9 * level);
    const page = pageOf(shift);
    const index = level === levels - 1 ? gpa >> shift : (gpa >> shift) & 0x1ffn;
    const at = Number(table + index * 8n);
    if (!memory.contains(at, 8)) throw new MachineFault(`G-stage table at ${hex(table)} is not RAM`);
    const entry = memory.read64(at);
    if (malformed(entry)) return page;
    const to = ((entry >> 10n) & PFN_MASK) << 12n;
    if ((entry & (PTE.r | PTE.x)) !== 0n) {
      return to % page.size === 0n ? { ...page, to, flags: entry & 0xffn } : page;
    }
    if (level === 0) return page;
    table = to;
    tlb.addTable(vmid, level - 1, gpa, table, rootOf(csr));
  }
}

/** Bits of hstatus and sstatus that HLV and HLVX take the privilege from. */
export function heldPrivilegeIsUser(csr: CsrFile): boolean {
  return (csr.raw("hstatus") & HypervisorStatus.spvp) === 0n;
}
