import assert from "node:assert/strict";
import { generateKeyPairSync, verify, X509Certificate } from "node:crypto";
import { before, describe, test } from "node:test";
import { commonName, der, ED25519, makeCsr, rawPublicKey, type CsrParts } from "../support/csr.ts";
import {
  cdiOfVm,
  certificates,
  DEVELOPMENT_CDI,
  elements,
  extensions,
  fwids,
  idOf,
  keyOfCdi,
  OID,
  DEVELOPMENT_SEALING_CDI,
  sealingCdiOfVm,
  sha384,
  sha512,
  words,
} from "../support/evidence.ts";
import { recordSize, RecordView } from "../../../machine/simulated/record-layout.ts";
import type { SbiResult } from "../../../machine/simulated/guest-script.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, HOST_CODE, PAGE, TVM_MEMORY, TVM_MEMORY_SIZE } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Atst, CovgAttestation, Eid, errorName } from "../support/simulated/sbi.ts";

/** ATST, and the attestation calls of COVG: the helper runs too, as its own wasm module in an address space that the hypervisor made. */

let host: CoveHost;
let tvm: Tvm;

/** Eight pages of the TVM, none of them at the start of anything. */
const DATA = TVM_MEMORY + 0x40_0000;
const INPUT = DATA + 0x1c3;
const NONCE = DATA + PAGE + 0xfe0;
const OUT = DATA + 3 * PAGE + 0xf71;
/** Memory of the TVM that its host has not populated, and the first address behind all of its memory. */
const FRESH = DATA + 0x10_0000;
const END = TVM_MEMORY + TVM_MEMORY_SIZE;
const nonce = Uint8Array.from({ length: 64 }, (_, index) => 255 - 3 * index);
const ZERO = Buffer.alloc(48);

before(async () => {
  host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
  tvm = host.buildTvm();
  host.must("addZeroPages", tvm.id, host.donated(8), 0, 8, DATA);
  host.registerNacl();
  host.enter(tvm);
  put(NONCE, nonce);
  host.save("in the TVM");
});

function start(): void {
  host.restore("in the TVM");
}

function put(gpa: number, bytes: Uint8Array): void {
  bytes.forEach((byte, index) => host.store(gpa + index, 1, byte));
}

function get(gpa: number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => Number(host.load(gpa + index, 1))));
}

/** A call that makes something of at most `room` bytes; returns it. */
function made(eid: number, fid: number, length: number, format: number, room = 4096): Buffer {
  const { error, value } = host.call(eid, fid, INPUT, length, NONCE, format, OUT, room);
  assert.equal(errorName(error), "success");
  return get(OUT, Number(value));
}

function certificateFor(csr: Uint8Array, room?: number): Buffer {
  put(INPUT, csr);
  return made(Eid.atst, Atst.evidence, csr.length, 0, room);
}

const chain = (): Buffer => made(Eid.atst, Atst.evidence, 0, 16);

/** Register by PCR number. */
function register(pcr: number): Buffer {
  assert.deepEqual(host.call(Eid.atst, Atst.read, OUT, 64, pcr), { error: 0n, value: 48n });
  return get(OUT, 48);
}

const PCRS = [0, 1, 2, 3, 17, 18, 19, 20];
const registers = (): Buffer[] => PCRS.map(register);

function refused(error: "invalidParam" | "invalidAddress" | "notSupported" | "failed", ...call: number[]): void {
  const [eid, fid, ...args] = call;
  host.refusesCall(error, () => host.call(eid, fid, ...args), call.map((word) => word.toString(16)).join(" "));
}

