/** Something that a person can put right: printed as a sentence, without a stack trace. */
export class Failure extends Error {
  readonly exitStatus: number = 1;

  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** The command line or an environment variable asks for something that does not exist. */
export class UsageError extends Failure {
  override readonly exitStatus = 2;
}
