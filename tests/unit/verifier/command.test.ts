import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import * as dice from "../../../tools/dice/index.ts";
import { main } from "../../../tools/cli/program.ts";
import { describe as describeVerdicts } from "../../../tools/cli/commands/verify.ts";
import { coloursFor } from "../../../tools/terminal.ts";
import { configurationRegister, pagesRegister, readPolicy, type Verdict } from "../../../verifier/index.ts";
import * as f from "./fixture.ts";

/** `salus verify` and `salus measure` as they are called. */

const folder = mkdtempSync(path.join(tmpdir(), "salus-verify-"));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: Uint8Array | string): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const token = f.tokenEvidence();
const set = { nonce: f.nonce, certificate: f.certificateEvidence().bytes, token: token.bytes, chain: f.chain };
const evidence = file("run.log", `guest says\n${dice.consoleLines(set)}`);
const root = file("root.pem", dice.pem(f.maker.certificate));
const registers = Object.fromEntries(f.registers.slice(0, 4).map((digest, index) => [index, [hex(digest)]]));
const policy = file("policy.json", JSON.stringify({ codeHash: [hex(f.codeHash)], registers }));
const good = ["verify", evidence, "--nonce", hex(f.nonce), "--root", root, "--policy", policy];

/** Runs the command; what it writes to stdout is caught. */
async function run(...args: string[]): Promise<{ status: number; out: string }> {
  let out = "";
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = (text: string) => ((out += text), true);
  try {
    return { status: await main(args, undefined, { out: () => {}, err: () => {} }), out };
  } finally {
    process.stdout.write = write;
  }
}

test("evidence that holds: status 0, every check in one screen", async () => {
  const { status, out } = await run(...good, "--plain");
  assert.equal(status, 0, out);
  assert.match(out, /\ntrusted\n$/);
  assert(out.split("\n").length <= 24, "more than one screen");
  assert.match(out, /✔ nonce /);
  const json = await run(...good, "--json", "--key", hex(f.guest.publicKey));
  const verdict = JSON.parse(json.out) as { trusted: boolean; evidence: Verdict[] };
  assert.equal(verdict.trusted, true);
  assert.equal(verdict.evidence.length, 2);
});

test("evidence that does not: status 1, with the reason", async () => {
  const other = hex(Buffer.alloc(64));
  const { status, out } = await run(...good.with(3, other), "--plain");
  assert.equal(status, 1);
  assert.match(out, /✖ nonce .*replay/);
  assert.match(out, /\nnot trusted\n$/);
  const empty = await run(...good.with(1, file("empty.log", "nothing here\n")), "--plain");
  assert.equal(empty.status, 1);
  assert.match(empty.out, /no evidence in the file/);
  const cut = file("cut.log", dice.consoleLines(set).replace("EVIDENCE: end\n", ""));
  assert.match((await run(...good.with(1, cut), "--plain")).out, /cut off/);
  const both = file(
    "both.log",
    dice.consoleLines({ ...set, token: Buffer.from(token.bytes).fill(0, token.bytes.length - 1) }),
  );
  assert.equal((await run(...good.with(1, both))).status, 1, "one set of two holds");
});

test("questions that are none are not answered", async () => {
  const development = dice.pem(dice.authorityCertificate(f.development, f.development));
  for (const args of [
    good.with(3, "00"),
    good.with(3, "zz".repeat(64)),
    good.with(1, path.join(folder, "missing")),
    good.with(5, file("none.pem", "no root")),
    good.with(5, file("development.pem", development)),
    good.with(7, file("bad.json", "{")),
    good.with(7, file("open.json", JSON.stringify({ codeHash: "any", registers: {} }))),
    good.toSpliced(4, 2),
    [...good, "--key", "00"],
  ]) {
    await assert.rejects(run(...args), { name: "UsageError" }, args.join(" "));
  }
});

