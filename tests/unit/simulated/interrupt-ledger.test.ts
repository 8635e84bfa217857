import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { DoorFunctions } from "../../../machine/simulated/door.ts";
import { InvariantViolation } from "../../../machine/simulated/errors.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { CoviHost } from "../support/simulated/covi-host.ts";
import { Eid, Hsm, Sbi } from "../support/simulated/sbi.ts";

/**
 * Does the ledger of interrupts bite? Life cycles in which interrupts move, on a machine whose door can lose them: each passes as it is, and is noticed
 * when one function of the door does not do all that it should.
 */

/** What the door does wrong: the functions that it replaces, in terms of the usual ones. */
type Fault = (usual: DoorFunctions) => DoorFunctions;

let covi: CoviHost;
let fault: DoorFunctions = {};
let usualDoor: DoorFunctions;

before(async () => {
  covi = await CoviHost.boot((usual) => {
    usualDoor = usual;
    const names = ["csrRead", "csrWrite", "csrSet", "csrSwap", "mmioWrite32", "or64", "write64"];
    return Object.fromEntries(
      names.map((name) => [name, (...args: never[]): unknown => (fault[name] ?? usual[name])(...args)]),
    );
  });
  covi.finalize();
  covi.bind(0, 1);
  covi.convert(0, 2);
  covi.convert(1, 1);
  covi.enter(0);
  covi.allowAll(0);
  covi.host.save("allowed");
  covi.enter(0);
  assert("switched" in covi.host.perform(operations.ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0)));
  covi.host.runResult();
  covi.bind(1, 2, 1);
  covi.host.save("two vCPUs");
});

function plays(play: () => void): () => void {
  return () => {
    covi.host.restore("allowed");
    play();
  };
}

const unbind = plays(() => {
  covi.must("injectExternalInterrupt", covi.tvm, 0, 5);
  covi.must("unbindImsicBegin", covi.tvm, 0);
  covi.file(0, 1).setPending(200);
  covi.fenceTvm();
  covi.must("unbindImsicEnd", covi.tvm, 0);
  covi.must("injectExternalInterrupt", covi.tvm, 0, 64);
  covi.must("bindImsic", covi.tvm, 0, 1 << 2);
});

const rebind = plays(() => {
  covi.must("injectExternalInterrupt", covi.tvm, 0, 5);
  covi.mustOn(1, "rebindImsicBegin", covi.tvm, 0, 1 << 1);
  covi.must("injectExternalInterrupt", covi.tvm, 0, 70);
  covi.fenceTvm();
  covi.must("rebindImsicClone", covi.tvm, 0);
  covi.must("injectExternalInterrupt", covi.tvm, 0, 6);
  covi.mustOn(1, "rebindImsicEnd", covi.tvm, 0);
});

const EIP0 = 0x80n;
const isPending = (usual: DoorFunctions): boolean => {
  const selected = usual["csrRead"](Csr.vsiselect as never) as bigint;
  return selected >= EIP0 && selected < 0xc0n;
};

/** Writes to vsireg go through `change`, if it is one of the words with pending bits. */
function changePending(name: "csrWrite" | "csrSet", change: (bits: bigint) => bigint): Fault {
  return (usual) => ({
    [name]: (csr: number, value: bigint): unknown =>
      usual[name](csr as never, (csr === Csr.vsireg && isPending(usual) ? change(value) : value) as never),
  });
}

const changePendingReads: Fault = (usual) => ({
  csrRead: (csr: number): unknown => {
    const value = usual["csrRead"](csr as never) as bigint;
    return csr === Csr.vsireg && isPending(usual) ? value & ~(1n << 5n) : value;
  },
});

/** seteipnum stores of guest files. */
function changeMessages(change: (identity: number) => number): Fault {
  return (usual) => ({
    mmioWrite32: (hpa: bigint, identity: number): unknown => {
      const imsic = covi.host.machine.imsic!;
      const toGuest = (Number(hpa) - imsic.base) % imsic.stride !== 0;
      return usual["mmioWrite32"](hpa as never, (toGuest ? change(identity) : identity) as never);
    },
  });
}

