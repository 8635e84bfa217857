import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import { cells64, treeNode, writeDeviceTree } from "../../../machine/simulated/device-tree-blob.ts";
import { machineTree } from "../../../machine/simulated/device-tree-builder.ts";
import { MachineEnded } from "../../../machine/simulated/errors.ts";
import { Imsic } from "../../../machine/simulated/imsic.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { machineOptions } from "../../../machine/simulated/machine-options.ts";
import { seededRandom } from "../support/random.ts";
import { cdiOfVm, certificates, elements, extensions, fwids, keyOfCdi, OID, sha512 } from "../support/evidence.ts";
import { CoveHost } from "../support/simulated/cove-host.ts";
import { Atst, Eid, errorName } from "../support/simulated/sbi.ts";

/** The DICE handover of the previous stage: taken, used and wiped. */

const ADDRESS = 0x8100_0000;
const ATTESTATION = sha512(Buffer.from("attestation")).subarray(0, 32);
const SEALING = sha512(Buffer.from("sealing")).subarray(0, 32);
/** How many bent handovers are tried: each is a boot. */
const BENT = 60;
/** Not certificates: the hypervisor only hands them on. */
const CHAIN = [Buffer.alloc(700, 0x30), Buffer.alloc(5000, 0x31), Buffer.alloc(20, 0x32)];

function head(major: number, value: number): Buffer {
  const type = major << 5;
  if (value < 24) return Buffer.of(type | value);
  return value < 256 ? Buffer.of(type | 24, value) : Buffer.of(type | 25, value >> 8, value & 255);
}
const bytes = (value: Uint8Array): Buffer => Buffer.concat([head(2, value.length), value]);
const list = (values: Uint8Array[]): Buffer => Buffer.concat([head(4, values.length), ...values.map(bytes)]);
const handover = (chain: Uint8Array[] = CHAIN): Buffer =>
  Buffer.concat([head(5, 3), head(0, 1), bytes(ATTESTATION), head(0, 2), bytes(SEALING), head(0, 3), list(chain)]);

/** A machine whose firmware has left `content` at ADDRESS, in that many bytes of reserved memory; 0: its node has no address. */
async function machineWith(content: Uint8Array, size = 0x4000): Promise<Machine> {
  const options = machineOptions({});
  const tree = machineTree(options, new Imsic(1, options.guestFiles!, options.interruptIdentities));
  const reserved = tree.children.find(({ name }) => name === "reserved-memory")!;
  const node = treeNode("dice@81000000", { compatible: "google,open-dice", "no-map": [] });
  if (size !== 0) node.properties["reg"] = cells64(ADDRESS, size);
  reserved.children.push(node);
  const machine = await Machine.create({ deviceTree: writeDeviceTree(tree, 0), panics: true });
  machine.memory.write(ADDRESS, content);
  return machine;
}

/** Whether the bytes are anywhere in RAM. */
function inMemory(machine: Machine, needle: Uint8Array): boolean {
  return machine.memory.save().some((range) => Buffer.from(range.buffer).includes(needle));
}

