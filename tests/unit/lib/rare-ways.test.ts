import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Crypto, cryptoModule, INPUT, OUTPUT, SCRATCH } from "../support/crypto.ts";
import { AssertionFailed, Machine } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";

/** Functions of the lowest layers with arguments that none of their callers has on the machines of the other tests. */

const MEMORY = TEST_MEMORY;
const module = await compileModule({
  files: ["hypervisor/riscv/isa"],
  source: `
    import * as arithmetic from "../../../hypervisor/lib/arithmetic";
    import { CBOR_WRONG, cborBytes, CborReader } from "../../../hypervisor/lib/cbor-reader";
    import { initSegmentList, SegmentList } from "../../../hypervisor/boot/segment-list";
    export function powerOfTwo(value: u64): bool { return arithmetic.isPowerOfTwo(value); }
    export function overlap(a: u64, aSize: u64, b: u64, bSize: u64): bool { return arithmetic.rangesOverlap(a, aSize, b, bSize); }
    export function bytesAt(reader: usize, at: u64, end: u64): u64 {
      const record = changetype<CborReader>(reader);
      record.at = at;
      record.end = end;
      return cborBytes(record);
    }
    export function segments(at: usize, capacity: u64): void { initSegmentList(at, capacity); }
    export function insert(at: usize, gpa: u64, hpa: u64, length: u64): void { changetype<SegmentList>(at).insert(gpa, hpa, length); }
    export function find(at: usize, gpa: u64): u64 { return changetype<SegmentList>(at).find(gpa); }
    export function count(at: usize): u64 { return changetype<SegmentList>(at).count; }
    export function segment(at: usize, index: u64, field: u32): u64 {
      const list = changetype<SegmentList>(at);
      return field == 0 ? list.gpa(index) : field == 1 ? list.hpa(index) : list.length(index);
    }`,
});
const machine = new Machine(module, 2 * TEST_MEMORY);
const { exports } = machine;
const number = (value: unknown): number => Number(BigInt.asIntN(64, value as bigint));

describe("numbers", () => {
  test("0 is no power of two, 2^63 is", () => {
    assert.deepEqual(
      [0n, 1n, 2n, 3n, 1n << 63n, (1n << 63n) + 1n].map((value) => exports["powerOfTwo"](value)),
      [0, 1, 1, 0, 1, 0],
    );
  });

  test("an empty range shares no byte with any", () => {
    const overlap = (...range: bigint[]): number => exports["overlap"](...range);
    assert.equal(overlap(8n, 0n, 0n, 16n), 0);
    assert.equal(overlap(0n, 16n, 8n, 0n), 0);
    assert.equal(overlap(8n, 1n, 0n, 16n), 1);
    assert.equal(overlap(16n, 1n, 0n, 16n), 0);
  });
});

describe("a byte string of CBOR", () => {
  const READER = BigInt(MEMORY);
  const read = (bytes: number[], size = bytes.length): number => {
    const at = MEMORY + 0x100;
    machine.put(at, Uint8Array.from(bytes));
    return number(exports["bytesAt"](READER, BigInt(at), BigInt(at + size)));
  };

  test("is as long as it says, and no longer than what is there", () => {
    assert.equal(read([0x43, 1, 2, 3]), 3);
    assert.equal(read([0x43, 1, 2]), -1);
    assert.equal(read([0x58, 0x40, 1]), -1);
  });

  test("anything else, and nothing, is none", () => {
    assert.equal(read([0x03, 1, 2, 3]), -1);
    assert.equal(read([]), -1);
    assert.equal(read([0x58]), -1);
  });
});

