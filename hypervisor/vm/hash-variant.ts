import { Sha512Variant } from "../../crypto/sha512-rounds";
import { Feature, hasFeature } from "../riscv/isa";

/** The fastest SHA-512 for harts with `features`. The version for Zknh reverses bytes with Zbb. */
export function hashVariant(features: u64): Sha512Variant {
  if (!hasFeature(features, Feature.Zbb)) return Sha512Variant.Plain;
  return hasFeature(features, Feature.Zknh) ? Sha512Variant.Zknh : Sha512Variant.Zbb;
}
