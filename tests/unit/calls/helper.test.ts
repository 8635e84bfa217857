import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { HelperProgram, MappedPage } from "../../../machine/simulated/helper.ts";
import { mappedPages, Permission } from "../../../machine/simulated/helper.ts";
import { PageState } from "../../../machine/simulated/hypervisor-state.ts";
import { HELPER_STACK_SIZE } from "../../../tools/build/modules.ts";
import { makeCsr } from "../support/csr.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, HOST_CODE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Atst, Covh, Eid, Hsm, errorName } from "../support/simulated/sbi.ts";

/**
 * The user-mode helper as an enemy: what its address space holds, and that whatever it does costs one error answer. Programs of the test stand in for it.
 */

let host: CoveHost;

const DATA = TVM_MEMORY + 0x40_0000;
const OUT = DATA + 0x2000;
const NONCE = DATA + 0x1000;
const csr = makeCsr();

// umode/layout.ts
const REQUEST = 0x10_0000;
const INPUT = 0x10_1000;
const OUTPUT = 0x10_2000;
const SCRATCH = 0x10_3000;
const STACK = 0x11_0000;
const IMAGE = 0x1_0000;
const PAGE = 4096;
const Call = { panic: 0, done: 1, sign: 2 } as const;
const TIMER = (1n << 63n) | 5n;

before(async () => {
  host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }], harts: [0, 7] } });
  const tvm = host.buildTvm();
  host.must("addZeroPages", tvm.id, host.donated(8), 0, 8, DATA);
  host.registerNacl();
  host.enter(tvm);
  csr.forEach((byte, index) => host.store(DATA + index, 1, byte));
  host.save("in the TVM");
});

/** GetEvidence of the TVM, with `program` in place of the helper; its error. */
function evidence(program?: HelperProgram): string {
  host.machine.helper.program = program;
  try {
    return errorName(host.call(Eid.atst, Atst.evidence, DATA, csr.length, NONCE, 0, OUT, 4096).error);
  } finally {
    host.machine.helper.program = undefined;
  }
}

function pagesOf(hartId: number): MappedPage[] {
  const context = host.machine.hart(hartId).record.number("helper");
  return mappedPages(host.machine.memory, host.machine.memory.read64(context + 256));
}

describe("its address space", () => {
  test("for U-mode: image, request, input, output, scratch, stack; nothing is writable and executable", () => {
    const user = pagesOf(0).filter(({ flags }) => (flags & Permission.user) !== 0);
    const permissions = (address: number): number | undefined => user.find((page) => page.address === address)?.flags;
    const { read, write, execute } = Permission;
    const of = (address: number): number => (permissions(address) ?? 0) & (read | write | execute);
    assert.equal(of(IMAGE), read | execute);
    for (const address of [REQUEST, INPUT]) assert.equal(of(address), read);
    for (const address of [OUTPUT, SCRATCH]) assert.equal(of(address), read | write);
    for (let at = 0; at < HELPER_STACK_SIZE; at += PAGE) assert.equal(of(STACK + at), read | write);
    for (const { address, flags } of user) {
      assert((flags & (write | execute)) !== (write | execute), "W^X");
      const inImage = address >= IMAGE && address < REQUEST;
      const inAreas = address >= REQUEST && address <= SCRATCH;
      const inStack = address >= STACK && address < STACK + HELPER_STACK_SIZE;
      assert(inImage || inAreas || inStack, `0x${address.toString(16)}`);
      if (inImage) assert((flags & write) === 0);
    }
  });

  test("for us: the context and one page of text; all of it is memory of our own", () => {
    const pages = pagesOf(0);
    const ours = pages.filter(({ flags }) => (flags & Permission.user) === 0);
    assert.deepEqual(
      ours.map(({ address, hpa }) => [address, hpa]),
      [
        [0x8000, host.machine.hart(0).record.number("helper")],
        [0x8020_0000, 0x8020_0000],
      ],
    );
    for (const { hpa } of pages) assert.equal(host.checker.state.record(hpa)?.state, PageState.Hypervisor);
  });

  test("no hart can write what another one's helper reads", () => {
    const first = new Map(pagesOf(0).map((page) => [page.hpa, page]));
    for (const page of pagesOf(7)) {
      const shared = first.get(page.hpa);
      if (shared) assert.equal((page.flags | shared.flags) & Permission.write, 0, `0x${page.hpa.toString(16)}`);
    }
  });
});