describe("names of extensions", () => {
  /** IsaText of riscv/isa.ts. */
  const list = 0;
  const text = 1;
  const features = (isa: string, kind: number): bigint => {
    machine.put(MEMORY, Buffer.from(`${isa}#####`));
    return exports["featuresOfIsa"](BigInt(MEMORY), BigInt(isa.length), kind) as bigint;
  };

  test("versions end with the text, whatever lies behind it", () => {
    const [f, fd] = [features("rv64if", text), features("rv64ifd", text)];
    assert.notEqual(f, fd);
    // The digits of a version, and its p, are the last characters; behind the text stands more.
    for (const isa of ["rv64if2", "rv64if2p", "rv64if2p1", "rv64i2p1f2p0", "rv64i2pf"]) {
      machine.put(MEMORY, Buffer.from(`${isa}1d`));
      const found = exports["featuresOfIsa"](BigInt(MEMORY), BigInt(isa.length), text) as bigint;
      if (isa !== "rv64if2p") assert.equal(found, f, isa);
      // A p without a number behind it is an extension of that name, which nobody asks for.
      else assert.equal(found, f, isa);
    }
  });

  test("a version of a long name is none of it", () => {
    const sstc = features("rv64i_sstc", text);
    assert.notEqual(sstc, 0n);
    for (const isa of ["rv64i_sstc1", "rv64i_sstc1p0", "rv64i_sstc12p34"]) assert.equal(features(isa, text), sstc, isa);
    // p is the last letter of the name, not that of a version.
    const overflows = features("rv64i_zbb_sscofpmf", text);
    assert.equal(features("rv64i_zbb1p0_sscofpmf1", text), overflows);
    // A name of digits, or that ends in p and digits, is read to its end and means nothing.
    for (const isa of ["rv64i_z1", "rv64i_zp1", "rv64i_zvp7", "rv64i_s12345"])
      assert.equal(features(isa, text), 0n, isa);
  });

  test("names that stand for others", () => {
    const of = (name: string): bigint => features(name, list);
    assert.equal(of("zkn"), of("zknh"));
    assert.equal(of("zk"), of("zknh") | of("zkr"));
    assert.equal(of("zce"), of("zcmt"));
    assert.equal(of("g"), of("f") | of("d"));
    assert.equal(of("smstateen"), of("ssstateen"));
    for (const name of ["zknh", "zkr", "zcmt", "f", "d", "ssstateen"]) assert.notEqual(of(name), 0n, name);
    assert.equal(of("zkx"), 0n);
  });
});

describe("segments of the host's memory", () => {
  const LIST = BigInt(MEMORY);
  const build = (capacity: number, ...parts: [gpa: number, hpa: number, length: number][]): number[][] => {
    exports["segments"](LIST, BigInt(capacity));
    for (const part of parts) exports["insert"](LIST, ...part.map(BigInt));
    return Array.from({ length: Number(exports["count"](LIST)) }, (_, index) =>
      [0, 1, 2].map((field) => Number(exports["segment"](LIST, BigInt(index), field))),
    );
  };

  test("are joined with the one before, with the one behind, with both, and only where both addresses run on", () => {
    assert.deepEqual(build(4, [0, 100, 10], [10, 110, 5]), [[0, 100, 15]]);
    assert.deepEqual(build(4, [10, 110, 5], [0, 100, 10]), [[0, 100, 15]]);
    const both = build(4, [0, 100, 10], [20, 120, 10], [40, 500, 10], [10, 110, 10]);
    assert.deepEqual(both, [[0, 100, 30], [40, 500, 10]]); // prettier-ignore
    assert.deepEqual(build(4, [0, 100, 10], [10, 200, 10]), [[0, 100, 10], [10, 200, 10]]); // prettier-ignore
    assert.deepEqual(build(4, [10, 200, 10], [0, 100, 10]), [[0, 100, 10], [10, 200, 10]]); // prettier-ignore
  });

  test("are found by any of their addresses, and none where there is none", () => {
    build(4, [10, 100, 10], [30, 200, 10]);
    const find = (gpa: number): number => number(exports["find"](LIST, BigInt(gpa)));
    assert.deepEqual([10, 19, 30, 39].map(find), [0, 0, 1, 1]);
    assert.deepEqual([0, 9, 20, 29, 40].map(find), [-1, -1, -1, -1, -1]);
  });

  test("must not overlap, nor be more than there is room for", () => {
    for (const second of [
      [5, 300, 10],
      [15, 300, 10],
      [10, 300, 1],
    ] as [number, number, number][]) {
      // prettier-ignore
      assert.throws(() => build(4, [10, 100, 10], second), AssertionFailed);
    }
    assert.throws(() => build(1, [10, 100, 10], [30, 100, 10]), AssertionFailed);
  });
});

test("HKDF's second half refuses more than it can give, and writes nothing", async () => {
  const crypto = new Crypto(await cryptoModule());
  const [[key], info] = crypto.put(new Uint8Array(64).fill(7), Uint8Array.of(1, 2, 3));
  const expand = (length: number): number =>
    Number(crypto.calls["hkdfExpand"](key, ...info, BigInt(OUTPUT), BigInt(length), BigInt(SCRATCH)));
  crypto.bytes.fill(0xee, OUTPUT, INPUT);
  assert.equal(expand(255 * 64 + 1), 0);
  assert(crypto.output(INPUT - OUTPUT).every((byte) => byte === 0xee));
  assert.equal(expand(255 * 64), 1);
  assert.equal(crypto.output(255 * 64).equals(Buffer.alloc(255 * 64, 0xee)), false);
});
