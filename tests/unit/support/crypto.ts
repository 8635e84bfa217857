import { cryptoDoor } from "../../../machine/simulated/crypto-door.ts";
import { compileModule, TEST_MEMORY } from "./module.ts";

/** The package crypto/ as a wasm module in Node, with a memory of its own, for tests: bytes in, bytes out. */

export const CRYPTO_FILES = ["memory", "hmac", "hkdf", "ed25519"].map((name) => `crypto/${name}`);

/** Entry lines that export the hash, whose functions take a record. */
const HASH_SOURCE = `
  import * as sha from "../../../crypto/sha512";
  function stateAt(at: usize): sha.Sha512State { return changetype<sha.Sha512State>(at); }
  export function hashBegin(at: usize, bits: u32, variant: u64): void {
    if (bits == 384) sha.sha384Init(stateAt(at)); else sha.sha512Init(stateAt(at));
    stateAt(at).variant = variant;
  }
  export function hashUpdate(at: usize, data: usize, length: u64): void { sha.sha512Update(stateAt(at), data, length); }
  export function hashFinal(at: usize, digest: usize): void { sha.sha512Final(stateAt(at), digest); }
  export function hashStateSize(): usize { return offsetof<sha.Sha512State>(); }`;

const MIB = 1024 * 1024;
/** Where scratch, results and inputs lie. */
export const SCRATCH = TEST_MEMORY;
export const OUTPUT = TEST_MEMORY + 0x4000;
export const INPUT = TEST_MEMORY + 0x10000;
const PAGE = 65536;

type Call = (...args: (bigint | number)[]) => never;

/** The module, compiled once in a process. `source`: more lines of its entry. */
export const cryptoModule = (source = ""): Promise<WebAssembly.Module> =>
  compileModule({ files: CRYPTO_FILES, source: HASH_SOURCE + source });

/** Sha512Variant of crypto/sha512-rounds.ts: plain, Zbb, Zknh. */
export type HashVariant = 0 | 1 | 2;

export class Crypto {
  readonly memory = new WebAssembly.Memory({ address: "i64", initial: BigInt((4 * MIB) / PAGE) } as never);
  readonly bytes = new Uint8Array(this.memory.buffer);
  readonly calls: Record<string, Call>;
  #end = INPUT;

  /** `more`: imports beside those of the package. */
  constructor(module: WebAssembly.Module, more: WebAssembly.Imports = {}) {
    const hw = {
      ...cryptoDoor(),
      wipeBytes: (at: bigint, length: bigint) => this.bytes.fill(0, Number(at), Number(at + length)),
      wipeStack: () => {},
      lastHashVariant: () => 2,
    } as unknown as Record<string, WebAssembly.ImportValue>;
    const abort = (): never => {
      throw new Error("an assertion failed");
    };
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.memory, abort }, hw, ...more });
    this.calls = exports as Record<string, Call>;
  }

  /** Puts inputs one behind the other; gives address and length of each as arguments. Each call of it begins anew. */
  put(...inputs: Uint8Array[]): [bigint, bigint][] {
    this.#end = INPUT;
    return inputs.map((input) => {
      const at = this.#end;
      this.bytes.set(input, at);
      // Not aligned on purpose.
      this.#end += input.length + 3;
      return [BigInt(at), BigInt(input.length)];
    });
  }

  output(length: number): Buffer {
    return Buffer.from(this.bytes.slice(OUTPUT, OUTPUT + length));
  }

  hash(bits: 384 | 512, message: Uint8Array, variant: HashVariant = 0): Buffer {
    const [[at, length]] = this.put(message);
    this.calls["hashBegin"](BigInt(SCRATCH), bits, BigInt(variant));
    this.calls["hashUpdate"](BigInt(SCRATCH), at, length);
    this.calls["hashFinal"](BigInt(SCRATCH), BigInt(OUTPUT));
    return this.output(bits / 8);
  }

  hmac(key: Uint8Array, message: Uint8Array): Buffer {
    const [k, m] = this.put(key, message);
    this.calls["hmacSha512"](...k, ...m, BigInt(OUTPUT), BigInt(SCRATCH));
    return this.output(64);
  }

  /** `undefined` if it was refused. */
  hkdf(salt: Uint8Array, ikm: Uint8Array, info: Uint8Array, length: number): Buffer | undefined {
    const [s, k, i] = this.put(salt, ikm, info);
    const done = this.calls["hkdf"](...s, ...k, ...i, BigInt(OUTPUT), BigInt(length), BigInt(SCRATCH));
    return Number(done) === 1 ? this.output(length) : undefined;
  }

  publicKey(seed: Uint8Array): Buffer {
    const [[at]] = this.put(seed);
    this.calls["ed25519PublicKey"](at, BigInt(OUTPUT), BigInt(SCRATCH));
    return this.output(32);
  }

  sign(seed: Uint8Array, publicKey: Uint8Array, message: Uint8Array): Buffer {
    const [[s], [p], m] = this.put(seed, publicKey, message);
    this.calls["ed25519Sign"](s, p, ...m, BigInt(OUTPUT), BigInt(SCRATCH));
    return this.output(64);
  }

  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const [[p], m, [s]] = this.put(publicKey, message, signature);
    return Number(this.calls["ed25519Verify"](p, ...m, s, BigInt(SCRATCH))) === 1;
  }
}
