import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { checkedModule } from "../../../machine/simulated/checked-module.ts";
import { hypervisorSources, writeSources } from "../../../tools/coverage/sources.ts";
import { CoveHost, FREE_MEMORY } from "../support/simulated/cove-host.ts";
import { Eid } from "../support/simulated/sbi.ts";

/** A hypervisor with faults: functions of Base that nobody has each make one bad access. The checked flavour must stop at each. */

const FILE = "hypervisor/sbi/base.ts";
const FAULTY = 0x1000;

/** Statement (where `vcpu.a0` is what the host gives), what the host gives, what is said. */
const faults: [name: string, statement: string, argument: (host: CoveHost) => number, message: RegExp][] = [
  ["a field of a null record", "changetype<Hart>(<usize>0).vendorId", () => 0, /load from 0x[0-9a-f]+ .*: null/],
  ["an address that is no RAM", "load<u64>(<usize>vcpu.a0)", () => 0x4000_0000, /wild: no RAM/],
  [
    "a load from a page of the host",
    "load<u64>(<usize>vcpu.a0)",
    (host) => host.hpaOf(FREE_MEMORY),
    /foreign: the page is Owned/,
  ],
  [
    "a store to a page of the host",
    "store<u64>(<usize>vcpu.a0, 1)",
    (host) => host.hpaOf(FREE_MEMORY),
    /store .*foreign/,
  ],
  ["a page table", "load<u64>(hart.root.host.rootTable)", () => 0, /out of object: no record is there/],
  ["a store to a literal", 'store<u16>(changetype<usize>("constant"), 1)', () => 0, /read-only/],
  ["text", "load<u64>(<usize>vcpu.a0)", () => 0x8020_0000, /: text/],
  ["beyond the hart's record", "load<u64>(changetype<usize>(hart), 4096)", () => 0, /out of object/],
  ["a field of another record", "load<u64>(changetype<usize>(hart) - 8, 64)", () => 0, /out of object/],
  ["a misaligned field", "load<u64>(changetype<usize>(hart) + 4)", () => 0, /not aligned/],
  ["a stack", "load<u64>(hart.stackTop - 8)", () => 0, /out of object/],
  [
    "the same word twice",
    "read64(vcpu.a0) ^ read64(vcpu.a0)",
    (host) => host.hpaOf(FREE_MEMORY),
    /double fetch: 8 bytes/,
  ],
  [
    "a copy, then a part of it",
    "(copyBytes(hart.workPages, vcpu.a0, 64), read8(vcpu.a0 + 63))",
    (host) => host.hpaOf(FREE_MEMORY),
    /double fetch: 1 bytes/,
  ],
];

describe("the checked flavour stops at", () => {
  let host: CoveHost;
  const folder = mkdtempSync(path.join(tmpdir(), "salus-checked-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  before(async () => {
    const sources = hypervisorSources();
    const cases = faults.map(([, statement], index) => `if (fid == ${FAULTY + index}) { ${statement}; return 0; }`);
    const begin = "vcpu: Vcpu, fid: u64): i64 {\n";
    const text = sources.get(FILE)!;
    assert(text.includes(begin));
    const imports = 'import { copyBytes, read8, read64 } from "../riscv/hw";\n';
    sources.set(FILE, imports + text.replace(begin, begin + cases.join("\n")));
    writeSources(folder, sources);
    host = await CoveHost.boot({ module: await checkedModule(folder) });
    host.save("booted");
  });

  for (const [index, [name, , argument, message]] of faults.entries()) {
    test(name, () => {
      host.restore("booted");
      assert.throws(() => host.call(Eid.base, FAULTY + index, argument(host)), { name: "BadAccess", message });
      // With the functions of the hypervisor that led there.
      host.restore("booted");
      assert.throws(() => host.call(Eid.base, FAULTY + index, argument(host)), /in sbi\/base\/baseCall/);
    });
  }

  test("nothing else", () => {
    host.restore("booted");
    const { accessChecker } = host.machine;
    assert(accessChecker);
    const before = accessChecker.accesses;
    host.buildTvm();
    assert(accessChecker.accesses - before > 1000);
  });
});