test("a host's log predicts registers as the files and places do", async () => {
  const kernel = file("kernel.bin", Buffer.alloc(5000, 3));
  const log = file(
    "host.log",
    [
      "MEASURED: vcpu 0",
      "MEASURED: region 0x80000000 0x80100000 1",
      "MEASURED: pages 0x80000000 2 kernel 0",
      "MEASURED: start 0x80000000 0",
    ].join("\n"),
  );
  const place = ["measure", "--kernel", `${kernel}@0x80000000`, "--region", "0x80000000-0x80100000", "--json"];
  const fromLog = ["measure", "--log", log, "--with", `kernel=${kernel}`, "--json"];
  assert.deepEqual(JSON.parse((await run(...fromLog)).out), JSON.parse((await run(...place)).out));
  for (const args of [
    ["measure"],
    [...fromLog, "--kernel", kernel],
    fromLog.toSpliced(3, 2),
    fromLog.with(4, "kernel"),
    fromLog.with(2, file("none.log", "nothing")),
  ]) {
    await assert.rejects(run(...args), { name: "UsageError" }, args.join(" "));
  }
});

test("a policy leaves nothing open by leaving it out", () => {
  const full = { codeHash: "any", registers: { 0: "any", 1: "any", 2: "any", 3: "any" } };
  assert(readPolicy(JSON.stringify(full)).registers.every((one) => one === undefined));
  for (const [bad, reason] of [
    ["[]", /no object/],
    [JSON.stringify({ ...full, codeHash: undefined }), /codeHash shall be/],
    [JSON.stringify({ ...full, more: 1 }), /no "more"/],
    [JSON.stringify({ ...full, registers: { ...full.registers, 8: "any" } }), /no "8"/],
    [JSON.stringify({ ...full, registers: { ...full.registers, 2: [] } }), /list of values/],
    [JSON.stringify({ ...full, registers: { ...full.registers, 2: ["00"] } }), /48 bytes/],
    [JSON.stringify({ ...full, codeHash: "none" }), /list of values/],
  ] as const) {
    assert.throws(() => readPolicy(bad), reason);
  }
});

test("checks that were not reached are shown as such", () => {
  const verdict = f.verdictOf({ ...token, chain: Buffer.alloc(0) });
  const lines = describeVerdicts([verdict], false, coloursFor(process.stdout, true));
  assert(lines.some((line) => line.includes("nonce") && line.includes("not looked at")));
});

test("salus measure writes a policy", async () => {
  const kernel = Buffer.alloc(5000, 7);
  const tree = Buffer.alloc(100, 8);
  const place = file("kernel", kernel);
  const args = ["--kernel", `${place}@0x80200000+3`, "--dtb", `${file("dtb", tree)}@0x90000000`];
  const more = ["--region", "0x80200000-0xa0000000", "--vcpus", "2", "--json"];
  const { status, out } = await run("measure", ...args, ...more);
  assert.equal(status, 0);
  const made = readPolicy(out);
  const pages = [
    { gpa: 0x8020_0000n, bytes: kernel, pages: 3 },
    { gpa: 0x9000_0000n, bytes: tree },
  ];
  assert.deepEqual(made.registers[2], [hex(pagesRegister(pages))]);
  const configuration = {
    entry: 0x8020_0000n,
    argument: 0x9000_0000n,
    regions: [{ start: 0x8020_0000n, end: 0xa000_0000n, type: 1 }],
    vcpus: [0, 1],
  };
  assert.deepEqual(made.registers[3], [hex(configurationRegister(configuration))]);
  assert.equal(made.registers[0], undefined);
  for (const bad of [
    ["--kernel", `${place}@0x80200001`],
    ["--kernel", place, "--dtb", place],
    ["--kernel", place, "--region", "5"],
    ["--kernel", place, "--argument", "x"],
    ["--kernel", place, "--imsic", "1:2"],
    ["--kernel", path.join(folder, "missing")],
    ["--kernel", place, "--hypervisor", place],
  ]) {
    await assert.rejects(run("measure", ...bad), { name: "UsageError" }, bad.join(" "));
  }
});
