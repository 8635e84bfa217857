import { ensureTools } from "../../setup/index.ts";
import { formatVersion, inspectQemu } from "../../qemu/locate.ts";
import { progress } from "../report.ts";

/** `salus setup`: installs what is missing and says what is used. */
export async function setup(flags: { qemu?: string }): Promise<boolean> {
  const qemuChoice = flags.qemu ?? (process.env["QEMU"] || undefined);
  const { compiler, qemu } = await ensureTools({
    needs: ["compiler", "openssl", "qemu", "ssh"],
    qemu: qemuChoice,
    log: progress,
  });
  const { version, firmware } = await inspectQemu(qemu!);
  process.stdout.write(`compiler: ${compiler}\nQEMU: ${qemu} (${formatVersion(version)})\nfirmware: ${firmware}\n`);
  return true;
}
