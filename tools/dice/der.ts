/** Writes DER (X.690), one element a call. */

export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const OBJECT_IDENTIFIER = 0x06;
export const ENUMERATED = 0x0a;
export const UTF8_STRING = 0x0c;
export const PRINTABLE_STRING = 0x13;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const SEQUENCE = 0x30;
export const SET = 0x31;
const CONTEXT = 0x80;
const CONSTRUCTED = 0x20;

type Part = Uint8Array | string;

/** An element with `tag` whose contents are `parts`, one after the other; texts as UTF-8. */
export function element(tag: number, ...parts: Part[]): Buffer {
  const contents = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  return Buffer.concat([Uint8Array.of(tag), lengthBytes(contents.length), contents]);
}

function lengthBytes(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  if (length < 0x100) return Uint8Array.of(0x81, length);
  return Uint8Array.of(0x82, length >> 8, length & 0xff);
}

export const sequence = (...parts: Part[]): Buffer => element(SEQUENCE, ...parts);
export const octets = (bytes: Uint8Array): Buffer => element(OCTET_STRING, bytes);
/** Context-specific tag of a primitive value. */
export const implicit = (number: number, ...parts: Part[]): Buffer => element(CONTEXT | number, ...parts);
/** Context-specific tag around elements. */
export const constructed = (number: number, ...parts: Part[]): Buffer =>
  element(CONTEXT | CONSTRUCTED | number, ...parts);
export const bits = (unused: number, bytes: Uint8Array): Buffer => element(BIT_STRING, Uint8Array.of(unused), bytes);

/** An object identifier from its numbers with dots. */
export function objectIdentifier(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc & 0x7f];
    for (let left = arc >>> 7; left !== 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return element(OBJECT_IDENTIFIER, Uint8Array.from(bytes));
}
