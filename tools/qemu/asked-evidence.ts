import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
  configurationRegister,
  pagesRegister,
  platformImage,
  platformRegister,
  readEvidenceFile,
  readPolicy,
  readRoots,
  Refusal,
  REGION_CONFIDENTIAL,
  replayMeasurementLog,
  verifyEvidence,
  type Verdict,
} from "../../verifier/index.ts";
import { sha512 } from "../dice/layer.ts";

/** Evidence that the test guest is asked for in a run, and what it has to say: the relying party's side of `salus run --dice`. */

/** Where tellus puts the guest, how much of it is measured, and the guest's memory (workloads/lib/tvm-map.ts). */
const GUEST_START = 0x8020_0000n;
const GUEST_END = 0x1_8000_0000n;
const GUEST_PAGES = 160;
/** Boot argument of the guest's first run: without and with vectors. */
const GUEST_ARGUMENTS = [0n, 1n];

export interface AskedEvidence {
  /** 64 bytes in hexadecimal: new for each run. */
  nonce: string;
  /** PEM file of the root. */
  root: string;
  /** The guest's raw binary. */
  guest: string;
  /** JSON file of what is expected. */
  policy: string;
  /** Where the evidence goes. */
  log: string;
}

/** The boot argument by which tellus hands the nonce to its guest. */
export function nonceArgument({ nonce }: AskedEvidence): string {
  return `tellus.nonce=${nonce}`;
}

/** A new nonce, and a policy for this hypervisor (ELF) and this guest (raw binary), written to `folder`. */
export function askForEvidence(hypervisor: string, guest: string, root: string, folder: string): AskedEvidence {
  const file = (name: string): string => path.join(folder, name);
  const asked = {
    nonce: randomBytes(64).toString("hex"),
    root,
    guest,
    policy: file("policy.json"),
    log: file("evidence.log"),
  };
  writeFileSync(asked.policy, JSON.stringify(guestPolicy(readFileSync(hypervisor), readFileSync(guest)), undefined, 2));
  return asked;
}

/** What evidence of the test guest must say. Register 1 depends on the machine's harts. */
export function guestPolicy(hypervisor: Uint8Array, guest: Uint8Array): object {
  const image = platformImage(hypervisor);
  const regions = [{ start: GUEST_START, end: GUEST_END, type: REGION_CONFIDENTIAL }];
  const hex = (bytes: Buffer): string => bytes.toString("hex");
  return {
    codeHash: [hex(sha512(image))],
    registers: {
      0: [hex(platformRegister(image))],
      1: "any",
      2: [hex(pagesRegister([{ gpa: GUEST_START, bytes: guest, pages: GUEST_PAGES }]))],
      3: GUEST_ARGUMENTS.map((argument) =>
        hex(configurationRegister({ entry: GUEST_START, argument, regions, vcpus: [0] })),
      ),
    },
  };
}

/** What a relying party makes of a run. */
export interface RunVerdict {
  /** Of each piece of evidence; none if there was none. */
  verdicts: Verdict[];
  /** Whether registers 2 and 3 come out when the host's log of what it gave to its guest is replayed. */
  logged: boolean;
}

/** Verifies what a run brought to the console, and keeps it in `asked.log`. Several sets of evidence have to hold all. */
export function verifyRun(lines: readonly string[], asked: AskedEvidence): RunVerdict {
  const log = lines.filter((line) => /(EVIDENCE|MEASURED): /.test(line)).join("\n") + "\n";
  writeFileSync(asked.log, log);
  const expected = {
    nonce: Buffer.from(asked.nonce, "hex"),
    roots: readRoots(readFileSync(asked.root, "utf8")),
    policy: readPolicy(readFileSync(asked.policy, "utf8")),
  };
  try {
    const verdicts = readEvidenceFile(Buffer.from(log)).map((evidence) => verifyEvidence(evidence, expected));
    return { verdicts, logged: isLogged(verdicts, log, readFileSync(asked.guest)) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const check = { name: error.check, passed: false, detail: error.message };
    return { verdicts: [{ trusted: false, checks: [check] }], logged: false };
  }
}

/** Whether each piece of evidence is of a guest that the host's log shows. */
export function isLogged(verdicts: readonly Verdict[], log: string, guest: Uint8Array): boolean {
  const guests = replayMeasurementLog(log, new Map([["guest", guest]]));
  return verdicts.every(({ says }) =>
    guests.some(
      ({ pages, configuration }) =>
        says?.registers[2] === pages.toString("hex") && says.registers[3] === configuration.toString("hex"),
    ),
  );
}
