import { splitElements } from "./der.ts";
import { Refusal } from "./refusal.ts";
import type { Evidence } from "./verify.ts";

/**
 * Evidence in files: lines of a console (docs/evidence.md), PEM, or DER certificates one after the other, the evidence first.
 */

export const MAX_FILE_BYTES = 16 * 1024 * 1024;
const MAX_VALUE_BYTES = 64 * 1024;
const LINE = /\bEVIDENCE: (?:(nonce|certificate|token|chain) ([0-9a-f]+)|(end))\s*$/;
const PEM = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g;
/** DER of a certificate begins with a SEQUENCE. */
const SEQUENCE = 0x30;

type Kind = "nonce" | "certificate" | "token" | "chain";

/**
 * All evidence in a file, in its order. What it says of the nonce is left out: only the asker knows that.
 *
 * @throws Refusal (encoding) if there is none, or if it cannot be read
 */
export function readEvidenceFile(bytes: Uint8Array): Evidence[] {
  if (bytes.length > MAX_FILE_BYTES) throw new Refusal("encoding", "the file is too large");
  if (bytes[0] === SEQUENCE) return [fromCertificates(splitElements(bytes))];
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  const pem = [...text.matchAll(PEM)].map(([, base64]) => new Uint8Array(Buffer.from(base64, "base64")));
  if (pem.length > 0) return [fromCertificates(pem)];
  const found = fromConsole(text);
  if (found.length === 0) throw new Refusal("encoding", "there is no evidence in the file");
  return found;
}

function fromCertificates([evidence, ...chain]: Uint8Array[]): Evidence {
  return { kind: "certificate", bytes: evidence, chain: Buffer.concat(chain) };
}

function fromConsole(text: string): Evidence[] {
  const found: Evidence[] = [];
  let set = new Map<Kind, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = LINE.exec(line);
    if (!match) continue;
    if (match[3] !== undefined) {
      found.push(...fromSet(set));
      set = new Map();
      continue;
    }
    const kind = match[1] as Kind;
    const value = (set.get(kind) ?? "") + match[2];
    if (value.length > 2 * MAX_VALUE_BYTES) throw new Refusal("encoding", `a ${kind} is too long`);
    set.set(kind, value);
  }
  if (set.size > 0) throw new Refusal("encoding", "the evidence is cut off: a line EVIDENCE: end is missing");
  return found;
}

function fromSet(set: Map<Kind, string>): Evidence[] {
  const chain = bytesOf(set.get("chain") ?? "");
  return (["certificate", "token"] as const).flatMap((kind) => {
    const value = set.get(kind);
    return value === undefined ? [] : [{ kind, bytes: bytesOf(value), chain }];
  });
}

function bytesOf(hex: string): Uint8Array {
  if (hex.length % 2 !== 0) throw new Refusal("encoding", "an odd number of hexadecimal digits");
  return new Uint8Array(Buffer.from(hex, "hex"));
}
