/** Object identifiers of the certificates (docs/evidence.md). */

export const ED25519 = "1.3.101.112";
export const SHA384 = "2.16.840.1.101.3.4.2.2";

export const SERIAL_NUMBER_ATTRIBUTE = "2.5.4.5";

export const SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
export const KEY_USAGE = "2.5.29.15";
export const BASIC_CONSTRAINTS = "2.5.29.19";
export const AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";

/** DiceTcbInfo where the callers of ATST look for it: one arc above the one that TCG assigned. */
export const TCB_INFO_OF_EVIDENCE = "2.23.133.5.4";
/** tcg-dice-TcbInfo. */
export const TCB_INFO = "2.23.133.5.4.1";
/** tcg-dice-TcbFreshness. */
export const FRESHNESS = "2.23.133.5.4.11";
/** Inputs of a stage, Open Profile for DICE. */
export const OPEN_DICE_INPUT = "1.3.6.1.4.1.11129.2.1.24";
