import { Refusal } from "./refusal.ts";

/**
 * Whether bytes are DER (X.690, 8 and 10), and nothing but one element: libraries read BER, in which one certificate has many encodings. What is accepted
 * here is what certificates are made of; nothing is recursive, and nothing is longer or deeper than certificates are.
 */

export const MAX_CERTIFICATE_BYTES = 4096;
const MAX_DEPTH = 16;

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const NULL = 0x05;
const OBJECT_IDENTIFIER = 0x06;
const ENUMERATED = 0x0a;
const UTF8_STRING = 0x0c;
const PRINTABLE_STRING = 0x13;
const TELETEX_STRING = 0x14;
const IA5_STRING = 0x16;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const BMP_STRING = 0x1e;
const SEQUENCE = 0x30;
const SET = 0x31;
const CLASS = 0xc0;
const CONTEXT_SPECIFIC = 0x80;
const CONSTRUCTED = 0x20;
/** Tag numbers from here on take more bytes. */
const LONG_TAG = 0x1f;

/** Where an element is. */
export interface Element {
  tag: number;
  start: number;
  contents: number;
  end: number;
}

/**
 * Checks that `bytes` are one DER element without anything behind it.
 *
 * @throws Refusal (encoding)
 */
export function checkDer(bytes: Uint8Array): void {
  if (bytes.length > MAX_CERTIFICATE_BYTES) refuse(`${bytes.length} bytes are more than any certificate has`);
  const first = elementAt(bytes, 0, bytes.length);
  if (first.end !== bytes.length) refuse(`${bytes.length - first.end} bytes follow the end of the DER`);
  const open = [first];
  const depths = [0];
  for (let element = open.pop(); element !== undefined; element = open.pop()) {
    const depth = depths.pop()!;
    if ((element.tag & CONSTRUCTED) === 0) {
      checkPrimitive(bytes, element);
      continue;
    }
    if ((element.tag & CLASS) !== CONTEXT_SPECIFIC && element.tag !== SEQUENCE && element.tag !== SET) {
      refuse(`tag 0x${element.tag.toString(16)} cannot be constructed`);
    }
    if (depth === MAX_DEPTH) refuse(`DER of more than ${MAX_DEPTH} levels`);
    let before: Element | undefined;
    for (let at = element.contents; at < element.end;) {
      const child = elementAt(bytes, at, element.end);
      if (element.tag === SET && before && compare(bytes, before, child) >= 0) refuse("a SET out of order");
      open.push(child);
      depths.push(depth + 1);
      before = child;
      at = child.end;
    }
  }
}

/**
 * The element that begins at `at` and has to end by `limit`.
 *
 * @throws Refusal (encoding)
 */
export function elementAt(bytes: Uint8Array, at: number, limit: number): Element {
  if (limit - at < 2) refuse("DER that ends too soon");
  const tag = bytes[at];
  if ((tag & LONG_TAG) === LONG_TAG) refuse("a tag of several bytes");
  const first = bytes[at + 1];
  if (first < 0x80) return within(tag, at, at + 2, first, limit);
  const count = first & 0x7f;
  // 65,535 bytes are more than anything here has.
  if (count === 0 || count > 2 || limit - at < 2 + count) refuse("a length that is not DER");
  const length = count === 1 ? bytes[at + 2] : (bytes[at + 2] << 8) | bytes[at + 3];
  if (length < (count === 1 ? 0x80 : 0x100)) refuse("a length in more bytes than it needs");
  return within(tag, at, at + 2 + count, length, limit);
}

function within(tag: number, start: number, contents: number, length: number, limit: number): Element {
  if (length > limit - contents) refuse("a DER element that is longer than what it is in");
  return { tag, start, contents, end: contents + length };
}

/** The elements in a constructed one that `checkDer` has seen. */
export function children(bytes: Uint8Array, parent: Element): Element[] {
  const found: Element[] = [];
  for (let at = parent.contents; at < parent.end; at = found.at(-1)!.end) found.push(elementAt(bytes, at, parent.end));
  return found;
}

