import { wipeStack } from "./hw";
import { copyFew, wipe } from "./memory";
import { SHA512_BLOCK_SIZE, SHA512_DIGEST_SIZE, Sha512State, sha512Final, sha512Init, sha512Update } from "./sha512";

/** HMAC-SHA-512 (RFC 2104), in one call or in parts. Keys and everything made of them are wiped from the state at the end. */
@unmanaged
export class HmacState {
  /** First word of the hash that is under way (a Sha512State); the padded key and the digest of the inner hash follow. */
  hash: u64;

  private key(): usize {
    return changetype<usize>(this) + offsetof<Sha512State>();
  }

  private inner(): usize {
    return this.key() + <usize>SHA512_BLOCK_SIZE;
  }

  private state(): Sha512State {
    return changetype<Sha512State>(changetype<usize>(this));
  }

  /** Starts with the key of `length` bytes; one longer than a block is hashed first. */
  begin(key: usize, length: u64): void {
    const state = this.state();
    const padded = this.key();
    wipe(padded, SHA512_BLOCK_SIZE);
    if (length > SHA512_BLOCK_SIZE) {
      sha512Init(state);
      sha512Update(state, key, length);
      sha512Final(state, padded);
    } else {
      copyFew(padded, key, length);
    }
    this.toggle(INNER_PAD);
    sha512Init(state);
    sha512Update(state, padded, SHA512_BLOCK_SIZE);
  }

  update(data: usize, length: u64): void {
    sha512Update(this.state(), data, length);
  }

  /** Stores the 64-byte tag at `tag` and wipes the state. */
  final(tag: usize): void {
    const state = this.state();
    const inner = this.inner();
    sha512Final(state, inner);
    this.toggle(INNER_PAD ^ OUTER_PAD);
    sha512Init(state);
    sha512Update(state, this.key(), SHA512_BLOCK_SIZE);
    sha512Update(state, inner, SHA512_DIGEST_SIZE);
    sha512Final(state, tag);
    wipe(changetype<usize>(this), HMAC_SCRATCH);
  }

  /** Exclusive-ors the padded key with a byte in all places. */
  private toggle(pad: u64): void {
    const start = this.key();
    for (let at = start; at < start + <usize>SHA512_BLOCK_SIZE; at += 8) store<u64>(at, load<u64>(at) ^ pad);
  }
}

const INNER_PAD: u64 = 0x3636363636363636;
const OUTER_PAD: u64 = 0x5c5c5c5c5c5c5c5c;

/** Bytes of scratch of `hmacSha512`, and of an HmacState: hash state, key block, inner digest. */
export const HMAC_SCRATCH: u64 = <u64>offsetof<Sha512State>() + SHA512_BLOCK_SIZE + SHA512_DIGEST_SIZE;

/**
 * HMAC-SHA-512 of `messageLength` bytes at `message` under `keyLength` bytes at `key`: 64 bytes at `out`, which may overlap the inputs.
 * `scratch`: HMAC_SCRATCH bytes, 8-byte aligned, zero afterwards.
 */
export function hmacSha512(
  key: usize,
  keyLength: u64,
  message: usize,
  messageLength: u64,
  out: usize,
  scratch: usize,
): void {
  const state = changetype<HmacState>(scratch);
  state.begin(key, keyLength);
  state.update(message, messageLength);
  state.final(out);
  wipeStack();
}