describe("measurement registers", () => {
  test("hold pages and configuration of the TVM, computed anew", () => {
    start();
    const page = host.peek(HOST_CODE, PAGE);
    assert.deepEqual(register(2), sha384(ZERO, words(TVM_MEMORY), page));
    let configuration: Buffer = ZERO;
    const layout = [1, TVM_MEMORY, TVM_MEMORY + TVM_MEMORY_SIZE, 1, 1, 0];
    for (const data of [words(TVM_MEMORY), words(0x1234), words(...layout)]) {
      configuration = sha384(configuration, data);
    }
    assert.deepEqual(register(3), configuration);
  });

  test("what is measured is what the TVM gets, whatever its host does to the page meanwhile", async () => {
    let source = -1;
    const racing = await CoveHost.boot({
      door: (usual) => ({
        copyBytes: (to: bigint, from: bigint, length: bigint) => {
          (usual["copyBytes"] as (...of: bigint[]) => void)(to, from, length);
          // Another hart of the host has waited for that.
          if (Number(from) === source) racing.machine.memory.bytes.fill(0xee, source, source + PAGE);
        },
      }),
    });
    source = racing.hpaOf(HOST_CODE);
    const page = Buffer.from(racing.peek(HOST_CODE, PAGE));
    const victim = racing.buildTvm();
    assert.equal(racing.peek(HOST_CODE, 1)[0], 0xee);
    racing.must("addZeroPages", victim.id, racing.donated(1), 0, 1, DATA);
    racing.registerNacl();
    racing.enter(victim);
    assert.equal(racing.load(TVM_MEMORY), page.readBigUInt64LE());
    assert.equal(racing.call(Eid.atst, Atst.read, DATA, 64, 2).error, 0n);
    const measured = Array.from({ length: 6 }, (_, index) => racing.load(DATA + 8 * index));
    assert.deepEqual(words(...measured), sha384(ZERO, words(TVM_MEMORY), page));
  });

  test("0 is the hypervisor's image, 1 says that there is a development root; those of the guest begin with zeros", () => {
    start();
    const { memory, image } = host.machine;
    const address = (symbol: number): number => Number(image.address(symbol));
    const text = memory.slice(address(0), address(1) - address(0));
    const constants = memory.slice(address(2), address(3) - address(2));
    assert.deepEqual(register(0), sha384(ZERO, sha384(text, constants)));
    assert.deepEqual(register(1), sha384(ZERO, words(1, host.machine.root.word("features"))));
    for (const pcr of PCRS.slice(4)) assert.deepEqual(register(pcr), ZERO);
  });

  test("ATST hashes a digest with 16 zero bytes, COVG the digest", () => {
    start();
    const digest = sha384(Buffer.from("helloworld"));
    put(INPUT, digest);
    assert.deepEqual(host.call(Eid.atst, Atst.extend, INPUT, 48, 18), { error: 0n, value: 0n });
    assert.equal(
      register(18).toString("hex"),
      "4d783cdfa8d6bc1293d0f1bfb58f9f0b05a8ef723cb8745d142d60ac3b9d213c51f06aa1e9b92ff09f64e4a2d0c8fe87",
    );
    assert.deepEqual(host.call(Eid.covg, CovgAttestation.extend, INPUT, 48, 7), { error: 0n, value: 0n });
    assert.deepEqual(register(20), sha384(ZERO, digest));
    assert.deepEqual(host.call(Eid.covg, CovgAttestation.read, OUT, 48, 7), { error: 0n, value: 48n });
    assert.deepEqual(get(OUT, 48), register(20));
  });

  for (const [what, error, ...call] of [
    ["a static register", "invalidParam", Eid.atst, Atst.extend, INPUT, 48, 3],
    ["no such PCR", "invalidParam", Eid.atst, Atst.extend, INPUT, 48, 16],
    ["a PCR beyond 32 bits", "invalidParam", Eid.atst, Atst.read, OUT, 48, 2 ** 32],
    ["a digest of another length", "invalidParam", Eid.atst, Atst.extend, INPUT, 64, 17],
    ["a digest nowhere", "invalidAddress", Eid.atst, Atst.extend, END, 48, 17],
    ["a buffer that is too short", "invalidParam", Eid.atst, Atst.read, OUT, 47, 17],
    ["a buffer nowhere", "invalidAddress", Eid.atst, Atst.read, END - 24, 48, 17],
    ["a digest nowhere, by COVG", "invalidAddress", Eid.covg, CovgAttestation.extend, END, 48, 4],
    ["a buffer nowhere, by COVG", "invalidAddress", Eid.covg, CovgAttestation.read, END - 24, 48, 4],
    ["a static register by its index", "invalidParam", Eid.covg, CovgAttestation.extend, INPUT, 48, 0],
    ["no such index", "invalidParam", Eid.covg, CovgAttestation.read, OUT, 48, 8],
    ["an index beyond 32 bits", "invalidParam", Eid.covg, CovgAttestation.read, OUT, 48, 2 ** 32 + 4],
    [
      "certificates to a place beyond all memory",
      "invalidAddress",
      Eid.atst,
      Atst.evidence,
      0,
      0,
      0,
      16,
      2 ** 60,
      PAGE,
    ],
    ["an unknown function of ATST", "notSupported", Eid.atst, 4],
    ["secrets of a TVM that was promoted", "notSupported", Eid.covg, CovgAttestation.secret, OUT, PAGE],
  ] as const) {
    test(`${what}: ${error}`, () => {
      start();
      refused(error, ...call);
    });
  }
});