const STRINGS = new Set([UTF8_STRING, PRINTABLE_STRING, TELETEX_STRING, IA5_STRING, BMP_STRING]);

/**
 * Checks that DER is a Name with at least one attribute, all of them texts: to the library, an attribute is anything.
 *
 * @throws Refusal (encoding)
 */
export function checkName(name: Uint8Array): void {
  const relative = children(name, elementAt(name, 0, name.length));
  if (relative.length === 0) refuse("an empty name");
  for (const attributes of relative) {
    for (const attribute of children(name, attributes)) {
      const parts = children(name, attribute);
      if (parts.length !== 2 || !STRINGS.has(parts[1].tag)) refuse("a name with an attribute that is no text");
    }
  }
}

/** The certificates that follow each other in `bytes`, each as its bytes; what they are is not looked at. */
export function splitElements(bytes: Uint8Array): Uint8Array[] {
  const elements: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const { end } = elementAt(bytes, at, bytes.length);
    elements.push(bytes.subarray(at, end));
    at = end;
  }
  return elements;
}

function checkPrimitive(bytes: Uint8Array, { tag, contents, end }: Element): void {
  const length = end - contents;
  const first = bytes[contents];
  const text = (): string => Buffer.from(bytes.buffer, bytes.byteOffset + contents, length).toString("latin1");
  switch (tag) {
    case BOOLEAN:
      if (length !== 1 || (first !== 0 && first !== 0xff)) refuse("a BOOLEAN that is not DER");
      return;
    case INTEGER:
    case ENUMERATED:
      if (length === 0) refuse("an INTEGER without contents");
      if (length > 1 && (first === 0 || first === 0xff) && (bytes[contents + 1] & 0x80) === (first & 0x80)) {
        refuse("an INTEGER in more bytes than it needs");
      }
      return;
    case BIT_STRING:
      if (length === 0 || first > 7 || (length === 1 && first !== 0)) refuse("a BIT STRING that is not DER");
      if ((bytes[end - 1] & ((1 << first) - 1)) !== 0 && first !== 0) refuse("a BIT STRING with bits behind its end");
      return;
    case NULL:
      if (length !== 0) refuse("a NULL with contents");
      return;
    case OBJECT_IDENTIFIER:
      checkIdentifier(bytes, contents, end);
      return;
    case UTC_TIME:
      if (!/^[0-9]{12}Z$/.test(text())) refuse("a UTCTime that is not DER");
      return;
    case GENERALIZED_TIME:
      if (!/^[0-9]{14}Z$/.test(text())) refuse("a GeneralizedTime that RFC 5280 does not allow");
      return;
    case UTF8_STRING:
      checkUtf8(bytes.subarray(contents, end));
      return;
    case PRINTABLE_STRING:
      if (!/^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text())) refuse("a PrintableString with other characters");
      return;
    case OCTET_STRING:
    case TELETEX_STRING:
    case IA5_STRING:
    case BMP_STRING:
      return;
    default:
      if ((tag & CLASS) !== CONTEXT_SPECIFIC) refuse(`tag 0x${tag.toString(16)} has no place in a certificate`);
  }
}

/** Base-128 numbers of at most 4 bytes, in the fewest bytes. */
function checkIdentifier(bytes: Uint8Array, from: number, end: number): void {
  let digits = 0;
  for (let at = from; at < end; at++) {
    const byte = bytes[at];
    if (digits === 0 && byte === 0x80) refuse("an OBJECT IDENTIFIER with a leading zero");
    digits = byte < 0x80 ? 0 : digits + 1;
    if (digits === 4) refuse("an OBJECT IDENTIFIER with a number of more than 28 bits");
  }
  if (from === end || digits !== 0) refuse("an OBJECT IDENTIFIER that is cut short");
}

function checkUtf8(bytes: Uint8Array): void {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    refuse("a UTF8String that is not UTF-8");
  }
}

function compare(bytes: Uint8Array, a: Element, b: Element): number {
  return Buffer.compare(bytes.subarray(a.start, a.end), bytes.subarray(b.start, b.end));
}

function refuse(message: string): never {
  throw new Refusal("encoding", message);
}
