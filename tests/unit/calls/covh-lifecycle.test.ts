import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { PageState } from "../../../machine/simulated/hypervisor-state.ts";
import { RecordView, recordSize } from "../../../machine/simulated/record-layout.ts";
import { refusals } from "../support/simulated/call-table.ts";
import { CoveHost, HOST_CODE, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covh, Eid, Hsm, Sbi, errorName } from "../support/simulated/sbi.ts";

/** COVH 5, 6, 7, 13 and 14: the life of a TVM and of its vCPUs. */

let host: CoveHost;
/** Finalized, with vCPUs 0 and 1. */
let tvm: Tvm;
/** Neither finalized nor has it any vCPU. */
let unfinished: bigint;

before(async () => {
  host = await CoveHost.boot();
  tvm = host.buildTvm({ vcpus: 2 });
  unfinished = host.createTvm();
  host.registerNacl();
  host.take(0, HUGE);
  host.save("start");
});

const start = (): CoveHost => {
  host.restore("start");
  return host;
};

/** Calls that are refused for TVMs that do not exist, whatever else their arguments are. */
const unknownGuests: [string, number | bigint][] = [
  ["guest 0, the host itself", 0],
  ["guest 1, the hypervisor", 1],
  ["a guest id that was never given", 77],
  ["a guest id with another generation", (1n << 12n) | 2n],
  ["all ones", -1],
];

/** Two converted and fenced pages, one behind the other for the host, of which the first is elsewhere: it is in the 2 MiB of the host's kernel. */
function apart(h: CoveHost): number {
  const gpa = HOST_CODE + HUGE - PAGE;
  assert.notEqual(h.hpaOf(gpa + PAGE), h.hpaOf(gpa) + PAGE);
  h.must("convertPages", gpa, 2);
  h.fence();
  return gpa;
}

describe("every call on a TVM", () => {
  for (const [name, fid] of Object.entries(Covh)) {
    if (fid < Covh.tvmFinalize) continue;
    test(`${name} refuses unknown guests: invalidParam`, () => {
      start();
      for (const [, id] of unknownGuests) host.refuses("invalidParam", name as keyof typeof Covh, id, 0, 0, 0, 0, 0);
    });
  }

  test("a TVM has none: invalidParam", () => {
    start();
    host.enter(tvm);
    for (const name of ["tvmFinalize", "tvmDestroy", "addZeroPages", "cpuRun", "blockPages"] as const) {
      host.refuses("invalidParam", name, tvm.id, 0, 0, 0, 0);
    }
    host.refuses("invalidParam", "tvmCreate", TVM_MEMORY, 16);
  });
});

