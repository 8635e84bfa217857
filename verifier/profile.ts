import type { Certificate } from "./certificate.ts";
import type { TcbInfo } from "./dice-schema.ts";
import { keyId } from "./key-derivation.ts";
import { DIGEST_SIZE } from "./measurement.ts";
import * as oid from "./oids.ts";
import { Refusal } from "./refusal.ts";

/** What the certificates that Salus writes have in common (docs/evidence.md). */

const NOT_BEFORE = Date.UTC(2018, 2, 22, 23, 59, 59);
const NOT_AFTER = Date.UTC(9999, 11, 31, 23, 59, 59);

/** Whether the validity is the one that needs no clock. */
export function isForever({ notBefore, notAfter }: Certificate): boolean {
  return notBefore.getTime() === NOT_BEFORE && notAfter.getTime() === NOT_AFTER;
}

/** SEQUENCE { SET { SEQUENCE { serialNumber, PrintableString } } } up to the 40 digits. */
const NAME_HEAD = Buffer.from("30333131302f06035504051328", "hex");

/** DER of the name of a key. */
export function nameOfKey(publicKey: Uint8Array): Buffer {
  return Buffer.concat([NAME_HEAD, Buffer.from(keyId(publicKey).toString("hex"))]);
}

/**
 * The digests of the first `count` registers.
 *
 * @throws Refusal
 */
export function readFwids(info: TcbInfo, count: number, what: string): Uint8Array[] {
  if (info.fwids.length !== count) {
    throw new Refusal("profile", `${what} has ${info.fwids.length} registers in place of ${count}`);
  }
  return Array.from(info.fwids, ({ algorithm, digest }, index) => {
    if (algorithm !== oid.SHA384 || digest.byteLength !== DIGEST_SIZE) {
      throw new Refusal("profile", `${what}: register ${index} is not a SHA-384 digest`);
    }
    return new Uint8Array(digest.buffer);
  });
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
