import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { compileModule, TEST_MEMORY } from "./support/module.ts";
import { Machine } from "./support/machine.ts";

const CONSOLE = "hypervisor/devices/console";
const module = await compileModule({
  files: [CONSOLE, "hypervisor/lib/spinlock"],
  source: `
    import { Hart } from "../../../hypervisor/hart";
    import { Root } from "../../../hypervisor/root";
    import { Console, CONSOLE_RECORD_SIZE } from "../../../hypervisor/devices/console";
    export function attach(hart: usize, root: usize, console: usize): usize {
      changetype<Hart>(hart).root = changetype<Root>(root);
      changetype<Root>(root).console = changetype<Console>(console);
      return CONSOLE_RECORD_SIZE;
    }
    export function sample(): void { putText("free "); putSize(3 << 20); putText(" at "); putHex(0x8020_0000); newline(); }
    import { putText, putSize, putHex, newline } from "../../../hypervisor/devices/console";
    export function text(): void { putText("ab\\ncd"); }`,
});

const [ROOT, HART, HART2, RECORD, BYTES] = [0, 0x1000, 0x2000, 0x3000, 0x4000].map((offset) => TEST_MEMORY + offset);
const UART = 0x1000_0000n;
let machine: Machine;
let calls: Record<string, any>;

beforeEach(() => {
  machine = new Machine(module, 2 * TEST_MEMORY);
  machine.hart = BigInt(HART);
  machine.uartBase = UART;
  calls = machine.exports;
});

/** A machine with other functions of the door, with its records. */
function attachedWith(more: Record<string, unknown>): Record<string, any> {
  machine = new Machine(module, 2 * TEST_MEMORY, more);
  machine.hart = BigInt(HART);
  machine.uartBase = UART;
  calls = machine.exports;
  attach();
  return calls;
}

/** What the machine's firmware usually answers. */
function firmwareOf(of: Machine): (call: bigint[]) => bigint {
  return (call) => of.sbiCall(call);
}

function attach(): void {
  const size = calls.attach(BigInt(HART), BigInt(ROOT), BigInt(RECORD));
  calls.attach(BigInt(HART2), BigInt(ROOT), BigInt(RECORD));
  machine.bytes[RECORD + Number(size)] = 0xa5; // canary
}

test("before there is a root record, there is no UART, no input, and nothing to take back", () => {
  machine.input = [0x61];
  for (const hart of [0n, BigInt(HART)]) {
    machine.hart = hart;
    calls.consoleInit(UART);
    calls.bustConsole();
    assert.equal(calls.getChar(), -1);
    machine.firmware = "";
    machine.put(BYTES, Uint8Array.from([0, 10, 255]));
    calls.putBytes(BigInt(BYTES), 3n);
    assert.equal(machine.firmware, "\0\n\xff");
  }
  assert.equal(machine.uart, "");
});

test("before there is a root record, bytes go to the firmware one by one", () => {
  calls.sample();
  assert.equal(machine.firmware, "free 3 MiB at 0x80200000\n");
  machine.hasDebugConsole = false;
  calls.sample();
  assert.equal(machine.legacy, "free 3 MiB at 0x80200000\n");
});

test("the firmware's DBCN is used in whole lines, the legacy putchar where it is absent", () => {
  attach();
  calls.consoleInit(0n);
  calls.beginLine();
  calls.sample();
  calls.endLine();
  assert.equal(machine.firmware, "free 3 MiB at 0x80200000\n");
  machine.debugConsoleLimit = 5;
  calls.sample();
  assert.equal(machine.firmware, "free 3 MiB at 0x80200000\n".repeat(2));

  machine.hasDebugConsole = false;
  calls.consoleInit(0n);
  calls.sample();
  assert.equal(machine.legacy, "free 3 MiB at 0x80200000\n");
});