describe("noticed:", () => {
  const cases: [string, () => void, Fault, RegExp][] = [
    ["a file's pending bits are not saved, on unbinding", unbind, changePendingReads, /interrupts 5 were lost/],
    ["a file's pending bits are not saved, on rebinding", rebind, changePendingReads, /interrupts 5 were lost/],
    [
      "pending bits are not restored",
      unbind,
      changePending("csrSet", () => 0n),
      /interrupts 5, 64, 200 were lost|interrupts 5, 64 were lost|interrupts 5 were lost/,
    ],
    [
      "a bit too many is restored",
      rebind,
      changePending("csrSet", (bits) => bits | 2n),
      /interrupts 1, .* were not sent/,
    ],
    [
      "what arrived is overwritten",
      rebind,
      (usual) => ({ csrSet: usual["csrWrite"] }),
      /interrupts 6, 70 were lost|lost/,
    ],
    ["an injected interrupt is not sent", rebind, changeMessages(() => 0), /interrupts 5 were lost/],
    [
      "another interrupt is sent",
      rebind,
      changeMessages((identity) => identity + 1),
      /5 were lost, interrupts 6 were not/,
    ],
    [
      "an interrupt of an unbound vCPU is not noted",
      unbind,
      () => ({ or64: () => 0n }),
      /interrupts 64 were lost|lost/,
    ],
  ];
  for (const [name, play, faulty, complaint] of cases) {
    test(name, () => {
      play();
      try {
        fault = faulty(usualDoor);
        assert.throws(play, (error: unknown) => error instanceof InvariantViolation && complaint.test(error.message));
      } finally {
        fault = {};
      }
    });
  }

  test("the guest claims what nobody sent", () => {
    covi.host.restore("allowed");
    const vcpu = covi.host.checker.state
      .vms()
      .find(({ id }) => id === covi.tvm)!
      .vcpus()[0];
    covi.host.machine.memory.write64(vcpu.number("interrupts") + 8, 4n);
    assert.throws(() => covi.host.checker.check(), /vCPU \d+:0: interrupts 66 were not sent/);
  });

  test("a file of the host is changed", () => {
    covi.host.restore("allowed");
    const { machine, hart } = covi.host;
    const own = machine.imsic!.harts[0].guest(1)!;
    assert.throws(() => machine.inNameOf(hart, () => own.setPending(3)), /changed what is pending in file 1/);
    own.setPending(3);
  });

  test("a hart is asked for something and not interrupted", () => {
    covi.host.restore("two vCPUs");
    covi.enter(1, 1);
    fault = { mmioWrite32: () => {} };
    try {
      assert.throws(
        () => covi.host.call(Eid.ipi, 0, 2, 0),
        /lost wake-up: hart 1 \(guest\) has requests \d+, and no interrupt comes/,
      );
    } finally {
      fault = {};
    }
  });

  test("a software interrupt does not arrive", () => {
    covi.host.restore("two vCPUs");
    const send = (): void => assert.equal(covi.host.call(Eid.ipi, 0, 2, 0).error, Sbi.success);
    send();
    covi.host.restore("two vCPUs");
    fault = { or64: () => 0n };
    try {
      assert.throws(send, /vCPU 0:1 was sent a software interrupt and has none/);
    } finally {
      fault = {};
    }
  });

  test("a software interrupt is forgotten when another vCPU is entered", () => {
    covi.host.restore("two vCPUs");
    assert.equal(covi.host.call(Eid.ipi, 0, 1, 0).error, Sbi.success);
    const { hart } = covi.host;
    // What is saved of the host's vCPU, which does not enable it, lacks it.
    fault = {
      csrSwap: (csr: number, value: bigint): unknown => {
        const old = usualDoor["csrSwap"](csr as never, value as never);
        return csr === Csr.hvip ? 0n : old;
      },
    };
    assert.notEqual(hart.csr.raw("hvip") & 4n, 0n);
    try {
      assert.throws(() => covi.enter(0), /vCPU 0:0 lost a software interrupt/);
    } finally {
      fault = {};
    }
  });
});

describe("counted:", () => {
  test("what was sent and claimed", () => {
    covi.host.restore("allowed");
    const { ledger } = covi.host.checker;
    const [sent, claimed, checks] = [ledger.sent, ledger.claimed, ledger.checks];
    covi.must("injectExternalInterrupt", covi.tvm, 0, 9);
    covi.file(0, 1).enabled = 1n << 9n;
    covi.file(0, 1).claim();
    assert.deepEqual([ledger.sent - sent, ledger.claimed - claimed], [1, 1]);
    assert(ledger.checks > checks);
  });
});
