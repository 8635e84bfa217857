import { ed25519Sign } from "../../crypto/ed25519";
import { HELPER_OUTPUT } from "../../umode/layout";
import { PAGE_SIZE } from "../riscv/pte";
import { HelperContext } from "./context";

/** An Ed25519 key: seed and public key, 32 bytes each. */
@unmanaged
export class SigningKey {
  seed0: u64;
  seed1: u64;
  seed2: u64;
  seed3: u64;
  public0: u64;
  public1: u64;
  public2: u64;
  public3: u64;

  seed(): usize {
    return changetype<usize>(this);
  }

  publicKey(): usize {
    return changetype<usize>(this) + offsetof<SigningKey>("public0");
  }
}

const SIGNATURE_SIZE: u64 = 64;

/** Hypercall.Sign with the registers of `context`. False if message or signature do not lie in the output. `scratch`: ED25519_SCRATCH bytes, zero afterwards. */
export function signForHelper(context: HelperContext, key: SigningKey, scratch: usize): bool {
  const message = context.a0 - HELPER_OUTPUT;
  const length = context.a1;
  const signature = context.a2 - HELPER_OUTPUT;
  if (length > PAGE_SIZE || message > PAGE_SIZE - length || signature > PAGE_SIZE - SIGNATURE_SIZE) return false;
  // The helper stands still: nobody else writes to its output.
  const output = context.output;
  ed25519Sign(key.seed(), key.publicKey(), <usize>(output + message), length, <usize>(output + signature), scratch);
  return true;
}
