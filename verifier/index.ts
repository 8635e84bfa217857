/**
 * Verifier of Salus's evidence, as a library. A relying party needs four of these:
 *
 *     verifyEvidence({ kind, bytes, chain }, { nonce, roots: readRoots(pem), policy: readPolicy(json) })
 *
 * and the functions of measurement.ts to know what a policy should expect.
 */

export { verifyEvidence, type Check, type Evidence, type Expectations, type Verdict } from "./verify.ts";
export { readRoots, type TrustAnchor } from "./roots.ts";
export { readPolicy, type Policy } from "./policy.ts";
export { readEvidenceFile } from "./evidence-file.ts";
export { CHECKS, Refusal, type CheckName } from "./refusal.ts";
export * from "./measurement.ts";
export { replayMeasurementLog, type ReplayedLog } from "./measurement-log.ts";
