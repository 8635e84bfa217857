import { DEFAULT_CPU } from "../qemu/machine.ts";

/**
 * What is measured, in the table's order. `budget` is what Salus allows itself, `original` what the hypervisor of the same name
 * that it replaces needs on the same machine (rivosinc/salus 27b8d1d, its own code without firmware); both null where there is none.
 */

/** A machine that the benchmark runs on. */
export interface Setup {
  cpu: string;
  harts: number;
  memoryMiB: number;
  /** What the benchmark's host measures there (workloads/bench-host/main.ts): a boot argument. */
  what?: string;
}

/** All harts but the one that measures run TVMs. */
export const BUSY = "bench.busy";

const REFERENCE: Setup = { cpu: DEFAULT_CPU, harts: 1, memoryMiB: 2048 };

/** Machines, by the name that rows give. All but `reference` run only for the rows that need them. */
export const SETUPS = {
  reference: REFERENCE,
  /** No cbo.zero, no bit manipulation. */
  plain: { ...REFERENCE, cpu: `${DEFAULT_CPU},zicboz=off,zba=off,zbb=off,zbs=off` },
  /** No vector registers. */
  scalar: { ...REFERENCE, cpu: DEFAULT_CPU.replace("v=on,vlen=256,elen=64,", "") },
  /** SHA instructions. */
  zknh: { ...REFERENCE, cpu: `${DEFAULT_CPU},zknh=on` },
  /** With 1 GiB of memory to give away. */
  large: { ...REFERENCE, memoryMiB: 6144, what: "bench.large" },
  /** Thousands of measured pages, which take the emulator a while. */
  measured: { ...REFERENCE, memoryMiB: 6144, what: "bench.measured" },
  /** A measured page of 1 GiB: 17 thousand million instructions, with SHA instructions. */
  gibibyte: { ...REFERENCE, cpu: `${DEFAULT_CPU},zknh=on`, memoryMiB: 6144, what: "bench.gibibyte" },
  busy2: { ...REFERENCE, harts: 2, what: BUSY },
  busy4: { ...REFERENCE, harts: 4, what: BUSY },
  busy8: { ...REFERENCE, harts: 8, what: BUSY },
} as const satisfies Record<string, Setup>;

export type SetupName = keyof typeof SETUPS;

export interface Row {
  name: string;
  label: string;
  /** Measurement that it comes from: a name that workloads/bench-host announces, or one that tools/bench/figures.ts knows. */
  from: string;
  on: SetupName;
  /** Whether the figure is that of the hart which measures, or of all. They differ on a machine with busy harts only. */
  share: "own" | "all";
  /** Divides the figure, for rows per page. */
  per: number;
  budget: number | null;
  original: number | null;
  unit: "instructions" | "bytes";
}

function row(
  name: string,
  label: string,
  budget: number | null,
  original: number | null,
  more: Partial<Pick<Row, "from" | "on" | "per" | "share" | "unit">> = {},
): Row {
  return {
    name,
    label,
    from: name,
    on: "reference",
    per: 1,
    share: "all",
    unit: "instructions",
    budget,
    original,
    ...more,
  };
}

/** An operation beside 1, 3 and 7 busy harts. */
function busyRows(name: string, label: string, share: Row["share"]): Row[] {
  return ([2, 4, 8] as const).map((harts) => {
    const who = share === "own" ? "" : ", all harts together";
    const more = { from: name, on: `busy${harts}`, share } as const;
    return row(`${name}-${share}-${harts}`, `${label}, ${harts} harts busy${who}`, null, null, more);
  });
}

const MIB = 1024 * 1024;

