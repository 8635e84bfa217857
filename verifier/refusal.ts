/** Why evidence is refused. Nothing else leaves the readers of what others wrote. */
export class Refusal extends Error {
  /** What is refused: one word of `CheckName`. */
  readonly check: CheckName;

  constructor(check: CheckName, message: string) {
    super(message);
    this.name = "Refusal";
    this.check = check;
  }
}

/** What is checked, in the order in which it is shown. */
export const CHECKS = [
  "encoding",
  "profile",
  "root",
  "chain",
  "signature",
  "nonce",
  "key",
  "registers",
  "development root",
] as const;

export type CheckName = (typeof CHECKS)[number];
