import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BuildResult } from "./index.ts";

/** What a build was made of, so that the next one knows whether anything changed. */
export interface BuildRecord {
  /** Hash over all inputs. */
  inputs: string;
  /** TypeScript files of the module, relative to the root. */
  files: string[];
  /** Built files that are part of it. */
  embedded: string[];
  /** Room for text that the layout has. */
  textRoom: number;
  result: BuildResult;
}

const TOOLS_ROOT = path.resolve(import.meta.dirname, "../..");

export function readRecord(file: string): BuildRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(file, "utf8")) as Partial<BuildRecord>;
    // An older pipeline wrote less.
    return record.embedded === undefined ? undefined : (record as BuildRecord);
  } catch {
    return undefined;
  }
}

/** True if every input is what it was, and every output is still there. */
export function isUpToDate(record: BuildRecord, root: string): boolean {
  const { elf, bin, wasm, c } = record.result;
  return (
    [elf, bin, wasm, c].every((file) => existsSync(file)) &&
    record.inputs === hashInputs(root, record.files, record.embedded)
  );
}

export function writeRecord(file: string, record: BuildRecord): void {
  writeFileSync(file, JSON.stringify(record, null, 2) + "\n");
}

/** A build that fails must not leave the record of an older one beside its files. */
export function removeRecord(file: string): void {
  rmSync(file, { force: true });
}

/** The module's files, what is embedded in it, the pipeline, the machine layer, the versions of what npm installed, and the C compiler. */
export function hashInputs(root: string, files: string[], embedded: string[]): string {
  const hash = createHash("sha256");
  const add = (file: string): void => {
    hash.update(file).update("\0");
    hash.update(existsSync(file) ? readFileSync(file) : "absent").update("\0");
  };
  for (const file of [...files, "hypervisor/riscv/csr.ts"]) add(path.join(root, file));
  for (const file of embedded) add(file);
  for (const folder of ["tools/build", "tools/build/rt", "machine/riscv"]) {
    for (const name of readdirSync(path.join(TOOLS_ROOT, folder)).sort()) {
      const file = path.join(TOOLS_ROOT, folder, name);
      if (statSync(file).isFile()) add(file);
    }
  }
  add(path.join(TOOLS_ROOT, "package-lock.json"));
  hash.update(process.env.SALUS_TOOL_PREFIX ?? "").update(process.version);
  return hash.digest("hex");
}