test("a DBCN that takes nothing does not lose bytes or hang", () => {
  attach();
  machine.debugConsoleLimit = 0;
  calls.sample();
  assert.equal(machine.legacy, "free 3 MiB at 0x80200000\n");
});

test("the UART gets carriage returns in text and raw bytes in data", () => {
  attach();
  calls.consoleInit(UART);
  calls.sample();
  assert.equal(machine.uart, "free 3 MiB at 0x80200000\r\n");
  machine.uart = "";
  machine.put(BYTES, Uint8Array.from([0, 10, 255, 13, 10]));
  calls.putBytes(BigInt(BYTES), 5n);
  assert.equal(machine.uart, "\0\n\xff\r\n");
});

test("long output passes through the buffer without leaving the record", () => {
  attach();
  calls.consoleInit(UART);
  const data = Uint8Array.from({ length: 1000 }, (_, index) => 0x41 + (index % 26));
  machine.put(BYTES, data);
  calls.putBytes(BigInt(BYTES), 1000n);
  assert.equal(machine.uart, new TextDecoder().decode(data));
  assert.equal(machine.bytes[RECORD + 256], 0xa5);
});

test("beginLine and endLine nest, hold the lock and end the line once", () => {
  attach();
  calls.beginLine();
  calls.beginLine();
  calls.text();
  calls.endLine();
  assert.equal(machine.firmware, "ab\n");
  machine.hart = BigInt(HART2);
  assert.throws(() => calls.text(), /waits for ever/);
  machine.hart = BigInt(HART);
  calls.endLine();
  assert.equal(machine.firmware, "ab\ncd\n");
  machine.hart = BigInt(HART2);
  calls.beginLine();
  calls.newline();
  calls.endLine();
  assert.equal(machine.firmware, "ab\ncd\n\n");
});

test("a panic takes the console from a hart that holds it", () => {
  attach();
  calls.beginLine();
  calls.putChar(0x78);
  machine.hart = BigInt(HART2);
  calls.bustConsole();
  calls.text();
  assert.equal(machine.firmware, "x\nab\ncd");
  machine.hart = BigInt(HART);
  calls.endLine();
  calls.text();
  assert.equal(machine.firmware, "x\nab\ncdab\ncd");
});

test("a panic finds a record that makes no sense, and prints", () => {
  attach();
  calls.beginLine();
  calls.putChar(0x78);
  // Bytes in the buffer: more than it has.
  machine.view.setUint32(RECORD + 28, 0x1000_0000, true);
  machine.hart = BigInt(HART2);
  calls.bustConsole();
  calls.text();
  assert.equal(machine.firmware, "\nab\ncd");
});

test("a panic takes the console from a hart in the midst of a text, which then leaves it alone", () => {
  let panics = false;
  const hooked = attachedWith({
    sbiCall: (...args: bigint[]) => {
      if (panics) {
        panics = false;
        machine.hart = BigInt(HART2);
        hooked.bustConsole();
        hooked.beginLine();
        machine.hart = BigInt(HART);
      }
      return firmware(args);
    },
  });
  const firmware = firmwareOf(machine);
  panics = true;
  hooked.text();
  // The panicking hart still has it: another hart would wait.
  assert.throws(() => hooked.text(), /waits for ever/);
  machine.hart = BigInt(HART2);
  hooked.text();
  hooked.endLine();
  assert.match(machine.firmware, /ab\ncd\n$/);
});