export const ROWS: readonly Row[] = [
  row("boot", "boot: firmware's jump to the host's first instruction", 20_000_000, 4_064_930_757),
  row("null-call-host", "null SBI call of the host", 120, 516),
  row("null-call-tvm", "null SBI call of a TVM", 130, 556),
  row("ecall-exit", "TVM ecall: exit and resume", 700, 4_644),
  row("ecall-exit-scalar", "the same on a CPU without V", 700, 4_598, { from: "ecall-exit", on: "scalar" }),
  row("mmio-store-exit", "MMIO store: exit and resume", 900, 4_345),
  row("mmio-load-exit", "MMIO load: exit and resume", 900, null),
  row("wfi-exit", "WFI: exit and resume", 700, 4_087),
  row("demand-zero-fault", "demand-zero fault: exit, add a page, resume", 1_700, 8_696),
  row("convert-1", "convert 1 page", null, 1_432),
  row("convert-1-of-2m-leaf", "convert 1 page, the first of a 2 MiB leaf", null, null),
  row("convert-100", "convert 100 pages, per page", 50, 619.2, { per: 100 }),
  row("convert-2m", "convert a whole 2 MiB leaf, per page", 50, null, { per: 512 }),
  row("convert-10000", "convert 10,000 pages, per page", 50, null, { per: 10_000 }),
  row("fence", "fence, 1 hart", null, 789),
  row("add-zero-1", "add 1 zero page", null, 4_672),
  row("add-zero-100", "add 100 zero pages, per page, with Zicboz", 200, 3_193.5, { per: 100 }),
  row("add-zero-100-plain", "add 100 zero pages, per page, without Zicboz", 650, 3_193.5, {
    from: "add-zero-100",
    on: "plain",
    per: 100,
  }),
  row("add-zero-2m", "add one 2 MiB zero page", null, null),
  row("add-measured-1", "add 1 measured page", null, 211_188),
  row("add-measured-100", "add 100 measured pages, per page, with Zbb", 105_000, 209_749.2, { per: 100 }),
  row("add-measured-100-plain", "add 100 measured pages, per page, without Zbb", 165_000, 209_749.2, {
    from: "add-measured-100",
    on: "plain",
    per: 100,
  }),
  row("add-measured-100-zknh", "add 100 measured pages, per page, with Zknh", 66_000, 209_749.2, {
    from: "add-measured-100",
    on: "zknh",
    per: 100,
  }),
  row("reclaim-1", "reclaim 1 page", null, 4_621),
  row("reclaim-100", "reclaim 100 pages, per page, with Zicboz", 200, 3_088, { per: 100 }),
  row("reclaim-100-plain", "reclaim 100 pages, per page, without Zicboz", 650, 3_088, {
    from: "reclaim-100",
    on: "plain",
    per: 100,
  }),
  row("reclaim-2m", "reclaim a whole 2 MiB range, per page, with Zicboz", 200, null, { per: 512 }),
  row("reclaim-10000", "reclaim 10,000 pages, per page, with Zicboz", 200, null, { per: 10_000 }),
  row("create", "create a TVM", 20_000, 1_800_813),
  row("add-vcpu", "add a vCPU", null, 14_116),
  row("add-30-table-pages", "add 30 page-table pages", null, 91_262),
  row("add-region", "add a memory region", null, null),
  row("read-measurement", "read a measurement register", null, 1_824),
  row("get-evidence-first", "get evidence, first call: keys are derived", null, null),
  row("get-evidence", "get evidence, second call, with U-mode", 2_000_000, 957_167 + 1_199_933),
  row("finalize", "finalize", 20_000, 1_777_913),
  row("create-to-finalize", "create to finalize, 160 measured pages", null, 38_046_370),
  row("destroy", "destroy a TVM with 312 small pages and a large one", 60_000, 266_595),
  row("convert-1g", "convert a whole 1 GiB leaf, per page", 50, null, { on: "large", per: 512 * 512 }),
  row("add-zero-1g", "add one 1 GiB zero page, per 4 KiB, with Zicboz", 200, null, { on: "large", per: 512 * 512 }),
  row("add-zero-10000", "add 10,000 zero pages, per page, with Zicboz", 200, null, { on: "large", per: 10_000 }),
  row("block-1g", "block a 1 GiB page, per 4 KiB", null, null, { on: "large", per: 512 * 512 }),
  row("destroy-large", "destroy a TVM with 1 GiB and 10,160 pages", null, null, { on: "large" }),
  row("reclaim-1g", "reclaim a whole 1 GiB range, per page, with Zicboz", 200, null, { on: "large", per: 512 * 512 }),
  row("add-measured-2m", "add one 2 MiB measured page, per 4 KiB, with Zbb", 105_000, null, {
    on: "measured",
    per: 512,
  }),
  row("add-measured-10000", "add 10,000 measured pages, per page, with Zbb", 105_000, null, {
    on: "measured",
    per: 10_000,
  }),
  row("add-measured-1g", "add one 1 GiB measured page, per 4 KiB, with Zknh", 66_000, null, {
    on: "gibibyte",
    per: 512 * 512,
  }),
  ...busyRows("ecall-exit", "TVM ecall: exit and resume", "own"),
  ...busyRows("convert-100", "convert 100 pages", "own"),
  ...busyRows("fence", "fence", "own"),
  ...busyRows("fence", "fence", "all"),
  ...busyRows("remote-fence", "remote sfence.vma of harts that run TVMs", "own"),
  ...busyRows("destroy", "destroy a TVM with 160 pages", "own"),
  row("memory-kept", "memory kept from a 2 GiB host", 12 * MIB, 480 * MIB, { unit: "bytes" }),
  row("image-size", "hypervisor image", 200_000, 914_000, { unit: "bytes" }),
];