describe("capabilities", () => {
  test("of ATST", () => {
    start();
    assert.deepEqual(host.call(Eid.atst, Atst.capabilities, OUT, 144), { error: 0n, value: 0n });
    const bytes = get(OUT, 144);
    assert.deepEqual([...bytes.subarray(0, 12)], [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 4]);
    const descriptors = PCRS.flatMap((pcr, index) => [0, index, pcr, index < 4 ? 0 : 1]);
    assert.deepEqual([...bytes.subarray(12)], [...descriptors, ...new Array<number>(100).fill(0)]);
    refused("invalidParam", Eid.atst, Atst.capabilities, OUT, 143);
    refused("invalidAddress", Eid.atst, Atst.capabilities, END - 100, 144);
  });

  test("of COVG", () => {
    start();
    assert.deepEqual(host.call(Eid.covg, CovgAttestation.capabilities, OUT, 336), { error: 0n, value: 0n });
    const bytes = get(OUT, 336);
    assert.equal(bytes.readBigUInt64LE(0), 1n);
    assert.deepEqual([bytes.readUInt32LE(8), bytes.readUInt32LE(12), bytes[16], bytes[17]], [0, 3, 4, 4]);
    PCRS.forEach((pcr, index) => {
      const at = 20 + 12 * index;
      assert.deepEqual(
        [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), bytes[at + 8]],
        [0, index < 4 ? 0 : 1, pcr],
      );
    });
    refused("invalidParam", Eid.covg, CovgAttestation.capabilities, OUT, 335);
  });

  test("the extension is there, for the host too", () => {
    start();
    assert.equal(host.call(Eid.base, 3, Eid.atst).value, 1n);
    host.leaveTvm();
    assert.equal(host.call(Eid.base, 3, Eid.atst).value, 1n);
  });
});