test("a UART that takes nothing is waited for once, and works again when it does", () => {
  const LINE_STATUS = 5n;
  let stuck = 0;
  let polls = 0;
  let sent = "";
  const uart = attachedWith({
    mmioRead8: (at: bigint) => {
      assert.equal(at, UART + LINE_STATUS);
      polls++;
      if (stuck > 0) stuck--;
      return stuck > 0 ? 0 : 0x20;
    },
    mmioWrite8: (at: bigint, value: number) => {
      assert.equal(at, UART);
      sent += String.fromCharCode(value);
    },
  });
  uart.consoleInit(UART);
  stuck = 100;
  uart.text();
  assert.equal(sent, "ab\r\ncd", "a slow one gets everything");
  sent = "";
  stuck = Infinity;
  polls = 0;
  uart.text();
  assert.equal(sent, "");
  assert(polls >= 100_000 && polls <= 2_000_000, `${polls} polls`);
  polls = 0;
  for (let i = 0; i < 50; i++) uart.text();
  assert(polls <= 200, `${polls} polls for what follows`);
  stuck = 0;
  uart.text();
  assert.equal(sent, "ab\r\ncd");
  stuck = 50;
  polls = 0;
  uart.text();
  assert.equal(sent, "ab\r\ncdab\r\ncd", "and it is waited for again");
});

const DBCN = 0x4442434en;
const firmwares: [string, (call: bigint[], usual: (call: bigint[]) => bigint) => bigint, legacy: string][] = [
  ["that cannot be asked for extensions", (call, usual) => (call[0] === 0x10n ? -2n : usual(call)), "ab\ncd"],
  ["whose DBCN fails", (call, usual) => (call[0] === DBCN ? -1n : usual(call)), "ab\ncd"],
  [
    "whose DBCN says that it took more than there was",
    (call, usual) => {
      if (call[0] !== DBCN) return usual(call);
      machine.view.setBigUint64(Number(call[7]), call[2] + 1n, true);
      return 0n;
    },
    "ab\ncd",
  ],
];
for (const [name, answer, legacy] of firmwares) {
  test(`a firmware ${name}: its legacy calls are used, and nothing is read that it did not give`, () => {
    const door = attachedWith({ sbiCall: (...call: bigint[]) => answer(call, firmware) });
    const firmware = firmwareOf(machine);
    door.text();
    assert.equal(machine.legacy, legacy);
    assert.equal(machine.firmware, "");
    machine.input = [0x61];
    assert.equal(door.getChar(), name.includes("extensions") ? 0x61 : -1);
  });
}

test("numbers and sizes", () => {
  attach();
  const shown = (name: string, value: bigint): string => {
    machine.firmware = "";
    calls[name](BigInt.asIntN(64, value));
    return machine.firmware;
  };
  for (const value of [0n, 9n, 10n, 12345678901234567890n, (1n << 64n) - 1n, 10n ** 19n]) {
    assert.equal(shown("putDecimal", value), String(value));
    assert.equal(shown("putHex", value), "0x" + value.toString(16));
  }
  assert.equal(shown("putSize", 0n), "0 B");
  assert.equal(shown("putSize", 100n), "100 B");
  assert.equal(shown("putSize", 640n << 10n), "640 KiB");
  assert.equal(shown("putSize", (12n << 20n) + 1024n), "12289 KiB");
  assert.equal(shown("putSize", 2n << 30n), "2 GiB");
});

test("input comes from the UART, DBCN or the legacy call", () => {
  attach();
  assert.equal(calls.getChar(), -1);
  machine.input = [0x61];
  assert.equal(calls.getChar(), 0x61);
  calls.consoleInit(UART);
  assert.equal(calls.getChar(), -1);
  machine.input = [0xff];
  assert.equal(calls.getChar(), 0xff);
  machine.hasDebugConsole = false;
  calls.consoleInit(0n);
  assert.equal(calls.getChar(), -1);
  machine.input = [0x62];
  assert.equal(calls.getChar(), 0x62);
});

test("spin lock", () => {
  const lock = BigInt(BYTES);
  calls.lockAcquire(lock);
  assert.equal(calls.lockTryAcquire(lock), 0);
  assert.throws(() => calls.lockAcquire(lock), /waits for ever/);
  calls.lockRelease(lock);
  assert.equal(calls.lockTryAcquire(lock), 1);
  calls.bustLock(lock);
  assert.equal(calls.lockTryAcquire(lock), 1);
});