describe("TvmCreate", () => {
  test("guest ids are never used again", () => {
    start();
    const first = host.createTvm();
    host.must("tvmDestroy", first);
    const second = host.createTvm();
    assert.notEqual(first, second);
    host.refuses("invalidParam", "tvmDestroy", first);
    host.must("tvmDestroy", second);
  });

  test("many at once", () => {
    start();
    const ids = new Set(Array.from({ length: 20 }, () => host.createTvm()));
    assert.equal(ids.size, 20);
    for (const id of ids) host.must("tvmDestroy", id);
  });

  const directory = (h: CoveHost): number => h.donated(4, 4 * PAGE);
  const state = (h: CoveHost): number => h.donated(2);
  refusals(() => host, "start", "tvmCreate", [
    ["parameters too short", "invalidParam", (h) => [h.createParams(directory(h), state(h)), 15]],
    ["parameters outside of memory", "invalidAddress", () => [0x1000, 16]],
    ["parameters at the end of the address space", "invalidAddress", () => [-8n, 16]],
    ["parameters in converted memory", "invalidAddress", (h) => [h.converted(1), 16]],
    ["parameters that cross into converted memory", "invalidAddress", (h) => [h.converted(1) - 8, 16]],
    [
      "directory aligned to a page only",
      "invalidAddress",
      (h) => [h.createParams(h.donated(8, 4 * PAGE) + PAGE, state(h)), 16],
    ],
    ["directory misaligned", "invalidAddress", (h) => [h.createParams(directory(h) + 8, state(h)), 16]],
    ["directory not converted", "invalidAddress", (h) => [h.createParams(h.take(4, 4 * PAGE), state(h)), 16]],
    [
      "last page of the directory not converted",
      "invalidAddress",
      (h) => [h.createParams(h.donated(3, 4 * PAGE), state(h)), 16],
    ],
    [
      "directory at the end of the address space",
      "invalidAddress",
      (h) => [h.params64(-0x4000n, BigInt(state(h))), 16],
    ],
    ["directory outside of the address space", "invalidAddress", (h) => [h.params64(1n << 41n, BigInt(state(h))), 16]],
    ["directory in no memory", "invalidAddress", (h) => [h.createParams(0x4000, state(h)), 16]],
    ["state misaligned", "invalidAddress", (h) => [h.createParams(directory(h), state(h) + 8), 16]],
    ["state not converted", "invalidAddress", (h) => [h.createParams(directory(h), h.take(2)), 16]],
    ["second state page not converted", "invalidAddress", (h) => [h.createParams(directory(h), h.donated(1)), 16]],
    [
      "state at the end of the address space",
      "invalidAddress",
      (h) => [h.params64(BigInt(directory(h)), -0x1000n), 16],
    ],
    ["state not fenced", "invalidAddress", (h) => [h.createParams(directory(h), h.converted(2)), 16]],
    ["directory not fenced", "invalidAddress", (h) => [h.createParams(h.converted(4, 4 * PAGE), h.take(2)), 16]],
    ["directory and state overlap", "invalidAddress", (h) => overlapping(h, 2)],
    ["directory and state are the same", "invalidAddress", (h) => overlapping(h, 0)],
    ["state begins in the last page of the directory", "invalidAddress", (h) => overlapping(h, 3)],
    ["pages of another TVM", "invalidAddress", (h) => [h.createParams(h.usedDirectory, state(h)), 16]],
    ["state pages that lie apart", "invalidAddress", (h) => [h.createParams(directory(h), apart(h)), 16]],
  ]);

  function overlapping(h: CoveHost, page: number): number[] {
    const pages = h.donated(8, 4 * PAGE);
    return [h.createParams(pages, pages + page * PAGE), 16];
  }

  test("no slot left: failed", () => {
    start();
    const params = host.createParams(host.donated(4, 4 * PAGE), host.donated(2));
    const { machine } = host;
    const table = machine.root.number("vmSlots");
    for (let slot = 2; slot < 4096; slot++) {
      const entry = new RecordView(machine.memory, "slot", table + slot * recordSize("slot"));
      if (entry.word("vm") === 0n) entry.set("references", 1);
    }
    host.checker.paused = true;
    host.refuses("failed", "tvmCreate", params, 16);
    host.must("tvmDestroy", unfinished);
    assert.notEqual(host.must("tvmCreate", params, 16), unfinished);
    host.checker.paused = false;
  });
});

test("TvmCreate leaves a slot to the hart that takes it between two looks", async () => {
  let free: RecordView | undefined;
  const racing = await CoveHost.boot({
    door: (usual) => ({
      cas32: (at: bigint, expected: number, next: number) => {
        const offset = free === undefined ? -1 : Number(at) - free.address;
        if (free && offset >= 0 && offset < recordSize("slot")) {
          // The other hart's TvmCreate has begun and ended meanwhile.
          free.set("vm", racing.machine.root.word("host"));
          free = undefined;
        }
        return (usual["cas32"] as (...of: unknown[]) => number)(at, expected, next);
      },
    }),
  });
  const params = racing.createParams(racing.donated(4, 4 * PAGE), racing.donated(2));
  racing.checker.paused = true;
  const { machine } = racing;
  const third = new RecordView(machine.memory, "slot", machine.root.number("vmSlots") + 2 * recordSize("slot"));
  assert.equal(third.word("vm"), 0n);
  free = third;
  const id = racing.must("tvmCreate", params, 16);
  assert.equal(free, undefined);
  assert.equal(id & 0xfffn, 3n);
  assert.deepEqual([third.word("vm"), third.word("references")], [machine.root.word("host"), 0n]);
});