describe("evidence", () => {
  test("certificate: signed by the TVM's key, which the platform's key certifies; with nonce, registers, subject and key", () => {
    start();
    put(INPUT, sha384(Buffer.from("x")));
    host.call(Eid.atst, Atst.extend, INPUT, 48, 17);
    const csr = makeCsr();
    const certificate = certificateFor(csr);
    const issuers = certificates(chain());
    assert.equal(issuers.length, 1);
    const platform = keyOfCdi(DEVELOPMENT_CDI);
    const key = keyOfCdi(cdiOfVm(DEVELOPMENT_CDI, registers()));

    const leaf = new X509Certificate(certificate);
    const issuer = new X509Certificate(issuers[0]);
    assert(issuer.verify(platform.publicKey), "the platform signed the TVM's certificate");
    assert(leaf.verify(key.publicKey), "the TVM's key signed the evidence");
    assert.deepEqual(issuer.publicKey.export({ format: "der", type: "spki" }).subarray(12), key.raw);
    assert.equal(leaf.issuer, `serialNumber=${key.id.toString("hex")}`);
    assert.equal(issuer.subject, leaf.issuer);
    assert.equal(issuer.issuer, `serialNumber=${platform.id.toString("hex")}`);
    assert(leaf.checkIssued(issuer), "names and key identifiers fit");
    assert.equal(leaf.subject, "CN=guest");
    assert.equal(issuer.ca, true);
    assert.equal(leaf.ca, false);
    assert(leaf.serialNumber.endsWith(sha512(nonce, csr).subarray(1, 20).toString("hex").toUpperCase()));

    const found = extensions(certificate);
    const order = [OID.keyUsage, OID.basicConstraints, OID.authorityKey, OID.freshness, OID.tcbInfoAtst];
    assert.deepEqual([...found.keys()], order);
    assert.deepEqual(elements(elements(found.get(OID.freshness)!.value)[0].content)[0].content, Buffer.from(nonce));
    assert.deepEqual(fwids(found.get(OID.tcbInfoAtst)!.value), registers());
    assert.equal(found.get(OID.tcbInfoAtst)!.critical, false);
    const static_ = extensions(issuers[0]).get(OID.tcbInfo)!.value;
    assert.deepEqual(fwids(static_), registers().slice(0, 4));
    assert.equal(elements(elements(static_)[0].content)[1].all.toString("hex"), "87020450", "a development root");
  });

  test("token and certificate for a public key", () => {
    start();
    const raw = Buffer.from(Uint8Array.from({ length: 32 }, (_, index) => index));
    put(INPUT, raw);
    const key = keyOfCdi(cdiOfVm(DEVELOPMENT_CDI, registers()));
    const token = made(Eid.covg, CovgAttestation.evidence, 32, 1);
    const head = Buffer.from("d83dd28443a10127a059", "hex");
    assert.deepEqual(token.subarray(0, 10), head);
    const length = token.readUInt16BE(10);
    const payload = token.subarray(12, 12 + length);
    assert.deepEqual(token.subarray(12 + length, 14 + length), Buffer.from("5840", "hex"));
    assert.equal(token.length, 14 + length + 64);
    const prefix = Buffer.concat([
      Buffer.from([0x84, 0x6a]),
      Buffer.from("Signature1"),
      Buffer.from("43a101274059", "hex"),
    ]);
    const signed = Buffer.concat([prefix, token.subarray(10, 12), payload]);
    assert(verify(null, signed, key.publicKey, token.subarray(14 + length)), "the TVM's key signed it");
    for (const part of [nonce, raw, Buffer.from(key.id.toString("hex")), ...registers()]) {
      assert(payload.includes(part), "a claim is missing");
    }

    put(INPUT, raw);
    const certificate = made(Eid.covg, CovgAttestation.evidence, 32, 2);
    const leaf = new X509Certificate(certificate);
    assert(leaf.verify(key.publicKey));
    assert.equal(leaf.subject, `serialNumber=${idOf(raw).toString("hex")}`);
    assert.deepEqual(made(Eid.covg, CovgAttestation.evidence, 0, 16), chain());
  });

  test("another page, another argument: another key", () => {
    const ids = new Set<string>();
    for (const change of ["none", "page", "argument"]) {
      start();
      host.leaveTvm();
      if (change === "page") host.fill(HOST_CODE, 1, 0x5a);
      const other = host.buildTvm({ finalize: false });
      host.must("tvmFinalize", other.id, TVM_MEMORY, change === "argument" ? 0x1235 : 0x1234);
      host.must("addZeroPages", other.id, host.donated(8), 0, 8, DATA);
      host.enter(other);
      ids.add(new X509Certificate(certificates(chain())[0]).subject);
    }
    assert.equal(ids.size, 3);
  });

  test("both CDIs follow from the platform's and the registers, whatever lay in the hart's memory for work before", () => {
    start();
    const { machine } = host;
    const work = host.hart.record.number("workPages");
    // Those that the cryptography uses, and what lies on either side: a stack, which nobody uses here, and the last page for work.
    machine.memory.bytes.fill(0xa5, work - PAGE, work + 3 * PAGE);
    const around = (): Buffer[] =>
      [work - PAGE, work + 2 * PAGE].map((at) => Buffer.from(machine.memory.slice(at, PAGE)));
    const before = around();
    chain();
    assert.deepEqual(around(), before);
    const slots = machine.root.number("vmSlots");
    const slot = new RecordView(machine.memory, "slot", slots + Number(tvm.id & 0xfffn) * recordSize("slot"));
    const layer = new RecordView(machine.memory, "vm", slot.number("vm")).number("layer");
    const all = registers();
    const expected = [cdiOfVm(DEVELOPMENT_CDI, all), sealingCdiOfVm(DEVELOPMENT_SEALING_CDI, all)];
    assert.deepEqual(Buffer.from(machine.memory.slice(layer, 64)), Buffer.concat(expected));
  });

  test("keys are derived one at a time while an interrupt waits, once", () => {
    start();
    host.leaveTvm();
    const out = host.take(4);
    let entries = 0;
    host.machine.afterEntry.push(() => void entries++);
    const chainOf = (): { entries: number; chain: Uint8Array } => {
      const from = entries;
      const { error, value } = host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, 4096);
      assert.equal(errorName(error), "success");
      return { entries: entries - from, chain: host.peek(out, Number(value)) };
    };
    host.writeCsr("sie", 2n);
    host.writeCsr("sip", 2n);
    const [first, second] = [chainOf(), chainOf()];
    // After the platform's key and after the host's.
    assert.equal(first.entries, second.entries + 2);
    assert.deepEqual(first.chain, second.chain);
    host.machine.afterEntry.pop();
  });

  test("for the host, whose registers 2 and 3 are zeros", () => {
    start();
    host.leaveTvm();
    const out = host.take(4);
    const { error, value } = host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, 4096);
    assert.equal(errorName(error), "success");
    const [certificate] = certificates(host.peek(out, Number(value)));
    assert(new X509Certificate(certificate).verify(keyOfCdi(DEVELOPMENT_CDI).publicKey));
    assert.deepEqual(fwids(extensions(certificate).get(OID.tcbInfo)!.value).slice(2), [ZERO, ZERO]);
  });

  test("the output is as long as it is: one byte less is an error", () => {
    start();
    const csr = makeCsr();
    const { length } = certificateFor(csr);
    start();
    assert.equal(certificateFor(csr, length).length, length);
    start();
    put(INPUT, csr);
    refused("invalidParam", Eid.atst, Atst.evidence, INPUT, csr.length, NONCE, 1, OUT, length - 1);
    assert.deepEqual(get(OUT, 16), Buffer.alloc(16));
  });

  test("a vCPU of a TVM goes on as if nothing had been: registers, timer of its host", () => {
    start();
    const seen = ["vsstatus", "hstatus", "sstatus", "hie", "sie", "scounteren", "senvcfg", "hgatp"] as const;
    const { csr, registers: gprs } = host.hart;
    const before = seen.map((name) => csr.read(csrNumber(name)));
    for (const n of [3, 8, 9, 18, 27, 5, 31]) gprs[n] = BigInt(n) * 0x1111n;
    certificateFor(makeCsr());
    assert.deepEqual(
      seen.map((name) => csr.read(csrNumber(name))),
      before,
    );
    assert.deepEqual([gprs[8], gprs[27]], [8n * 0x1111n, 27n * 0x1111n]);
  });

  for (const [what, error, ...call] of [
    ["an unknown format", "invalidParam", Eid.atst, Atst.evidence, INPUT, 100, NONCE, 2, OUT, 4096],
    ["no request", "invalidParam", Eid.atst, Atst.evidence, INPUT, 0, NONCE, 0, OUT, 4096],
    ["a request of more than a page", "invalidParam", Eid.atst, Atst.evidence, INPUT, 4097, NONCE, 0, OUT, 4096],
    ["a request nowhere", "invalidAddress", Eid.atst, Atst.evidence, END - 8, 100, NONCE, 0, OUT, 4096],
    ["a nonce that ends nowhere", "invalidAddress", Eid.atst, Atst.evidence, INPUT, 100, END - 16, 0, OUT, 4096],
    ["no output", "invalidParam", Eid.atst, Atst.evidence, INPUT, 100, NONCE, 0, OUT, 0],
    ["an output that ends nowhere", "invalidAddress", Eid.atst, Atst.evidence, INPUT, 100, NONCE, 0, END - 0x100, 4096],
    ["a chain to nowhere", "invalidAddress", Eid.atst, Atst.evidence, 0, 0, 0, 16, END - 4000, 4096],
    ["a key of another length", "invalidParam", Eid.covg, CovgAttestation.evidence, INPUT, 33, NONCE, 1, OUT, 4096],
    ["a key nowhere", "invalidAddress", Eid.covg, CovgAttestation.evidence, END - 8, 32, NONCE, 1, OUT, 4096],
    [
      "a format of COVG that is none",
      "invalidParam",
      Eid.covg,
      CovgAttestation.evidence,
      INPUT,
      32,
      NONCE,
      3,
      OUT,
      4096,
    ],
  ] as const) {
    test(`${what}: ${error}`, () => {
      start();
      refused(error, ...call);
    });
  }
});