describe("a handover", () => {
  test("gives keys and certificates; nothing of it stays where it was", async () => {
    const machine = await machineWith(handover());
    machine.boot();
    assert(machine.memory.isZero(ADDRESS, 0x4000), "the handover is wiped");
    const host = CoveHost.on(machine);
    const out = host.take(8);
    const { error, value } = host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, 8 * 4096);
    assert.equal(errorName(error), "success");
    const chain = Buffer.concat([...Array(8).keys()].map((page) => host.peek(out + page * 4096, 4096)));
    const certificate = chain.subarray(0, 4 + chain.readUInt16BE(2));
    assert.deepEqual(chain.subarray(certificate.length, Number(value)), Buffer.concat(CHAIN));
    const issuer = new X509Certificate(certificate);
    assert(issuer.verify(keyOfCdi(ATTESTATION).publicKey), "signed with the key of the CDI");
    const info = extensions(certificate).get(OID.tcbInfo)!.value;
    assert.equal(elements(elements(info)[0].content).length, 1, "no flags: this is no development root");
    const key = keyOfCdi(cdiOfVm(ATTESTATION, fwids(info), false));
    assert.equal(issuer.subject, `serialNumber=${key.id.toString("hex")}`);
  });

  test("a buffer that its certificates do not fit into gets nothing", async () => {
    const machine = await machineWith(handover());
    machine.boot();
    const host = CoveHost.on(machine);
    const out = host.take(8);
    const { error, value } = host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, 8 * 4096);
    assert.equal(errorName(error), "success");
    const length = Number(value);
    for (let page = 0; page < 8; page++) host.fill(out + page * 4096, 1, 0x77);
    for (const room of [length - 1, 4096]) {
      assert.equal(errorName(host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, room).error), "invalidParam");
      assert(host.peek(out, length).every((byte) => byte === 0x77));
    }
    assert.equal(host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, length).value, value);
  });

  test("without a list of certificates: evidence ends with our own", async () => {
    const content = Buffer.concat([head(5, 2), head(0, 1), bytes(ATTESTATION), head(0, 2), bytes(SEALING)]);
    const machine = await machineWith(content);
    machine.boot();
    assert.match(machine.console, /DICE handover taken/);
    assert(machine.memory.isZero(ADDRESS, 0x4000), "the handover is wiped");
    const host = CoveHost.on(machine);
    const out = host.take(1);
    const { error, value } = host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, 4096);
    assert.equal(errorName(error), "success");
    const [certificate, ...others] = certificates(host.peek(out, Number(value)));
    assert.deepEqual(others, []);
    assert(new X509Certificate(certificate).verify(keyOfCdi(ATTESTATION).publicKey));
  });

  for (const [what, size, sentence] of [
    ["no address", 0, /the DICE handover has no memory/],
    ["more memory than any handover", 0x1_0001, /the DICE handover is larger than any/],
  ] as const) {
    test(`with ${what} ends the boot`, async () => {
      const machine = await machineWith(handover(), size);
      assert.throws(() => machine.boot(), MachineEnded);
      assert.match(machine.console, sentence);
      assert.doesNotMatch(machine.console, /PASS: Salus Boot/);
    });
  }

  test("its secrets are in no memory after a reset", async () => {
    const machine = await machineWith(handover([]));
    machine.boot();
    const host = CoveHost.on(machine);
    const out = host.take(1);
    const { error, value } = host.call(Eid.atst, Atst.evidence, 0, 0, 0, 16, out, 4096);
    assert.equal(error, 0n);
    const info = extensions(certificates(host.peek(out, Number(value)))[0]).get(OID.tcbInfo)!.value;
    const hostCdi = cdiOfVm(ATTESTATION, fwids(info), false);
    assert(inMemory(machine, ATTESTATION));
    assert(inMemory(machine, hostCdi));
    assert.throws(() => host.ecall(Eid.srst, 0, 0, 0), MachineEnded);
    assert(!inMemory(machine, ATTESTATION), "attestation CDI");
    assert(!inMemory(machine, SEALING), "sealing CDI");
    assert(!inMemory(machine, hostCdi), "attestation CDI of the host's layer");
  });

  for (const [what, content] of [
    ["zeros", new Uint8Array(100)],
    ["a CDI that is too short", Buffer.concat([head(5, 2), head(0, 1), bytes(ATTESTATION.subarray(1))])],
    ["a map without the second CDI", Buffer.concat([head(5, 1), head(0, 1), bytes(ATTESTATION)])],
    ["a certificate that leaves the memory", handover([]).subarray(0, -1)],
    ["more certificates than there is room", handover([Buffer.alloc(8000, 1), Buffer.alloc(193, 1)])],
    ["an indefinite length", Buffer.concat([Buffer.of(0xbf), handover().subarray(1)])],
  ] as const) {
    test(`${what}: the boot ends with a sentence, and without the secrets`, async () => {
      const size = what.includes("leaves") ? content.length : 0x4000;
      const machine = await machineWith(content, size);
      assert.throws(() => machine.boot(), MachineEnded);
      assert.match(machine.console, /the DICE handover cannot be read/);
      assert(machine.memory.slice(ADDRESS, 100).every((byte) => byte === 0));
    });
  }

  test("bent ones are read or refused, and wiped", async () => {
    const random = seededRandom(26);
    const pick = (limit: number): number => Math.floor(random() * limit);
    const good = handover([Buffer.alloc(30, 0x30), Buffer.alloc(300, 0x31)]);
    /** Where types and lengths stand. */
    const heads = [...good.keys()].filter((at) => at < 8 || (at > 35 && at < 48) || (at > 74 && at < 120));
    let read = 0;
    for (let i = 0; i < BENT; i++) {
      const content = Buffer.concat([good]);
      for (let changes = 1 + pick(2); changes > 0; changes--) {
        const at = pick(4) === 0 ? pick(good.length) : heads[pick(heads.length)];
        content[at] = pick(2) === 0 ? pick(256) : content[at] ^ (1 << pick(8));
      }
      const length = pick(4) === 0 ? 1 + pick(good.length) : good.length;
      const machine = await machineWith(content.subarray(0, length), pick(2) === 0 ? length : 0x4000);
      try {
        machine.boot();
        read++;
      } catch (error) {
        if (!(error instanceof MachineEnded)) throw error;
        assert.match(machine.console, /the DICE handover cannot be read/, content.toString("hex"));
      }
      assert(machine.memory.isZero(ADDRESS, length), content.toString("hex"));
    }
    assert(read > BENT / 10 && read < BENT - BENT / 10, `${read} of ${BENT} were read`);
  });
});
