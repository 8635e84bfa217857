import { ed25519PublicKey } from "../../crypto/ed25519";
import { SigningKey } from "../helper/sign";
import { storeRelease32 } from "../riscv/hw";
import { CRYPTO, deriveId, deriveSeed } from "./kdf";

/**
 * What a layer (the platform, or a TVM) has: two CDIs, and the attestation key that follows from the first. Lies in memory of our own or in state pages of a TVM,
 * which are scrubbed before anybody else gets them.
 */
@unmanaged
export class Layer {
  attestation0: u64;
  attestation1: u64;
  attestation2: u64;
  attestation3: u64;
  sealing0: u64;
  sealing1: u64;
  sealing2: u64;
  sealing3: u64;
  seed0: u64;
  seed1: u64;
  seed2: u64;
  seed3: u64;
  public0: u64;
  public1: u64;
  public2: u64;
  public3: u64;
  /** Id of the public key: 20 bytes. */
  id0: u64;
  id1: u64;
  id2: u64;
  /** 1 once everything above is there: read with acquire. */
  ready: u32;
  reserved0: u32;

  attestation(): u64 {
    return <u64>changetype<usize>(this);
  }

  sealing(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Layer>("sealing0"));
  }

  key(): SigningKey {
    return changetype<SigningKey>(changetype<usize>(this) + offsetof<Layer>("seed0"));
  }

  publicKey(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Layer>("public0"));
  }

  id(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Layer>("id0"));
  }

  readyAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Layer>("ready"));
  }
}

/** Fills in key and id from the attestation CDI, and says that the layer is ready. */
export function completeLayer(layer: Layer, scratch: u64): void {
  const key = layer.key();
  deriveSeed(<u64>key.seed(), layer.attestation(), scratch);
  ed25519PublicKey(key.seed(), key.publicKey(), <usize>(scratch + CRYPTO));
  deriveId(layer.id(), layer.publicKey(), scratch);
  storeRelease32(layer.readyAddress(), 1);
}
