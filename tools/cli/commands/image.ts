import { packHostImageFile } from "../../image/host-image.ts";

/** `salus image`: packs a composite host image. */
export function image(host: string, guest: string, flags: { output: string }): Promise<boolean> {
  const bytes = packHostImageFile(host, guest, flags.output);
  process.stdout.write(`${flags.output}: ${bytes} bytes\n`);
  return Promise.resolve(true);
}
