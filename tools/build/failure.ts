import { Failure } from "../failure.ts";

/** The build refuses: one line for each reason, each with the TypeScript file it is about where there is one. */
export class BuildFailure extends Failure {
  readonly reasons: string[];

  constructor(...reasons: string[]) {
    super(reasons.join("\n"));
    this.reasons = reasons;
  }
}
