import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** Temporary folders that are gone when the process is, however it ends. */

const open = new Set<string>();

/** Runs `work` with a new folder, which is removed with all its content afterwards. */
export async function withTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  if (open.size === 0) installHandlers();
  const folder = mkdtempSync(path.join(tmpdir(), "salus-test-"));
  open.add(folder);
  try {
    return await work(folder);
  } finally {
    remove(folder);
  }
}

function remove(folder: string): void {
  open.delete(folder);
  rmSync(folder, { recursive: true, force: true });
}

let installed = false;

/** The signals' default, the end of the process, is left to tools/qemu/child-processes.ts. */
function installHandlers(): void {
  if (installed) return;
  installed = true;
  const removeAll = (): void => open.forEach(remove);
  process.on("exit", removeAll);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.prependListener(signal, removeAll);
}
