import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { findOnPath } from "../qemu/locate.ts";
import { cacheFolder } from "./cache.ts";

/** A key of our own with which root of the small system can be reached: it opens nothing but emulated machines of this user. */

export interface SshKey {
  /** File with the private key. */
  file: string;
  publicKey: string;
}

/** The key, made when it is wanted first; undefined where there is no ssh. */
export function sshKey(): SshKey | undefined {
  const file = path.join(cacheFolder("ssh"), "id_ed25519");
  if (!existsSync(file)) {
    if (findOnPath("ssh-keygen") === undefined) return undefined;
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "salus", "-f", file]);
  }
  return { file, publicKey: readFileSync(`${file}.pub`, "utf8") };
}