describe("buffers that the host has not populated", () => {
  const HTVAL = 0x643;
  const [LOAD, STORE] = [21n, 23n];

  /** Makes the call, and populates whatever the host is shown to be missing: what it was shown, and the answer. */
  function populating(eid: number, fid: number, ...args: number[]): { faults: [bigint, number][]; answer: SbiResult } {
    const faults: [bigint, number][] = [];
    let outcome = host.perform(operations.ecall(eid, fid, ...args));
    while ("switched" in outcome) {
      assert.equal(host.runResult().value, 0n);
      const page = Number(host.naclCsr(HTVAL) << 2n);
      faults.push([host.readCsr("scause"), page]);
      host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, page);
      host.enter(tvm);
      outcome = host.resume();
    }
    assert("done" in outcome);
    return { faults, answer: outcome.done as SbiResult };
  }

  for (const [what, faults, value, eid, fid, ...args] of [
    ["a register's", [STORE, STORE], 48, Eid.atst, Atst.read, FRESH + PAGE - 24, 48, 17],
    ["a register's, by its index", [STORE], 48, Eid.covg, CovgAttestation.read, FRESH + 8, 48, 0],
    ["a digest", [LOAD, LOAD], 0, Eid.atst, Atst.extend, FRESH + PAGE - 24, 48, 17],
    ["a digest of COVG", [LOAD], 0, Eid.covg, CovgAttestation.extend, FRESH, 48, 4],
    ["capabilities", [STORE], 0, Eid.atst, Atst.capabilities, FRESH + 100, 144],
    ["capabilities of COVG", [STORE, STORE], 0, Eid.covg, CovgAttestation.capabilities, FRESH + PAGE - 8, 336],
  ] as const) {
    test(`${what}: its host is shown page faults, and the call succeeds`, () => {
      start();
      const done = populating(eid, fid, ...args);
      const pages = faults.map((cause, index): [bigint, number] => [cause, FRESH + index * PAGE]);
      assert.deepEqual(done, { faults: pages, answer: { error: 0n, value: BigInt(value) } });
    });
  }

  test("key, nonce and output of evidence", () => {
    start();
    const [key, challenge, out] = [FRESH, FRESH + 2 * PAGE - 60, FRESH + 4 * PAGE + 8];
    const done = populating(Eid.covg, CovgAttestation.evidence, key, 32, challenge, 1, out, 4096);
    const expected = [out - 8, out - 8 + PAGE].map((page): [bigint, number] => [STORE, page]);
    for (const page of [key, FRESH + PAGE, FRESH + 2 * PAGE]) expected.push([LOAD, page]);
    assert.deepEqual(done.faults, expected);
    assert.equal(done.answer.error, 0n);
    assert(get(out, Number(done.answer.value)).includes(Buffer.alloc(64)), "the nonce is that of the new page");
  });

  test("request and output of a certificate, and the output of a chain", () => {
    start();
    const csr = makeCsr();
    put(INPUT, csr);
    const first = populating(Eid.atst, Atst.evidence, INPUT, csr.length, FRESH, 0, FRESH + PAGE, 2048);
    assert.deepEqual(first.faults, [
      [STORE, FRESH + PAGE],
      [LOAD, FRESH],
    ]);
    assert.equal(first.answer.error, 0n);
    const second = populating(Eid.atst, Atst.evidence, 0, 0, 0, 16, FRESH + 2 * PAGE, 1);
    assert.deepEqual(second.faults, [[STORE, FRESH + 2 * PAGE]]);
    assert.equal(errorName(second.answer.error), "invalidParam");
    // What the host put there is no request.
    const third = populating(Eid.atst, Atst.evidence, FRESH + 3 * PAGE, 100, NONCE, 0, OUT, 4096);
    assert.deepEqual(third.faults, [[LOAD, FRESH + 3 * PAGE]]);
    assert.equal(errorName(third.answer.error), "invalidParam");
  });

  test("a page that is blocked is a fault too, and there again when it is unblocked", () => {
    start();
    host.leaveTvm();
    host.must("blockPages", tvm.id, DATA + 3 * PAGE, PAGE);
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.atst, Atst.read, DATA + 3 * PAGE, 48, 17)));
    assert.equal(host.runResult().value, 0n);
    assert.equal(host.naclCsr(HTVAL) << 2n, BigInt(DATA + 3 * PAGE));
    host.must("unblockPages", tvm.id, DATA + 3 * PAGE, PAGE);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 48n } });
  });
});

