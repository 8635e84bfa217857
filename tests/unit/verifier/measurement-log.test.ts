import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  configurationRegister,
  pagesRegister,
  Refusal,
  REGION_CONFIDENTIAL,
  REGION_INTERRUPT_FILES,
  replayMeasurementLog,
} from "../../../verifier/index.ts";

/** A host's log of what it gave to its guests, replayed. */

const image = Buffer.alloc(3 * 4096, 7).fill(9, 4096, 8192);
const files = new Map([["guest", image]]);
const log = [
  "salus: something else",
  "MEASURED: vcpu 0x0",
  "MEASURED: region 0x80000000 0x80100000 0x1",
  "MEASURED: region 0x28000000 0x28002000 4",
  "[  1.0] host: MEASURED: pages 0x80000000 0x2 guest 0x1000",
  "MEASURED: pages 0x80002000 0x1 zero\r",
  "MEASURED: interrupt-files 0x28000000 0 24 1 0",
  "MEASURED: file 0 0x28000000",
  "MEASURED: start 0x80000000 0x5",
].join("\n");

test("registers 2 and 3 of each guest", () => {
  const ranges = [
    { gpa: 0x8000_0000n, bytes: image.subarray(4096) },
    { gpa: 0x8000_2000n, bytes: Buffer.alloc(0), pages: 1 },
  ];
  const regions = [
    { start: 0x8000_0000n, end: 0x8010_0000n, type: REGION_CONFIDENTIAL },
    { start: 0x2800_0000n, end: 0x2800_2000n, type: REGION_INTERRUPT_FILES },
  ];
  const geometry = { base: 0x2800_0000n, groupBits: 0, groupShift: 24, hartBits: 1, guestBits: 0 };
  const interruptFiles = { ...geometry, files: [{ vcpu: 0, address: 0x2800_0000n }] };
  const first = {
    pages: pagesRegister(ranges),
    configuration: configurationRegister({
      entry: 0x8000_0000n,
      argument: 5n,
      regions,
      vcpus: [0],
      interruptFiles,
    }),
  };
  const second = {
    pages: pagesRegister([]),
    configuration: configurationRegister({ entry: 1n, argument: 2n, regions: [], vcpus: [3] }),
  };
  const two = `${log}\nMEASURED: vcpu 3\nMEASURED: start 1 2\n`;
  assert.deepEqual(replayMeasurementLog(two, files), [first, second]);
});

test("pages behind the end of a file are zero", () => {
  const line = (offset: string): string => `MEASURED: pages 0x1000 2 guest ${offset}\nMEASURED: start 0 0\n`;
  const zero = pagesRegister([{ gpa: 0x1000n, bytes: Buffer.alloc(8192) }]);
  assert.deepEqual(replayMeasurementLog(line("0x3000"), files)[0].pages, zero);
  assert.deepEqual(replayMeasurementLog(line("0xffffffffffffffff"), files)[0].pages, zero);
  const last = pagesRegister([{ gpa: 0x1000n, bytes: image.subarray(8192), pages: 2 }]);
  assert.deepEqual(replayMeasurementLog(line("0x2000"), files)[0].pages, last);
});

test("what is no log is refused", () => {
  for (const [text, reason] of [
    [log.replace("0x28000000 0x28002000 4", "0x28000000 0x28002000"), /that is none/],
    [log.replace("vcpu 0x0", "vcpu zero"), /that is none/],
    [log.replace("vcpu 0x0", "vcpu 99999999999999999999"), /that is none/],
    [log.replace("vcpu", "hart"), /no "hart"/],
    [log.replace(" guest ", " other "), /"other" that is not given/],
    [log.replace("0x2 guest", "0x400001 guest"), /more than 16 GiB/],
    [log.replace(/MEASURED: start.*/, ""), /cut off/],
    ["MEASURED: file 0 0\nMEASURED: start 0 0", /interrupt-files comes first/],
  ] as const) {
    assert.throws(
      () => replayMeasurementLog(text, files),
      (error) => error instanceof Refusal && error.check === "encoding" && reason.test(error.message),
      text,
    );
  }
});

test("no text makes it fail in another way", () => {
  const word = fc.oneof(fc.constantFrom("guest", "zero", "0x10", "1"), fc.string());
  const kind = fc.constantFrom("vcpu", "region", "pages", "interrupt-files", "file", "start");
  const line = fc.tuple(kind, fc.array(word, { maxLength: 6 })).map(([what, words]) => ["MEASURED:", what, ...words]);
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      try {
        replayMeasurementLog(lines.map((words) => words.join(" ")).join("\n"), files);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
      }
    }),
  );
});