describe("what it may do", () => {
  const signedMessage: HelperProgram = (user) => {
    user.write(OUTPUT, Uint8Array.of(1, 2, 3));
    assert.equal(user.call(Call.sign, OUTPUT, 3, OUTPUT + 8), 0n);
    user.call(Call.done, 0, 72);
  };

  test("begins with zeroed memory and registers, every time", () => {
    host.restore("in the TVM");
    for (let turn = 0; turn < 2; turn++) {
      const error = evidence((user) => {
        for (const [at, length] of [
          [OUTPUT, 2 * PAGE],
          [STACK, HELPER_STACK_SIZE],
        ]) {
          assert(user.read(at, length).every((byte) => byte === 0));
          user.write(at, new Uint8Array(length).fill(0xee));
        }
        const registers = [...user.hart.registers].map((value, index) => (index === 2 ? 0n : value));
        assert.deepEqual(registers, new Array<bigint>(32).fill(0n));
        assert.equal(user.hart.registers[2], BigInt(STACK + HELPER_STACK_SIZE));
        user.hart.registers.fill(0x55n, 1);
        user.call(Call.done, 1, 0);
      });
      assert.equal(error, "invalidParam");
    }
  });

  test("sees of the guest its request alone, and no key", () => {
    host.restore("in the TVM");
    evidence((user) => {
      assert.deepEqual(Buffer.from(user.read(INPUT, csr.length)), Buffer.from(csr));
      assert(user.read(INPUT + csr.length, PAGE - csr.length).every((byte) => byte === 0));
      user.call(Call.done, 1, 0);
    });
  });

  test("no counters, no other environment, and no time beyond its own", () => {
    host.restore("in the TVM");
    const error = evidence((user) => {
      // scounteren, senvcfg, hie
      for (const csr of [0x106, 0x10a, 0x604]) assert.equal(user.hart.csr.read(csr), 0n, csr.toString(16));
      host.machine.clock.advance(10_000_000n);
      user.takeInterrupts();
      assert.fail("it went on");
    });
    assert.equal(error, "failed");
  });

  test("one signature", () => {
    host.restore("in the TVM");
    assert.equal(evidence(signedMessage), "success");
    assert.notEqual(host.load(OUT + 8, 8), 0n);
    const twice: HelperProgram = (user) => {
      user.call(Call.sign, OUTPUT, 3, OUTPUT + 8);
      user.call(Call.sign, OUTPUT, 4, OUTPUT + 8);
      assert.fail("it went on");
    };
    assert.equal(evidence(twice), "failed");
  });

  test("a signature over all of the output, at its very end", () => {
    host.restore("in the TVM");
    const error = evidence((user) => {
      assert.equal(user.call(Call.sign, OUTPUT, PAGE, OUTPUT + PAGE - 64), 0n);
      user.call(Call.done, 0, PAGE);
    });
    assert.equal(error, "success");
    assert.notEqual(host.load(OUT + PAGE - 8, 8), 0n);
  });

  test("an interrupt for another hart's sake does not end it", () => {
    host.restore("in the TVM");
    const external = (1n << 63n) | 9n;
    const error = evidence((user) => {
      user.trap(external);
      signedMessage(user);
    });
    assert.equal(error, "success");
  });
});

describe("costs one error answer and nothing else", () => {
  const exceptions: [string, HelperProgram][] = [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 15, 18, 19].map((cause) => [
    `exception ${cause}`,
    (user) => {
      user.trap(cause, 0x1234n);
      assert.fail("it goes on");
    },
  ]);
  const crashes: [string, HelperProgram][] = [
    ...exceptions,
    ["a loop: its time is up", (user) => user.trap(TIMER)],
    ["running off its end", () => {}],
    ["a panic", (user) => void user.call(Call.panic)],
    ["an unknown hypercall", (user) => void user.call(3)],
    ["a hypercall of 64 bits", (user) => void user.call(2 ** 32 + 1)],
    ["a status that it cannot know", (user) => void user.call(Call.done, 4, 0)],
    ["a status of 64 bits", (user) => void user.call(Call.done, 1n << 32n, 10)],
    ["more output than there is", (user) => void user.call(Call.done, 0, PAGE + 1)],
    ["writing to its request", (user) => user.write(REQUEST, Uint8Array.of(1))],
    ["writing to its text", (user) => user.write(IMAGE, Uint8Array.of(1))],
    ["reading the context", (user) => void user.read(0x8000, 8)],
    ["reading our text", (user) => void user.read(0x8020_0000, 4)],
    ["reading below its stack", (user) => void user.read(STACK - 8, 8)],
    ["reading address 0", (user) => void user.read(0, 8)],
    ["a signature over memory of ours", (user) => void user.call(Call.sign, 0x8040_0000, 64, OUTPUT)],
    ["a signature over its input", (user) => void user.call(Call.sign, INPUT, 64, OUTPUT)],
    [
      "a signature over a message that leaves the output",
      (user) => void user.call(Call.sign, OUTPUT + 8, PAGE, OUTPUT),
    ],
    [
      "a signature over a message that wraps",
      (user) => void user.call(Call.sign, OUTPUT + 8, (1n << 64n) - 8n, OUTPUT),
    ],
    ["a signature to memory of ours", (user) => void user.call(Call.sign, OUTPUT, 8, 0x8040_0000)],
    ["a signature that leaves the output", (user) => void user.call(Call.sign, OUTPUT, 8, OUTPUT + PAGE - 63)],
  ];
  for (const [what, program] of crashes) {
    test(what, () => {
      host.restore("in the TVM");
      const before = host.observe();
      assert.equal(evidence(program), "failed");
      assert.deepEqual(
        host.changesSince(before).filter((line) => !/a0|a1/.test(line)),
        [],
      );
      assert.equal(evidence(), "success", "the next request");
    });
  }
});

