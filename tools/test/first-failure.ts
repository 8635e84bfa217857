import type { TestEvent } from "node:test/reporters";

/** A reporter for a test process that is over as soon as one test has failed: what it says is that test's name and message. */
export default async function* firstFailure(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== "test:fail" || event.data.todo !== undefined) continue;
    const { error } = event.data.details;
    // A suite fails because of a test in it, which has been reported.
    if ((error as { failureType?: string }).failureType === "subtestsFailed") continue;
    yield `${event.data.name}: ${firstLines(error)}\n`;
    // The rest would take time and change nothing.
    setImmediate(() => process.exit(1));
  }
}

/** What an error says, at its beginning. */
export function firstLines(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const message = cause instanceof Error ? cause.message : String(cause);
  return message.trim().split("\n").slice(0, 6).join("\n");
}