describe("requests that are none", () => {
  const two = (a: Uint8Array, b: Uint8Array): Uint8Array => der(0x30, der(0x31, a, b));
  const attribute = (text: string): Uint8Array =>
    der(0x30, der(0x06, Uint8Array.from([0x55, 4, 3])), der(0x0c, Buffer.from(text)));
  const rsa = der(0x30, der(0x06, Buffer.from("2a864886f70d010101", "hex")), der(0x05));
  const smallOrder = Uint8Array.of(1, ...new Uint8Array(31));
  const cases: [string, CsrParts][] = [
    ["version 1", { version: der(0x02, Uint8Array.from([1])) }],
    ["an empty subject", { subject: der(0x30) }],
    ["a subject that is no name", { subject: der(0x30, der(0x30)) }],
    ["an RDN without attributes", { subject: der(0x30, der(0x31)) }],
    ["attributes in the wrong order", { subject: two(attribute("b"), attribute("a")) }],
    ["the same attribute twice", { subject: two(attribute("a"), attribute("a")) }],
    [
      "a value that is a sequence",
      { subject: der(0x30, der(0x31, der(0x30, der(0x06, Uint8Array.from([0x55])), der(0x30)))) },
    ],
    [
      "an OID that does not end",
      { subject: der(0x30, der(0x31, der(0x30, der(0x06, Uint8Array.from([0x85])), der(0x0c)))) },
    ],
    ["another algorithm", { algorithm: rsa }],
    ["a short key", { publicKey: new Uint8Array(31) }],
    ["attributes that are no elements", { attributes: der(0xa0, Uint8Array.from([0x30, 5])) }],
    ["another signature algorithm", { signatureAlgorithm: rsa }],
    ["parameters of Ed25519", { signatureAlgorithm: der(0x30, elements(ED25519)[0].content, der(0x05)) }],
    ["a short signature", { signature: new Uint8Array(63) }],
    ["a signature of nothing", { signature: new Uint8Array(64) }],
    ["another one's key", { publicKey: rawPublicKey(generateKeyPairSync("ed25519").publicKey) }],
    [
      "a key for which anybody can sign",
      { publicKey: smallOrder, signature: Buffer.concat([smallOrder, new Uint8Array(32)]) },
    ],
    ["a subject that does not fit into a certificate", { subject: commonName("x".repeat(3600)) }],
  ];
  const all: [string, Uint8Array][] = [
    ...cases.map(([what, parts]): [string, Uint8Array] => [what, makeCsr(parts)]),
    ["nothing but zeros", new Uint8Array(200)],
    ["a subject that was changed after it was signed", changedSubject()],
    ["one byte too many", Buffer.concat([makeCsr(), Uint8Array.from([0])])],
    ["one byte too few", makeCsr().subarray(0, -1)],
    ["a length in more bytes than it needs", withLongLength(makeCsr())],
  ];
  for (const [what, csr] of all) {
    test(`${what}: invalidParam`, () => {
      start();
      put(INPUT, csr);
      refused("invalidParam", Eid.atst, Atst.evidence, INPUT, csr.length, NONCE, 0, OUT, 4096);
    });
  }

  test("two attributes in the right order are a name", () => {
    start();
    assert(certificateFor(makeCsr({ subject: two(attribute("a"), attribute("b")) })).length > 0);
  });
});

function changedSubject(): Uint8Array {
  const csr = Buffer.from(makeCsr());
  csr[csr.indexOf("guest")] ^= 1;
  return csr;
}

/** The outer length, which has two bytes, in three. */
function withLongLength(csr: Uint8Array): Uint8Array {
  assert.equal(csr[1], 0x81);
  return Buffer.concat([Uint8Array.from([0x30, 0x82, 0, csr[2]]), csr.subarray(3)]);
}

function csrNumber(
  name: "vsstatus" | "hstatus" | "sstatus" | "hie" | "sie" | "scounteren" | "senvcfg" | "hgatp",
): number {
  return {
    vsstatus: 0x200,
    hstatus: 0x600,
    sstatus: 0x100,
    hie: 0x604,
    sie: 0x104,
    scounteren: 0x106,
    senvcfg: 0x10a,
    hgatp: 0x680,
  }[name];
}