test("a host's timer that fires while the helper works for its TVM ends the run afterwards", () => {
  host.restore("in the TVM");
  host.leaveTvm();
  const now = host.readCsr("time");
  host.writeCsr("stimecmp", now + 2_000n);
  host.writeCsr("sie", 1n << 5n);
  const [vm] = host.checker.state.vms().filter(({ isHost }) => !isHost);
  host.enter(vm.id);
  const error = evidence((user) => {
    host.machine.clock.advance(10_000n);
    user.call(Call.done, 1, 0);
  });
  assert.equal(error, "invalidParam");
  host.step();
  assert(host.context.isHost, "the host is on its hart again");
  assert.equal(host.readCsr("scause"), (1n << 63n) | 5n);
});

test("a software interrupt for the host of a TVM that the helper works for comes when it has ended", async () => {
  for (const guestFiles of [3, undefined]) {
    const both = await CoveHost.boot({
      options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }], harts: [0, 1], guestFiles },
    });
    const second = new GuestDriver(both.machine, 1);
    assert.equal(both.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, 0n);
    while (both.machine.canStep(second.hart)) second.step();
    const tvm = both.buildTvm();
    both.must("addZeroPages", tvm.id, both.donated(8), 0, 8, DATA);
    both.registerNacl();
    both.writeCsr("sie", 2);
    both.enter(tvm);
    csr.forEach((byte, index) => both.store(DATA + index, 1, byte));
    both.machine.helper.program = (user) => {
      assert.equal(second.ecall(Eid.ipi, 0, 1, 0).error, 0n);
      // It interrupts the helper, which goes on: its host waits for the end of the request.
      user.takeInterrupts();
      assert.equal(user.hart.state, "helper");
      user.call(Call.done, 1, 0);
    };
    const outcome = both.perform(operations.ecall(Eid.atst, Atst.evidence, DATA, csr.length, NONCE, 0, OUT, 4096));
    both.machine.helper.program = undefined;
    // The call was answered, and the run ended before the TVM's next instruction.
    if ("done" in outcome) assert.equal(errorName((outcome.done as { error: bigint }).error), "invalidParam");
    both.step();
    assert(both.context.isHost, "the host is on its hart again");
    assert.deepEqual(both.runResult(), { error: 0n, value: 0n });
    assert.equal(both.readCsr("scause"), (1n << 63n) | 1n);
    assert.equal(both.readCsr("sip") & 2n, 2n);
    both.writeCsr("sip", 0);
    both.enter(tvm);
    if (!("done" in outcome)) assert("done" in both.resume());
  }
});

test("an interrupt of another hart, through a firmware without IMSIC, lets the helper go on", async () => {
  const plain = await CoveHost.boot({
    options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }], guestFiles: undefined },
  });
  const tvm = plain.buildTvm();
  plain.must("addZeroPages", tvm.id, plain.donated(8), 0, 8, DATA);
  plain.registerNacl();
  plain.enter(tvm);
  csr.forEach((byte, index) => plain.store(DATA + index, 1, byte));
  plain.machine.helper.program = (user) => {
    user.hart.csr.softwarePending = true;
    user.takeInterrupts();
    assert.equal(user.hart.csr.softwarePending, false, "it was taken");
    user.call(Call.done, 1, 0);
  };
  const { error } = plain.call(Eid.atst, Atst.evidence, DATA, csr.length, NONCE, 0, OUT, 4096);
  assert.equal(errorName(error), "invalidParam", "what the helper answered");
});

test("an answer of no bytes is one, and one whose place is gone by then is none", async () => {
  host.restore("in the TVM");
  assert.equal(
    evidence((user) => user.call(Call.done, 0, 0)),
    "success",
  );
  const both = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }], harts: [0, 1] } });
  const second = new GuestDriver(both.machine, 1);
  assert.equal(both.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, 0n);
  while (both.machine.canStep(second.hart)) second.step();
  const tvm = both.buildTvm();
  both.must("addZeroPages", tvm.id, both.donated(8), 0, 8, DATA);
  both.registerNacl();
  both.enter(tvm);
  csr.forEach((byte, index) => both.store(DATA + index, 1, byte));
  both.machine.helper.program = (user) => {
    // The host's other hart takes the page away while the helper works.
    assert.equal(second.ecall(Eid.covh, Covh.blockPages, tvm.id, OUT, PAGE).error, 0n);
    user.write(OUTPUT, Uint8Array.of(1, 2, 3));
    user.call(Call.done, 0, 3);
  };
  const { error } = both.call(Eid.atst, Atst.evidence, DATA, csr.length, NONCE, 0, OUT, 4096);
  both.machine.helper.program = undefined;
  assert.equal(errorName(error), "invalidAddress");
  assert.equal(second.ecall(Eid.covh, Covh.unblockPages, tvm.id, OUT, PAGE).error, 0n);
  assert.equal(both.load(OUT), 0n, "nothing was written");
});
