import assert from "node:assert/strict";
import { createHash, createPrivateKey, generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import { before, describe, test } from "node:test";
import { CoveHost, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Atst, Eid, errorName } from "../support/simulated/sbi.ts";
import { makeCsr } from "../support/csr.ts";

let host: CoveHost;
let tvm: Tvm;
const DATA = TVM_MEMORY + 0x40_0000;
const NONCE = DATA + 0x1000;
const OUT = DATA + 0x2f80;

before(async () => {
  host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
  tvm = host.buildTvm();
  host.must("addZeroPages", tvm.id, host.donated(8), 0, 8, DATA);
  host.registerNacl();
  host.enter(tvm);
  host.save("in the TVM");
});

describe("ATST", () => {
  test("evidence", async () => {
    host.restore("in the TVM");
    const csr = makeCsr();
    csr.forEach((byte, index) => host.store(DATA + 0x1c0 + index, 1, byte));
    for (let i = 0; i < 8; i++) host.store(NONCE + 8 * i, 8, 0x1122334455667788n);
    const result = host.call(Eid.atst, Atst.evidence, DATA + 0x1c0, csr.length, NONCE, 0, OUT, 4096);
    assert.equal(errorName(result.error), "success");
    const bytes = Uint8Array.from({ length: Number(result.value) }, (_, index) => Number(host.load(OUT + index, 1)));
    (await import("node:fs")).writeFileSync("/tmp/cert.der", bytes);
  });
});
