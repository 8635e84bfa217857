import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

/** Where fetched packages and what is made of them are kept: outside the repository, so that all checkouts share them. */

/** Folder `name` of the cache (SALUS_CACHE, else salus/ in the user's cache folder); it exists afterwards. */
export function cacheFolder(name: string, environment: NodeJS.ProcessEnv = process.env): string {
  const root =
    environment["SALUS_CACHE"] || path.join(environment["XDG_CACHE_HOME"] || path.join(homedir(), ".cache"), "salus");
  const folder = path.resolve(root, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}