test("TvmCreate has claimed its pages until they are the TVM's", async () => {
  const before: number[] = [];
  let watched: { from: number; to: number }[] = [];
  const racing = await CoveHost.boot({
    door: (usual) => ({
      storeRelease64: (at: bigint, value: bigint) => {
        const page = watched.some(({ from, to }) => Number(at) >= from && Number(at) < to);
        if (page && (Number(value) & 15) === PageState.VmState) {
          before.push(Number(racing.machine.memory.read64(Number(at)) & 15n));
        }
        (usual["storeRelease64"] as (...of: unknown[]) => void)(at, value);
      },
    }),
  });
  const [directory, state] = [racing.donated(4, 4 * PAGE), racing.donated(2)];
  const params = racing.createParams(directory, state);
  const range = new RecordView(racing.machine.memory, "range", racing.machine.root.number("ranges"));
  const recordOf = (gpa: number): number =>
    range.number("records") + 8 * ((racing.hpaOf(gpa) - range.number("base")) / PAGE);
  watched = [
    { from: recordOf(directory), to: recordOf(directory) + 4 * 8 },
    { from: recordOf(state), to: recordOf(state) + 2 * 8 },
  ];
  racing.must("tvmCreate", params, 16);
  assert.deepEqual(before, new Array<number>(6).fill(PageState.Claimed));
});

describe("TvmCpuCreate", () => {
  test("vCPUs in any order, up to the last id", () => {
    start();
    for (const id of [5, 0, 127]) assert.equal(host.must("cpuCreate", unfinished, id, host.donated(1)), 0n);
    host.must("tvmDestroy", unfinished);
  });

  refusals(() => host, "start", "cpuCreate", [
    ["the TVM is finalized", "invalidParam", (h) => [tvm.id, 5, h.donated(1)]],
    ["an id beyond the last", "invalidParam", (h) => [unfinished, 128, h.donated(1)]],
    ["an id of 64 bits", "invalidParam", (h) => [unfinished, 1n << 32n, h.donated(1)]],
    ["misaligned", "invalidAddress", (h) => [unfinished, 0, h.donated(1) + 1]],
    ["not converted", "invalidAddress", (h) => [unfinished, 0, h.take(1)]],
    ["not fenced", "invalidAddress", (h) => [unfinished, 0, h.converted(1)]],
    ["no memory", "invalidAddress", () => [unfinished, 0, 0x1000]],
    ["the address space ends", "invalidAddress", () => [unfinished, 0, -4096n]],
    ["the vCPU exists", "alreadyAvailable", (h) => [withVcpu(h), 0, h.donated(1)]],
    ["the page of another vCPU", "invalidAddress", (h) => [withVcpu(h), 1, h.lastDonated]],
  ]);

  test("pages that lie apart, where a vCPU needs more than one: invalidAddress", async () => {
    const other = await CoveHost.boot({ options: { vlenb: 128 } });
    assert.equal(other.info().vcpuPages, 2);
    const id = other.createTvm();
    other.refuses("invalidAddress", "cpuCreate", id, 0, apart(other));
    other.must("cpuCreate", id, 0, other.donated(2));
  });

  function withVcpu(h: CoveHost): bigint {
    h.must("cpuCreate", unfinished, 0, h.donated(1));
    return unfinished;
  }
});

describe("TvmFinalize", () => {
  refusals(() => host, "start", "tvmFinalize", [
    ["no vCPU 0", "invalidState", () => [unfinished, TVM_MEMORY, 0]],
    ["finalized already", "invalidParam", () => [tvm.id, TVM_MEMORY, 0]],
  ]);

  test("the boot vCPU starts at the entry point with its id and the argument, and nothing else", () => {
    start();
    host.enter(tvm);
    const { registers, pc, user } = host.hart;
    assert.equal(pc, BigInt(TVM_MEMORY));
    assert.equal(user, false);
    assert.equal(registers[11], 0x1234n);
    registers.forEach((value, index) => {
      if (index !== 11) assert.equal(value, 0n, `x${index} of a new vCPU`);
    });
    for (const csr of ["sstatus", "sie", "stvec", "sscratch", "sepc", "scause", "stval", "satp", "senvcfg"] as const) {
      const expected = csr === "sstatus" ? 2n << 32n : 0n;
      assert.equal(host.readCsr(csr), expected, `${csr} of a new vCPU`);
    }
  });
});

