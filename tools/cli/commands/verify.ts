import { readFileSync } from "node:fs";
import {
  readEvidenceFile,
  readPolicy,
  readRoots,
  Refusal,
  verifyEvidence,
  type Verdict,
} from "../../../verifier/index.ts";
import { UsageError } from "../../failure.ts";
import { coloursFor, FAILED_MARK, OPEN_MARK, PASSED_MARK, type Colours } from "../../terminal.ts";

export interface VerifyFlags {
  nonce: string;
  root?: string[];
  policy: string;
  key?: string;
  json?: boolean;
  allowDevelopmentRoot?: boolean;
  plain?: boolean;
}

const NONCE_BYTES = 64;
const KEY_BYTES = 32;

/**
 * `salus verify`: whether evidence is to be believed.
 *
 * @returns true if all of the file's evidence is
 * @throws UsageError for what the caller gives: roots, nonce, policy, a file that is not there
 */
export function verify(file: string, flags: VerifyFlags): Promise<boolean> {
  const expected = {
    nonce: hexadecimal(flags.nonce, NONCE_BYTES, "a nonce"),
    roots: (flags.root ?? []).flatMap((root) => given(() => readRoots(readText(root)), root)),
    policy: given(() => readPolicy(readText(flags.policy)), flags.policy),
    key: flags.key === undefined ? undefined : hexadecimal(flags.key, KEY_BYTES, "a key"),
    allowDevelopmentRoot: flags.allowDevelopmentRoot ?? false,
  };
  if (expected.roots.length === 0 && !expected.allowDevelopmentRoot)
    throw new UsageError("no root is trusted: --root PEM");
  const content = readBytes(file);
  let verdicts: Verdict[];
  try {
    verdicts = readEvidenceFile(content).map((evidence) => verifyEvidence(evidence, expected));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    verdicts = [{ trusted: false, checks: [{ name: error.check, passed: false, detail: error.message }] }];
  }
  const trusted = verdicts.length > 0 && verdicts.every((verdict) => verdict.trusted);
  if (flags.json) process.stdout.write(`${JSON.stringify({ trusted, evidence: verdicts })}\n`);
  else process.stdout.write(`${describe(verdicts, trusted, coloursFor(process.stdout, flags.plain)).join("\n")}\n`);
  return Promise.resolve(trusted);
}

/** The verdicts in one screen. */
export function describe(verdicts: readonly Verdict[], trusted: boolean, colours: Colours): string[] {
  const { bold, dim, green, red } = colours;
  const lines = verdicts.flatMap(({ checks }) => [
    ...checks.map(({ name, passed, detail }) => {
      const mark = passed === undefined ? OPEN_MARK : passed ? PASSED_MARK : FAILED_MARK;
      const paint = passed === undefined ? dim : passed ? green : red;
      return `  ${paint(`${mark} ${name.padEnd(16)}`)} ${detail}`;
    }),
    "",
  ]);
  return [...lines, bold(trusted ? green("trusted") : red("not trusted"))];
}

function hexadecimal(text: string, bytes: number, what: string): Uint8Array {
  if (text.length !== 2 * bytes || !/^[0-9a-fA-F]+$/.test(text)) {
    throw new UsageError(`${what} is ${bytes} bytes in hexadecimal, not "${text}"`);
  }
  return new Uint8Array(Buffer.from(text, "hex"));
}

/** What the caller gives has to be right: its errors are not the evidence's. */
function given<T>(read: () => T, name: string): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refusal || error instanceof TypeError) throw new UsageError(`${name}: ${error.message}`);
    throw error;
  }
}

function readBytes(file: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(file));
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`);
  }
}

function readText(file: string): string {
  return Buffer.from(readBytes(file)).toString("utf8");
}
