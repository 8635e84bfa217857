import { main } from "./program.ts";
import { exitStatusOf, reportError } from "./report.ts";

/** Entry of the `salus` command (started by bin/salus.js). */

// A reader that goes away (`salus run tellus | head`) ends the command quietly; exit handlers still run.
process.stdout.on("error", () => process.exit(1));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  reportError(error);
  process.exitCode = exitStatusOf(error);
}
