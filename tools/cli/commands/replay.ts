import { readFileSync } from "node:fs";
import { MisuseError } from "../../../machine/simulated/errors.ts";
import { readRecording } from "../../../machine/simulated/recording.ts";
import { Replay, ReplayDifference } from "../../../machine/simulated/replay.ts";
import { UsageError } from "../../failure.ts";

export interface ReplayFlags {
  module?: string;
  json?: boolean;
}

/**
 * `salus replay FILE`: plays a recorded run into the hypervisor's module.
 *
 * @returns true if there is no difference
 */
export function replay(file: string, flags: ReplayFlags): Promise<boolean> {
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  const begin = performance.now();
  let player: Replay;
  try {
    player = new Replay(readRecording(file), flags.module === undefined ? undefined : readFileSync(flags.module));
  } catch (error) {
    if (error instanceof MisuseError) throw new UsageError(error.message);
    throw error;
  }
  try {
    const result = player.run();
    const seconds = (performance.now() - begin) / 1000;
    if (flags.json) write(JSON.stringify({ ...result, seconds }));
    else {
      const { entries, calls, logBytes, end } = result;
      write(
        `${entries} entries and ${calls} calls of primitives (${logBytes} bytes) are what was recorded; it ends ${end}`,
      );
      write(`${seconds.toFixed(1)} s`);
    }
    return Promise.resolve(true);
  } catch (error) {
    if (!(error instanceof ReplayDifference)) throw error;
    if (flags.json) write(JSON.stringify({ difference: error.message, entries: player.entries, calls: player.calls }));
    else write(error.message);
    return Promise.resolve(false);
  }
}
