import assert from "node:assert/strict";
import { test } from "node:test";
import { CLOSE_MARK, markerProgram, OPEN_MARK } from "../../../tools/bench/marker-program.ts";

test("a program that marks is an ELF file whose entry is the mark", () => {
  for (const [mark, instruction] of [
    [OPEN_MARK, 0x5a10_2013],
    [CLOSE_MARK, 0x5a20_2013],
  ]) {
    const file = markerProgram(mark);
    assert.deepEqual([...file.subarray(0, 7)], [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    assert.equal(file.readUInt16LE(18), 243, "RISC-V");
    const segment = Number(file.readBigUInt64LE(32));
    assert.equal(file.readUInt32LE(segment), 1, "a segment that is loaded");
    const [offset, address, size] = [8, 16, 32].map((field) => Number(file.readBigUInt64LE(segment + field)));
    assert.equal(size, file.length);
    const entry = Number(file.readBigUInt64LE(24)) - address + offset;
    assert.equal(file.readUInt32LE(entry), instruction);
    assert.equal(file.readUInt32LE(entry + 12), 0x73, "ecall");
  }
});
