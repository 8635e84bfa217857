import { bytesAre, isDigit } from "../lib/byte-string";
import { read8 } from "./hw";

/**
 * What a hart can do, as bits, from the two texts that a device tree describes it with: `riscv,isa-extensions` (a list of
 * NUL-terminated names) and the older `riscv,isa` ("rv64imac_zicsr_..."), and from its `mmu-type`.
 */

/** Bit numbers of a feature mask: what the hypervisor or the filter of the host's extensions asks for. */
export const enum Feature {
  H = 0,
  F = 1,
  D = 2,
  /** Vector registers. */
  V = 3,
  Sv39 = 4,
  Sv48 = 5,
  Sv57 = 6,
  Sstc = 7,
  Ssaia = 8,
  Sscofpmf = 9,
  /** The sstateen and hstateen CSRs; named smstateen too. */
  Ssstateen = 10,
  Svadu = 11,
  Svade = 12,
  Svpbmt = 13,
  Svinval = 14,
  Svnapot = 15,
  Zicbom = 16,
  Zicboz = 17,
  Zicbop = 18,
  Zbb = 19,
  Zknh = 20,
  Zkr = 21,
  Zacas = 22,
  Zicntr = 23,
  Zihpm = 24,
  Zicfilp = 25,
  Zicfiss = 26,
  Ssnpm = 27,
  Ssdbltrp = 28,
  Ssctr = 29,
  Sscsrind = 30,
  Ssccfg = 31,
  Ssqosid = 32,
  Zcmt = 33,
  Zawrs = 34,
}

/** Number of features: one more than the last bit. */
export const FEATURE_COUNT: u32 = 35;

/** Name of a feature as a device tree writes it. */
export function featureName(feature: Feature): string {
  switch (feature) {
    case Feature.H:
      return "h";
    case Feature.F:
      return "f";
    case Feature.D:
      return "d";
    case Feature.V:
      return "v";
    case Feature.Sv39:
      return "sv39";
    case Feature.Sv48:
      return "sv48";
    case Feature.Sv57:
      return "sv57";
    case Feature.Sstc:
      return "sstc";
    case Feature.Ssaia:
      return "ssaia";
    case Feature.Sscofpmf:
      return "sscofpmf";
    case Feature.Ssstateen:
      return "ssstateen";
    case Feature.Svadu:
      return "svadu";
    case Feature.Svade:
      return "svade";
    case Feature.Svpbmt:
      return "svpbmt";
    case Feature.Svinval:
      return "svinval";
    case Feature.Svnapot:
      return "svnapot";
    case Feature.Zicbom:
      return "zicbom";
    case Feature.Zicboz:
      return "zicboz";
    case Feature.Zicbop:
      return "zicbop";
    case Feature.Zbb:
      return "zbb";
    case Feature.Zknh:
      return "zknh";
    case Feature.Zkr:
      return "zkr";
    case Feature.Zacas:
      return "zacas";
    case Feature.Zicntr:
      return "zicntr";
    case Feature.Zihpm:
      return "zihpm";
    case Feature.Zicfilp:
      return "zicfilp";
    case Feature.Zicfiss:
      return "zicfiss";
    case Feature.Ssnpm:
      return "ssnpm";
    case Feature.Ssdbltrp:
      return "ssdbltrp";
    case Feature.Ssctr:
      return "ssctr";
    case Feature.Sscsrind:
      return "sscsrind";
    case Feature.Ssccfg:
      return "ssccfg";
    case Feature.Ssqosid:
      return "ssqosid";
    case Feature.Zcmt:
      return "zcmt";
    case Feature.Zawrs:
      return "zawrs";
    default:
      return "?";
  }
}

/** The mask of one feature. */
// @ts-ignore: decorator
@inline
export function featureMask(feature: Feature): u64 {
  return (<u64>1) << (<u64>feature);
}

// @ts-ignore: decorator
@inline
export function hasFeature(features: u64, feature: Feature): bool {
  return (features & featureMask(feature)) != 0;
}

/** How the extensions are written down. */
export const enum IsaText {
  /** `riscv,isa-extensions` */
  List = 0,
  /** `riscv,isa` */
  String = 1,
}

/** Characters of "rv64" in front of a `riscv,isa` string. */
const BASE_LENGTH: u64 = 4;

/**
 * Finds the next extension name in the `length` bytes at `text`. `position` is 0, or `extensionEnd` of the last answer.
 * Returns 0 at the end, else an answer for `extensionStart` and `extensionEnd` (byte offsets in the text).
 */
export function nextExtension(text: usize, length: u64, kind: IsaText, position: u64): u64 {
  return kind == IsaText.List ? nextInList(text, length, position) : nextInString(text, length, position);
}

// @ts-ignore: decorator
@inline
export function extensionStart(answer: u64): u64 {
  return answer >> 32;
}

