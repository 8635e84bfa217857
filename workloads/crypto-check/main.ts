import { ED25519_SCRATCH, ed25519PublicKey, ed25519Sign, ed25519Verify } from "../../crypto/ed25519";
import { hkdf } from "../../crypto/hkdf";
import { hmacSha512 } from "../../crypto/hmac";
import { sha384Init, Sha512State, sha512Final, sha512Init, sha512Update } from "../../crypto/sha512";
import { Sha512Variant } from "../../crypto/sha512-rounds";
import { csrRead, ecall, ImageSymbol, imageAddress, stackPointer } from "../lib/hw";
import { putchar } from "../lib/sbi";
import { textAt, textLength } from "../lib/text";
import { INSTRET } from "../../hypervisor/riscv/csr";

/**
 * The package crypto/ as RISC-V code, right above the firmware: prints results and how many instructions they took.
 * tests/qemu/crypto.test.ts reads it and computes everything again.
 *
 *     NAME PARAMETER INSTRUCTIONS HEX
 */

const INPUT: usize = 0x1_0000;
const SCRATCH: usize = 0x2_0000;
const OUTPUT: usize = 0x3_0000;
const SECRETS: usize = 0x4_0000;
const PUBLIC_KEY: usize = OUTPUT + 0x1000;

/** Memory behind the image that nothing else uses. */
function room(offset: usize): usize {
  return <usize>imageAddress(ImageSymbol.End) + offset;
}

/** Bytes that the test knows too. */
function fillInput(length: usize): void {
  for (let i: usize = 0; i < length; i++) store<u8>(room(INPUT) + i, <u8>(i * 7 + (i >> 8) + 1));
}

function putText(text: string): void {
  for (let i: u32 = 0; i < textLength(text); i++) putchar(textAt(text, i));
}

function putDigit(digit: u32): void {
  putchar(digit < 10 ? 0x30 + digit : 0x57 + digit);
}

function putNumber(value: u64): void {
  let power: u64 = 1;
  while (value / power >= 10) power *= 10;
  for (; power > 0; power /= 10) putDigit(<u32>((value / power) % 10));
}

function report(name: string, parameter: u64, instructions: u64, length: usize): void {
  putText(name);
  putchar(0x20);
  putNumber(parameter);
  putchar(0x20);
  putNumber(instructions);
  putchar(0x20);
  for (let i: usize = 0; i < length; i++) {
    const byte = <u32>load<u8>(room(OUTPUT) + i);
    putDigit(byte >> 4);
    putDigit(byte & 15);
  }
  putchar(0x0a);
}

export function main(_hartId: u64, _opaque: u64): void {
  fillInput(8192);
  for (let length: u64 = 0; length < 300; length += 37) {
    hash("sha384-plain", Sha512Variant.Plain, length);
    hash("sha384-zbb", Sha512Variant.Zbb, length);
    hash("sha384-zknh", Sha512Variant.Zknh, length);
  }
  hash("sha384-plain", Sha512Variant.Plain, 4152);
  hash("sha384-zbb", Sha512Variant.Zbb, 4152);
  hash("sha384-zknh", Sha512Variant.Zknh, 4152);
  keyed();
  signatures();
  constantTime();
  putText("done\n");
  powerOff();
}

function hash(name: string, variant: Sha512Variant, length: u64): void {
  const state = changetype<Sha512State>(room(SCRATCH));
  const begin = csrRead(INSTRET);
  sha384Init(state);
  state.variant = variant;
  sha512Update(state, room(INPUT), length);
  sha512Final(state, room(OUTPUT));
  report(name, length, csrRead(INSTRET) - begin, 48);
}

/** The key and the salt are the first bytes of the input, 100 and 40 of them. */
function keyed(): void {
  const input = room(INPUT);
  let begin = csrRead(INSTRET);
  hmacSha512(input, 100, input, 200, room(OUTPUT), room(SCRATCH));
  report("hmac", 200, csrRead(INSTRET) - begin, 64);
  begin = csrRead(INSTRET);
  hkdf(input, 40, input, 100, input, 50, room(OUTPUT), 150, room(SCRATCH));
  report("hkdf", 150, csrRead(INSTRET) - begin, 150);
}

