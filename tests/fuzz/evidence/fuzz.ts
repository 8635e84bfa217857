import { X509Certificate } from "node:crypto";
import { randomNumbers } from "../../../machine/simulated/schedule.ts";
import * as dice from "../../../tools/dice/index.ts";
import { readCertificate } from "../../../verifier/certificate.ts";
import { readEvidenceFile, readPolicy, readRoots, Refusal, verifyEvidence } from "../../../verifier/index.ts";
import { readEvidenceCertificate } from "../../../verifier/statement.ts";
import { readToken } from "../../../verifier/token.ts";
import * as f from "../../unit/verifier/fixture.ts";
import { mutate } from "./mutate.ts";

/**
 * The verifier's readers against inputs that somebody bent: each is read or refused, nothing else, and a certificate that is read means the same to OpenSSL.
 * Input number n of a seed is always the same.
 */

export interface EvidenceFuzzOptions {
  seed: number;
  /** Number of the first input, and how many. */
  first: number;
  count: number;
  log?: (line: string) => void;
}

export interface EvidenceFuzzReport {
  inputs: number;
  /** Inputs by reader: how many it read to the end, how many it refused. */
  readers: Record<string, { read: number; refused: number }>;
  failures: { index: number; reader: string; message: string; input: string }[];
  slowestMilliseconds: number;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
const certificate = f.certificateEvidence();
const token = f.tokenEvidence();
const chain = [f.tvmCertificate, ...f.handover.chain, f.maker.certificate];
const lines = dice.consoleLines({ nonce: f.nonce, certificate: certificate.bytes, token: token.bytes, chain: f.chain });
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const policy = {
  codeHash: "any",
  registers: { 0: "any", 1: "any", 2: [hex(f.registers[2])], 3: [hex(f.registers[3])] },
};

interface Reader {
  name: string;
  /** Of how many inputs this one gets: those that take long get fewer. */
  share: number;
  seeds: Uint8Array[];
  /** What it may throw besides a Refusal. */
  also?: new () => Error;
  read(input: Uint8Array): void;
}

const READERS: Reader[] = [
  { name: "certificate", share: 8, seeds: [certificate.bytes, ...chain], read: readOwnCertificate },
  {
    name: "evidence",
    share: 6,
    seeds: [certificate.bytes, certificate.bytes, f.tvmCertificate],
    read: (input) => void readEvidenceCertificate(input, f.tvm.publicKey),
  },
  { name: "token", share: 8, seeds: [token.bytes], read: (input) => void readToken(input, f.tvm.publicKey) },
  {
    name: "file",
    share: 3,
    seeds: [Buffer.from(lines), Buffer.from(chain.map(dice.pem).join("")), f.chain],
    read: (input) => void readEvidenceFile(input),
  },
  {
    name: "roots",
    share: 1,
    seeds: [Buffer.from(dice.pem(f.maker.certificate))],
    read: (input) => void readRoots(text(input)),
  },
  {
    name: "policy",
    share: 1,
    seeds: [Buffer.from(JSON.stringify(policy))],
    also: TypeError,
    read: (input) => void readPolicy(text(input)),
  },
  { name: "chain", share: 1, seeds: [f.chain], read: readChain },
];
const TURNS = READERS.flatMap((reader) => Array.from({ length: reader.share }, () => reader));

/** Reads `count` inputs. */
export function fuzzEvidence({ seed, first, count, log }: EvidenceFuzzOptions): EvidenceFuzzReport {
  const readers = Object.fromEntries(READERS.map(({ name }) => [name, { read: 0, refused: 0 }]));
  const report: EvidenceFuzzReport = { inputs: 0, readers, failures: [], slowestMilliseconds: 0 };
  for (let index = first; index < first + count; index++) {
    const { reader, input } = makeInput(seed, index);
    const begin = performance.now();
    try {
      reader.read(input);
      report.readers[reader.name].read++;
    } catch (error) {
      if (error instanceof Refusal || (reader.also && error instanceof reader.also))
        report.readers[reader.name].refused++;
      else report.failures.push({ index, reader: reader.name, message: String(error), input: hex(input) });
    }
    report.slowestMilliseconds = Math.max(report.slowestMilliseconds, performance.now() - begin);
    report.inputs++;
    if (log && report.inputs % 100_000 === 0) log(`${report.inputs} inputs`);
  }
  return report;
}

/** Input `index` of `seed`, and who gets it. */
export function makeInput(seed: number, index: number): { reader: Reader; input: Uint8Array } {
  const random = randomNumbers((Math.imul(index + 1, 0x9e3779b1) ^ seed) >>> 0);
  const reader = TURNS[random(TURNS.length)];
  return { reader, input: mutate(reader.seeds, random) };
}

function readOwnCertificate(input: Uint8Array): void {
  const read = readCertificate(input, "it");
  const other = new X509Certificate(input);
  const key = other.publicKey.export({ format: "der", type: "spki" }).subarray(-read.publicKey.length);
  if (!key.equals(read.publicKey)) throw new Error("OpenSSL reads another key");
  if (BigInt(`0x${other.serialNumber}`) !== BigInt(`0x${hex(read.serial)}`))
    throw new Error("OpenSSL reads another serial number");
}

/** A chain that was bent must not be believed, unless nothing of it changed. */
function readChain(input: Uint8Array): void {
  const verdict = verifyEvidence({ ...certificate, chain: input }, f.expected);
  if (!verdict.trusted) throw new Refusal("chain", "not believed");
  if (hex(input) !== hex(f.chain) && hex(input) !== hex(Buffer.concat([f.chain, f.maker.certificate]))) {
    throw new Error("believed");
  }
}
