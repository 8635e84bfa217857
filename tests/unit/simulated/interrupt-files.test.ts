import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { InvariantViolation } from "../../../machine/simulated/errors.ts";
import { RecordView } from "../../../machine/simulated/record-layout.ts";
import { CoviHost } from "../support/simulated/covi-host.ts";
import { PAGE } from "../support/simulated/cove-host.ts";

/** Does the checker of interrupt files bite? Each test damages raw memory or a register in one way, and must hear of it. */

let covi: CoviHost;

before(async () => {
  covi = await CoviHost.boot();
  covi.finalize();
  covi.bind(0, 1);
  covi.convert(0, 2);
  covi.host.save("bound");
  covi.enter(0);
  covi.host.save("running");
});

const vcpuRecord = (): RecordView =>
  covi.host.checker.state
    .vms()
    .find(({ id }) => id === covi.tvm)!
    .vcpus()[0];

/** Address of the record of file `file` (as the host numbers it) of hart 0. */
const fileRecord = (file: number): number => covi.host.hart.record.number("fileRecords") + 8 * (file + 1);

function noticed(what: string, complaint: RegExp, damage: () => void, state = "bound"): void {
  test(what, () => {
    covi.host.restore(state);
    covi.host.checker.check();
    damage();
    assert.throws(
      () => covi.host.checker.check(),
      (error: unknown) => error instanceof InvariantViolation && complaint.test(error.message),
    );
  });
}

describe("noticed:", () => {
  const { memory } = { memory: () => covi.host.machine.memory };

  noticed("a file that a TVM has is the host's by its record", /nor an interrupt file/, () =>
    memory().write64(fileRecord(1), 2n),
  );
  noticed("a file is bound, and its record says converted", /nor an interrupt file/, () =>
    memory().write64(fileRecord(1), 4n),
  );
  noticed("a file has an owner that no vCPU of which is bound to it", /no vCPU of its owner/, () =>
    memory().write64(fileRecord(2), memory().read64(fileRecord(1))),
  );
  noticed("a file stays claimed", /left it claimed/, () => memory().write64(fileRecord(2), 5n));
  noticed("a file is in a state that there is not", /no such state of a file/, () =>
    memory().write64(fileRecord(2), 6n),
  );
  noticed("a vCPU is bound to another file than its table says", /its address is mapped/, () => {
    const vcpu = vcpuRecord();
    vcpu.set("binding", vcpu.word("binding") + 0x100n);
  });
  noticed("a vCPU is unbound, and its file still mapped", /its address is mapped/, () =>
    vcpuRecord().set("binding", 0),
  );
  noticed("two vCPUs are bound to a file", /two vCPUs|its address is/, () => {
    const [first, second] = covi.host.checker.state
      .vms()
      .find(({ id }) => id === covi.tvm)!
      .vcpus();
    second.set("imsicGpa", first.word("imsicGpa"));
    second.set("binding", first.word("binding"));
  });
  noticed("a stamp is from the future", /from the future/, () =>
    memory().write64(fileRecord(2), 4n | (99_999n << 16n)),
  );
  noticed("the host's hart uses a file of a TVM", /uses interrupt file 2/, () =>
    covi.host.hart.csr.setRaw("hstatus", (covi.host.hart.csr.raw("hstatus") & ~(0x3fn << 12n)) | (2n << 12n)),
  );
  noticed(
    "a TVM's hart uses the host's file",
    /uses interrupt file 1/,
    () => covi.host.hart.csr.setRaw("hstatus", (covi.host.hart.csr.raw("hstatus") & ~(0x3fn << 12n)) | (1n << 12n)),
    "running",
  );
  noticed(
    "a vCPU runs whose file is another hart's",
    /interrupt file is not here|its address is/,
    () => {
      const vcpu = vcpuRecord();
      vcpu.set("binding", vcpu.word("binding") + 0x1_0000n);
    },
    "running",
  );
  noticed("the host keeps a translation of a file that a TVM has", /stale translation|another's interrupt file/, () => {
    const { hart } = covi.host;
    const leaf = { size: BigInt(PAGE), flags: 0xdfn, space: (hart.csr.raw("hgatp") & ((1n << 44n) - 1n)) << 12n };
    const page = BigInt(covi.filePage(0, 1));
    const vmid = Number((hart.csr.raw("hgatp") >> 44n) & 0x3fffn);
    hart.tlb.addGStage(vmid, { ...leaf, from: page, to: page + BigInt(PAGE) });
  });

  test("a file comes back with what it held", () => {
    covi.host.restore("bound");
    covi.must("unbindImsicBegin", covi.tvm, 0);
    covi.fenceTvm();
    const file = covi.file(0, 1);
    // A machine whose files cannot be cleared.
    file.writeRegister = (): boolean => true;
    file.setPending(5);
    try {
      assert.throws(() => covi.call(0, "unbindImsicEnd", covi.tvm, 0), /it comes back with what it held/);
    } finally {
      delete (file as Partial<typeof file>).writeRegister;
    }
  });
});
