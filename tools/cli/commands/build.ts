import { buildArtifacts } from "../../artifacts.ts";
import { ensureTools } from "../../setup/index.ts";
import { progress } from "../report.ts";

/** `salus build`: everything that a run of the test host needs. */
export async function build(flags: { debug?: boolean }): Promise<boolean> {
  await ensureTools({ needs: ["compiler"], log: progress });
  const { hypervisor, hostImage } = await buildArtifacts({ flavour: flags.debug ? "debug" : "release", log: progress });
  process.stdout.write(`${hypervisor}\n${hostImage}\n`);
  return true;
}
