import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { InvariantViolation } from "../../../machine/simulated/errors.ts";
import { PageState } from "../../../machine/simulated/hypervisor-state.ts";
import type { MappedPage, VmState } from "../../../machine/simulated/hypervisor-state.ts";
import { RecordView } from "../../../machine/simulated/record-layout.ts";
import { CoveHost, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";

/** Does the checker bite? Each test damages the hypervisor's state in raw memory in one way, and must hear of it. */

let host: CoveHost;
let tvm: Tvm;
const MAPPED = TVM_MEMORY + 0x10_0000;

before(async () => {
  host = await CoveHost.boot();
  tvm = host.buildTvm({ vcpus: 2 });
  host.must("addZeroPages", tvm.id, host.donated(2), 0, 2, MAPPED);
  host.converted(1, HUGE);
  host.save("sound");
});

/** The damage is noticed, with that complaint. */
function noticed(what: string, complaint: RegExp, damage: () => void): void {
  test(what, () => {
    host.restore("sound");
    host.checker.check();
    damage();
    assert.throws(
      () => host.checker.check(),
      (error: unknown) => {
        assert(error instanceof InvariantViolation, String(error));
        assert.match(error.message, complaint);
        return true;
      },
    );
  });
}

const vm = (id: bigint): VmState => host.checker.state.vms().find((candidate) => candidate.id === id)!;

/** The entry of a VM's tables for `gpa`: its address is found by walking, as hardware does. */
function entryAddress(id: bigint, gpa: number): number {
  const { rootTable, levels } = vm(id);
  const { memory } = host.machine;
  let table = rootTable;
  for (let level = levels - 1; ; level--) {
    const shift = 2 ** (12 + 9 * level);
    const index = Math.floor(gpa / shift) % (level === levels - 1 ? 2048 : 512);
    const at = table + 8 * index;
    const entry = memory.read64(at);
    if (level === 0 || (entry & 0xfn) !== 1n) return at;
    table = Number((entry >> 10n) << 12n);
  }
}

function pageOf(id: bigint, gpa: number): MappedPage {
  let found: MappedPage | undefined;
  vm(id).walk(
    (page) => {
      if (gpa >= page.gpa && gpa < page.gpa + page.size) found = page;
    },
    () => {},
  );
  return found!;
}

function setRecord(hpa: number, state: number, owner: number, payload = 0): void {
  const { root, memory } = host.machine;
  const range = new RecordView(memory, "range", root.number("ranges"));
  const index = (hpa - range.number("base")) / PAGE;
  memory.write64(range.number("records") + 8 * index, BigInt(state) | (BigInt(owner) << 4n) | (BigInt(payload) << 16n));
}

const write = (address: number, value: bigint): void => host.machine.memory.write64(address, value);
const leaf = (hpa: number): bigint => (BigInt(hpa) >> 2n) | 0xdfn;

describe("pages", () => {
  noticed("a converted page that the host maps", /converted page can be reached/, () => {
    const at = entryAddress(0n, host.lastDonated);
    write(at, leaf(host.hpaOf(host.lastDonated)));
  });
  noticed("a TVM's page that the host maps too", /the host maps it 0 times/, () => {
    write(entryAddress(0n, host.take(1)), leaf(pageOf(tvm.id, MAPPED).hpa));
  });
  noticed("a TVM's page twice in the TVM", /has it 2 times/, () => {
    write(entryAddress(tvm.id, MAPPED + 3 * PAGE), leaf(pageOf(tvm.id, MAPPED).hpa));
  });
  noticed("a TVM's page that its tables lost", /has it 0 times/, () => write(entryAddress(tvm.id, MAPPED), 0n));
  noticed("a page of a TVM that does not exist", /owner does not exist/, () => {
    setRecord(pageOf(tvm.id, MAPPED).hpa, PageState.Owned, 77);
  });
  noticed("a page left claimed", /left it claimed/, () => {
    setRecord(pageOf(tvm.id, MAPPED).hpa, PageState.Claimed, vm(tvm.id).slot);
  });
  noticed("a table page that a TVM maps", /tables name it/, () => {
    write(entryAddress(tvm.id, MAPPED + 3 * PAGE), leaf(vm(tvm.id).linkedPages("freeTables")[0]));
  });
  noticed("the hypervisor's own memory in the host's tables", /a VM's tables name it/, () => {
    write(entryAddress(0n, 0x9000_0000), leaf(0x8020_0000));
  });
  noticed("a shared page with too many references", /2 pins hold it|others have it/, () => {
    const gpa = host.take(1);
    // Split the large page that covers it, by converting its neighbour.
    host.must("convertPages", host.take(1), 1);
    setRecord(host.hpaOf(gpa), PageState.Shared, 0, 2);
  });
  noticed("a page that comes to the host with what a TVM left in it", /arrived with what it held/, () => {
    const { hpa } = pageOf(tvm.id, MAPPED);
    const parked = entryAddress(0n, host.lastDonated);
    host.machine.memory.write64(hpa + 8, 1n);
    write(entryAddress(tvm.id, MAPPED), 0n);
    host.checker.state.vms()[0].walk(
      (page) => {
        if (page.hpa === hpa) write(entryAddress(0n, page.gpa), leaf(hpa));
      },
      () => {},
    );
    assert(parked > 0);
    setRecord(hpa, PageState.Owned, 0);
  });
});

describe("tables", () => {
  noticed("a leaf with other permissions", /with flags/, () => {
    const at = entryAddress(tvm.id, MAPPED);
    write(at, host.machine.memory.read64(at) & ~4n);
  });
  noticed("an entry with reserved bits", /entry|flags/, () => {
    const { rootTable } = vm(tvm.id);
    write(rootTable, host.machine.memory.read64(rootTable) | (1n << 60n));
  });
  noticed("one table linked twice", /linked twice|two uses|times/, () => {
    const { rootTable } = vm(tvm.id);
    write(rootTable + 8, host.machine.memory.read64(rootTable));
  });
  noticed("a table that leads out of RAM", /not RAM/, () => write(vm(tvm.id).rootTable + 8, 1n));
  noticed("a free table that is lost", /free tables, not as many as counted/, () => {
    const record = vm(tvm.id).record;
    record.set("freeTables", host.machine.memory.read64(record.number("freeTables")));
  });
  noticed("a wrong number of free tables", /free tables, not as many as counted/, () => {
    vm(tvm.id).record.set("freeTableCount", 1);
  });
});

describe("VMs, vCPUs and locks", () => {
  noticed("a lock that is held", /its lock is held/, () => vm(tvm.id).record.set("lock", 1));
  noticed("a reference that nobody holds", /references/, () => {
    const slots = host.machine.root.number("vmSlots");
    new RecordView(host.machine.memory, "slot", slots + 2 * 32).set("references", 1);
  });
  noticed("a slot that is taken by no VM", /taken by no VM/, () => {
    const slots = host.machine.root.number("vmSlots");
    new RecordView(host.machine.memory, "slot", slots + 3 * 32).set("references", 1);
  });
  noticed("a vCPU in the machine that does not run", /whose state is 2/, () => {
    new RecordView(host.machine.memory, "vcpu", host.hart.record.number("current")).set("state", 2);
  });
  noticed("a vCPU's page with another owner", /tables name it/, () => {
    setRecord(vm(tvm.id).vcpus()[1].address, PageState.VmState, 0);
  });
});
