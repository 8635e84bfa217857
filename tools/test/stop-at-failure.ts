import { writeSync } from "node:fs";
import { afterEach } from "node:test";
import { firstLines } from "./first-failure.ts";

/**
 * Imported before a test file, ends the process with the test that fails. The reporter hears of a failure only when the event loop turns, which is
 * at the end where tests do not wait for anything: minutes, if every one of them fails.
 */
afterEach((context) => {
  if (!("error" in context) || context.error === null || context.error === undefined) return;
  writeSync(1, `${context.name}: ${firstLines(context.error)}\n`);
  process.exit(1);
});