// @ts-ignore: decorator
@inline
export function extensionEnd(answer: u64): u64 {
  return answer & 0xffff_ffff;
}

function nextInList(text: usize, length: u64, position: u64): u64 {
  while (position < length && byteAt(text, position) == 0) position++;
  if (position >= length) return 0;
  let end = position;
  while (end < length && byteAt(text, end) != 0) end++;
  return (position << 32) | end;
}

function nextInString(text: usize, length: u64, position: u64): u64 {
  if (position == 0) {
    if (length < BASE_LENGTH || !bytesAre(text, BASE_LENGTH, "rv64")) return 0;
    position = BASE_LENGTH;
  }
  position = skipVersion(text, length, position);
  while (position < length && byteAt(text, position) == UNDERSCORE) position++;
  if (position >= length || byteAt(text, position) == 0) return 0;
  const first = byteAt(text, position);
  // z, s and x begin a name of several letters; every other letter is an extension by itself.
  if (first != 0x7a && first != 0x73 && first != 0x78) return (position << 32) | (position + 1);
  let end = position;
  while (end < length && byteAt(text, end) != UNDERSCORE && byteAt(text, end) != 0) end++;
  return (position << 32) | withoutVersion(text, position, end);
}

const UNDERSCORE: u32 = 0x5f;
const LETTER_P: u32 = 0x70;

function byteAt(text: usize, index: u64): u32 {
  return read8(<u64>text + index);
}

/** Steps over a version like 2 or 2p1 that follows a name. */
function skipVersion(text: usize, length: u64, position: u64): u64 {
  if (position >= length || !isDigit(byteAt(text, position))) return position;
  while (position < length && isDigit(byteAt(text, position))) position++;
  if (position + 1 < length && byteAt(text, position) == LETTER_P && isDigit(byteAt(text, position + 1))) {
    position++;
    while (position < length && isDigit(byteAt(text, position))) position++;
  }
  return position;
}

/** End of the name in [start, end) that may carry a version. No extension's own name ends in a digit. */
function withoutVersion(text: usize, start: u64, end: u64): u64 {
  const major = beforeDigits(text, start, end);
  if (major == end || major < start + 2 || byteAt(text, major - 1) != LETTER_P) return major;
  const name = beforeDigits(text, start, major - 1);
  return name == major - 1 ? major : name;
}

function beforeDigits(text: usize, start: u64, end: u64): u64 {
  while (end > start + 1 && isDigit(byteAt(text, end - 1))) end--;
  return end;
}

/** The features that a hart's extensions name. */
export function featuresOfIsa(text: usize, length: u64, kind: IsaText): u64 {
  let features: u64 = 0;
  let answer = nextExtension(text, length, kind, 0);
  while (answer != 0) {
    const start = extensionStart(answer);
    features |= featureOf(text + <usize>start, extensionEnd(answer) - start);
    answer = nextExtension(text, length, kind, extensionEnd(answer));
  }
  return features;
}

/** The features of one extension name (0 for one that nobody asks for). */
function featureOf(name: usize, length: u64): u64 {
  for (let feature: u32 = 0; feature < FEATURE_COUNT; feature++) {
    if (bytesAre(name, length, featureName(feature))) return featureMask(feature);
  }
  // Names that stand for others.
  if (bytesAre(name, length, "smstateen")) return featureMask(Feature.Ssstateen);
  if (bytesAre(name, length, "g")) return featureMask(Feature.F) | featureMask(Feature.D);
  if (bytesAre(name, length, "zkn")) return featureMask(Feature.Zknh);
  if (bytesAre(name, length, "zk")) return featureMask(Feature.Zknh) | featureMask(Feature.Zkr);
  if (bytesAre(name, length, "zce")) return featureMask(Feature.Zcmt);
  return 0;
}

/** The modes of a `mmu-type` (a mode implies the smaller ones); 0 for an unknown one. */
export function featuresOfMmuType(text: usize, length: u64): u64 {
  if (bytesAre(text, length, "riscv,sv57"))
    return featureMask(Feature.Sv39) | featureMask(Feature.Sv48) | featureMask(Feature.Sv57);
  if (bytesAre(text, length, "riscv,sv48")) return featureMask(Feature.Sv39) | featureMask(Feature.Sv48);
  return bytesAre(text, length, "riscv,sv39") ? featureMask(Feature.Sv39) : 0;
}

/** `mmu-type` for a mask. */
export function mmuTypeOf(features: u64): string {
  if (hasFeature(features, Feature.Sv57)) return "riscv,sv57";
  if (hasFeature(features, Feature.Sv48)) return "riscv,sv48";
  return hasFeature(features, Feature.Sv39) ? "riscv,sv39" : "riscv,none";
}
