import pc from "picocolors";

/** Colours, if they are wanted: `plain` and NO_COLOR switch them off, and so does output that is no terminal. */

export type Colours = ReturnType<typeof pc.createColors>;

export function coloursFor(
  stream: { isTTY?: boolean },
  plain = false,
  environment: NodeJS.ProcessEnv = process.env,
): Colours {
  const forced = (environment["FORCE_COLOR"] ?? "0") !== "0";
  const unwanted = plain || (environment["NO_COLOR"] ?? "") !== "" || environment["TERM"] === "dumb";
  return pc.createColors(!unwanted && (forced || stream.isTTY === true));
}

export const PASSED_MARK = "✔";
export const FAILED_MARK = "✖";
export const OPEN_MARK = "?";