describe("TvmDestroy", () => {
  test("everything comes back to the host, zeroed on reclaim", () => {
    start();
    host.must("tvmDestroy", tvm.id);
    host.must("tvmDestroy", unfinished);
    const donated = host.allDonated();
    for (const { gpa, pages } of donated) host.must("reclaimPages", gpa, pages);
    for (const { gpa, pages } of donated) assert(host.peek(gpa, pages * PAGE).every((byte) => byte === 0));
  });

  test("twice: invalidParam", () => {
    start();
    host.must("tvmDestroy", tvm.id);
    host.refuses("invalidParam", "tvmDestroy", tvm.id);
  });

  test("while a vCPU waits for its host", () => {
    start();
    host.enter(tvm);
    host.leaveTvm();
    host.must("tvmDestroy", tvm.id);
    host.refuses("invalidParam", "cpuRun", tvm.id, 0);
  });
});

describe("TvmCpuRun", () => {
  refusals(() => host, "start", "cpuRun", [
    ["not finalized", "invalidParam", () => [unfinished, 0]],
    ["no such vCPU", "invalidParam", () => [tvm.id, 2]],
    ["a vCPU id beyond the last", "invalidParam", () => [tvm.id, 128]],
    ["a vCPU id of 64 bits", "invalidParam", () => [tvm.id, 1n << 32n]],
    ["the vCPU was never started", "invalidState", () => [tvm.id, 1]],
    ["the vCPU is off", "invalidState", (h) => stopped(h)],
    ["no NACL memory", "noShmem", (h) => (h.unregisterNacl(), [tvm.id, 0])],
  ]);

  function stopped(h: CoveHost): (number | bigint)[] {
    h.enter(tvm);
    const outcome = h.perform(operations.ecall(Eid.hsm, Hsm.stop));
    assert("switched" in outcome);
    assert.deepEqual(h.runResult(), { error: Sbi.success, value: 1n });
    return [tvm.id, 0];
  }

  test("a vCPU that another one starts runs from where it was told", () => {
    start();
    host.enter(tvm);
    const outcome = host.perform(operations.ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY + 0x40, 0x77));
    assert("switched" in outcome, "the host is not told of a start");
    assert.equal(host.runResult().value, 0n);
    host.enter(tvm, 1);
    assert.equal(host.hart.pc, BigInt(TVM_MEMORY + 0x40));
    assert.deepEqual([...host.hart.registers.slice(10, 12)], [1n, 0x77n]);
    host.leaveTvm();
    host.enter(tvm, 0);
    assert.equal(errorName(host.ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0).error), "alreadyAvailable");
  });

  test("what the TVM's vCPU left in its registers is nobody else's", () => {
    start();
    host.enter(tvm);
    for (let register = 1; register < 32; register++) host.hart.registers[register] = 0xdead_0000n + BigInt(register);
    host.leaveTvm();
    const seen = [...host.hart.registers].filter((value) => value >> 16n === 0xdeadn);
    assert.deepEqual(seen, []);
    host.enter(tvm);
    const kept = [...host.hart.registers].map((value, register) => value === 0xdead_0000n + BigInt(register));
    assert.equal(kept.filter(Boolean).length, 31);
  });

  test("the code that was measured is what runs", () => {
    start();
    const code = host.peek(HOST_CODE, 8);
    host.enter(tvm);
    assert.equal(host.load(TVM_MEMORY), Buffer.from(code).readBigUInt64LE());
    assert.notEqual(host.load(TVM_MEMORY), 0n);
  });
});