/** The seed is at byte s of the input, the message are the first s bytes. */
function signatures(): void {
  const scratch = room(SCRATCH);
  const publicKey = room(PUBLIC_KEY);
  for (let s: usize = 1; s < 200; s += 49) {
    const seed = room(INPUT) + s;
    collectSecrets(seed, s);
    let begin = csrRead(INSTRET);
    ed25519PublicKey(seed, publicKey, scratch);
    let instructions = csrRead(INSTRET) - begin;
    const left = secretsOnStack();
    ed25519PublicKey(seed, room(OUTPUT), scratch);
    report("public-key", <u64>s, instructions, 32);
    begin = csrRead(INSTRET);
    ed25519Sign(seed, publicKey, room(INPUT), <u64>s, room(OUTPUT), scratch);
    instructions = csrRead(INSTRET) - begin;
    const leftBySigning = secretsOnStack();
    report("sign", <u64>s, instructions, 64);
    report("left-in-scratch", <u64>s, wordsIn(scratch, <usize>ED25519_SCRATCH), 0);
    report("left-on-stack", <u64>s, left + leftBySigning, 0);
    begin = csrRead(INSTRET);
    const valid = ed25519Verify(publicKey, room(INPUT), <u64>s, room(OUTPUT), scratch);
    report(valid ? "verified" : "refused", <u64>s, csrRead(INSTRET) - begin, 0);
    store<u8>(room(OUTPUT) + (s % 64), load<u8>(room(OUTPUT) + (s % 64)) ^ 1);
    const changed = ed25519Verify(publicKey, room(INPUT), <u64>s, room(OUTPUT), scratch);
    report(changed ? "verified" : "refused", <u64>s, 0, 0);
    // A hash by itself wipes no stack.
    clearBelowStack();
    sha512Init(changetype<Sha512State>(scratch));
    sha512Update(changetype<Sha512State>(scratch), seed, 32);
    sha512Final(changetype<Sha512State>(scratch), room(OUTPUT));
    report("words-left-by-hash", <u64>s, wordsOnStack(), 0);
    ed25519Sign(seed, publicKey, room(INPUT), <u64>s, room(OUTPUT), scratch);
    report("words-left-by-sign", <u64>s, wordsOnStack(), 0);
  }
}

/** Words that nobody may find: the seed, what it expands to, and the nonce; the first 16 in both orders of bytes. */
const SECRET_WORDS: usize = 20;

function collectSecrets(seed: usize, messageLength: usize): void {
  const state = changetype<Sha512State>(room(SCRATCH));
  const secrets = room(SECRETS);
  for (let i: usize = 0; i < 4; i++) {
    let word: u64 = 0;
    for (let j: usize = 0; j < 8; j++) word |= (<u64>load<u8>(seed + 8 * i + j)) << (8 * <u64>j);
    store<u64>(secrets + 8 * i, word);
    store<u64>(secrets + 32 + 8 * i, bswap<u64>(word));
  }
  sha512Init(state);
  sha512Update(state, seed, 32);
  sha512Final(state, secrets + 64);
  sha512Init(state);
  sha512Update(state, secrets + 96, 32);
  sha512Update(state, room(INPUT), <u64>messageLength);
  sha512Final(state, secrets + 128);
  // The clamped scalar.
  store<u8>(secrets + 64, load<u8>(secrets + 64) & 0xf8);
  clearBelowStack();
}

const SEARCHED: usize = 4096;

function clearBelowStack(): void {
  const top = stackPointer() - 256;
  for (let at = top - SEARCHED; at < top; at += 8) store<u64>(at, 0);
}

/** How many words below the stack pointer are one of the secrets. Leaves nothing there. */
function secretsOnStack(): u64 {
  const top = stackPointer();
  let found: u64 = 0;
  for (let at = top - SEARCHED; at < top; at += 8) {
    const word = load<u64>(at);
    for (let i: usize = 0; i < SECRET_WORDS; i++) found += word == load<u64>(room(SECRETS) + 8 * i) ? 1 : 0;
  }
  clearBelowStack();
  return found;
}

/** How many words below the stack pointer are not zero. Leaves nothing there. */
function wordsOnStack(): u64 {
  const found = wordsIn(stackPointer() - SEARCHED, SEARCHED);
  clearBelowStack();
  return found;
}

function wordsIn(start: usize, length: usize): u64 {
  let found: u64 = 0;
  for (let at = start; at < start + length; at += 8) found += load<u64>(at) != 0 ? 1 : 0;
  return found;
}

/** Signatures of one message with several keys: they have to take the same number of instructions. */
function constantTime(): void {
  for (let s: usize = 0; s < 8; s++) {
    ed25519PublicKey(room(INPUT) + 32 * s, room(PUBLIC_KEY), room(SCRATCH));
    const begin = csrRead(INSTRET);
    ed25519Sign(room(INPUT) + 32 * s, room(PUBLIC_KEY), room(INPUT), 100, room(OUTPUT), room(SCRATCH));
    report("equal-sign", <u64>s, csrRead(INSTRET) - begin, 0);
  }
}

function powerOff(): void {
  ecall(0x53525354, 0, 0, 0, 0, 0, 0, 0, 0);
}

export function secondaryMain(_hartId: u64, _stackTop: u64): void {}

export function trap(_frame: usize): void {
  putText("trap\n");
  powerOff();
}

export function panicAssert(_message: usize, _file: usize, _line: u32, _column: u32): void {
  putText("assertion\n");
  powerOff();
}

export function panicWasm(_kind: u32): void {
  putText("wasm trap\n");
  powerOff();
}
