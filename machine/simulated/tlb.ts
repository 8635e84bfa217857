/**
 * The translation caches of one hart. They keep every translation until a fence removes it and use whatever they hold, however old:
 * the most forgetful hardware that the architecture allows is a hypervisor's best test. Three caches, by VMID:
 *
 * - G-stage leaves: guest physical page -> physical page (hfence.gvma)
 * - G-stage walks: pointers to tables, used to shorten later walks (hfence.gvma)
 * - VS-stage leaves: guest virtual page -> guest physical page, by ASID (hfence.vvma, sfence.vma of the guest)
 */
export interface CachedLeaf {
  /** First address of the page that is translated (gpa or gva) and its size. */
  from: bigint;
  size: bigint;
  /** First address of what it is translated to (hpa or gpa); undefined: known not to be mapped. */
  to: bigint | undefined;
  /** Bits of the entry: R, W, X, U, G, A, D. */
  flags: bigint;
  /** Root of the G-stage tables that were walked: which VM it is of. */
  space: bigint;
}

/** A VS-stage translation. */
export interface CachedGuestLeaf extends CachedLeaf {
  asid: bigint;
  /** The vCPU whose tables were walked. */
  vcpu: bigint;
}

export interface CachedTable {
  /** Part of the guest physical address space that the table covers. */
  from: bigint;
  level: number;
  /** hpa of the table. */
  table: bigint;
  /** As in CachedLeaf. */
  space: bigint;
}

interface CachesOfVmid {
  gStage: Map<bigint, CachedLeaf>;
  tables: Map<bigint, CachedTable>;
  /** Key: ASID and page. */
  vsStage: Map<bigint, CachedGuestLeaf>;
}

/** Sizes of leaves, as shifts. */
const LEAF_SHIFTS = [12n, 21n, 30n, 39n] as const;

export class Tlb {
  readonly #vmids = new Map<number, CachesOfVmid>();
  /** Grows whenever the contents change: equal numbers mean equal contents. */
  changes = 0;

  #of(vmid: number): CachesOfVmid {
    let caches = this.#vmids.get(vmid);
    if (!caches) this.#vmids.set(vmid, (caches = { gStage: new Map(), tables: new Map(), vsStage: new Map() }));
    return caches;
  }

  gStage(vmid: number, gpa: bigint): CachedLeaf | undefined {
    const leaves = this.#vmids.get(vmid)?.gStage;
    if (!leaves || leaves.size === 0) return undefined;
    for (const shift of LEAF_SHIFTS) {
      const leaf = leaves.get(((gpa >> shift) << 6n) | shift);
      if (leaf) return leaf;
    }
    return undefined;
  }

  addGStage(vmid: number, leaf: CachedLeaf): void {
    this.changes++;
    this.#of(vmid).gStage.set(leafKey(leaf), leaf);
  }

  /** The cached table of `level` for `gpa`. */
  table(vmid: number, level: number, gpa: bigint): bigint | undefined {
    return this.#vmids.get(vmid)?.tables.get(tableKey(level, gpa))?.table;
  }

  addTable(vmid: number, level: number, gpa: bigint, table: bigint, space: bigint): void {
    const shift = tableShift(level);
    this.changes++;
    this.#of(vmid).tables.set(tableKey(level, gpa), { from: (gpa >> shift) << shift, level, table, space });
  }

  vsStage(vmid: number, asid: bigint, gva: bigint): CachedGuestLeaf | undefined {
    const leaves = this.#vmids.get(vmid)?.vsStage;
    if (!leaves || leaves.size === 0) return undefined;
    for (const shift of LEAF_SHIFTS) {
      const leaf = leaves.get((((asid << 52n) | (gva >> shift)) << 6n) | shift);
      if (leaf) return leaf;
    }
    return undefined;
  }

  addVsStage(vmid: number, leaf: CachedGuestLeaf): void {
    const shift = shiftOf(leaf.size);
    this.changes++;
    this.#of(vmid).vsStage.set((((leaf.asid << 52n) | (leaf.from >> shift)) << 6n) | shift, leaf);
  }

  /** hfence.gvma with or without a VMID. */
  flushGStage(vmid?: number): void {
    for (const [id, caches] of this.#vmids) {
      if (vmid !== undefined && id !== vmid) continue;
      if (caches.gStage.size + caches.tables.size > 0) this.changes++;
      caches.gStage.clear();
      caches.tables.clear();
    }
  }

  /** hfence.vvma, or the guest's sfence.vma, of everything of a VMID. */
  flushVsStage(vmid: number): void {
    const caches = this.#vmids.get(vmid);
    if (!caches || caches.vsStage.size === 0) return;
    this.changes++;
    caches.vsStage.clear();
  }

  /** All VMIDs with anything cached. */
  vmids(): number[] {
    return [...this.#vmids.keys()];
  }

  /** Whether a guest that runs with `vmid` could use anything of the G-stage without walking. */
  holdsLeaves(vmid: number): boolean {
    return (this.#vmids.get(vmid)?.gStage.size ?? 0) > 0;
  }

  /** What a guest that runs with `vmid` could use without walking. */
  cachedLeaves(vmid: number): CachedLeaf[] {
    return [...(this.#vmids.get(vmid)?.gStage.values() ?? [])];
  }

  cachedTables(vmid: number): CachedTable[] {
    return [...(this.#vmids.get(vmid)?.tables.values() ?? [])];
  }

  cachedGuestLeaves(vmid: number): CachedGuestLeaf[] {
    return [...(this.#vmids.get(vmid)?.vsStage.values() ?? [])];
  }

  save(): unknown {
    return [...this.#vmids].map(([vmid, caches]) => ({
      vmid,
      gStage: new Map(caches.gStage),
      tables: new Map(caches.tables),
      vsStage: new Map(caches.vsStage),
    }));
  }

  restore(saved: unknown): void {
    this.changes++;
    this.#vmids.clear();
    for (const { vmid, gStage, tables, vsStage } of saved as (CachesOfVmid & { vmid: number })[]) {
      this.#vmids.set(vmid, { gStage: new Map(gStage), tables: new Map(tables), vsStage: new Map(vsStage) });
    }
  }
}

function shiftOf(size: bigint): bigint {
  const shift = LEAF_SHIFTS.find((candidate) => 1n << candidate === size);
  if (shift === undefined) throw new Error(`no leaf has ${size} bytes`);
  return shift;
}

function leafKey(leaf: CachedLeaf): bigint {
  const shift = shiftOf(leaf.size);
  return ((leaf.from >> shift) << 6n) | shift;
}

/** A table of level 0 covers 2 MiB. */
function tableShift(level: number): bigint {
  return 21n + 9n * BigInt(level);
}

function tableKey(level: number, gpa: bigint): bigint {
  return ((gpa >> tableShift(level)) << 3n) | BigInt(level);
}
