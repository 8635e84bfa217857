import { readFileSync } from "node:fs";
import path from "node:path";
import { BuildFailure } from "./failure.ts";
import { doorsOf, type ImageModule } from "./modules.ts";

/**
 * Rules about the source that the compiled module does not show any more.
 *
 * - Raw access to memory (`load`, `store`, `memory.copy`, ...) stays in the lowest folders, and in the methods of an
 *   `@unmanaged` class: such a class says which memory it lies over, so it owns that layout. All else uses fields, and
 *   hypervisor/riscv/hw.ts for memory that others can touch.
 * - `memory.data` would be a writable variable in read-only data.
 * - Only the list of primitives declares functions that are not there.
 */

const RAW_ACCESS =
  /(?<![\w.$])(?:(?:load|store)\s*<[^<>;{}()]*>\s*\(|(?:i32|i64|u32|u64|f32|f64|v128)\.(?:load|store|atomic)\w*|atomic\.\w+|memory\.(?:copy|fill|init|compare|repeat|grow)\b)/g;

/** @throws BuildFailure with file:line:column for every use that a rule forbids */
export function lintSources(module: ImageModule, root: string, files: readonly string[]): void {
  const reasons = files.flatMap((file) => lintSource(module, file, readFileSync(path.join(root, file), "utf8")));
  if (reasons.length > 0) throw new BuildFailure(...reasons);
}

/** What is wrong with one file. */
export function lintSource(module: ImageModule, file: string, source: string): string[] {
  const text = blankCommentsAndStrings(source);
  const reasons: string[] = [];
  const report = (offset: number, what: string): void => {
    const before = text.slice(0, offset).split("\n");
    reasons.push(`${file}:${before.length}:${before[before.length - 1].length + 1}: ${what}`);
  };
  if (!module.rawMemoryFolders.some((folder) => file.startsWith(folder))) {
    const owners = unmanagedClassBodies(text);
    for (const match of text.matchAll(RAW_ACCESS)) {
      if (owners.some(([start, end]) => match.index >= start && match.index < end)) continue;
      report(match.index, `raw access to memory (${match[0].split(/[<(]/)[0]}) outside an @unmanaged class`);
    }
  }
  for (const match of text.matchAll(/\bmemory\.data\b/g)) report(match.index, "memory.data makes a writable variable");
  if (!doorsOf(module).includes(file)) {
    for (const match of text.matchAll(/\bdeclare\s+function\s+\w+/g)) {
      report(match.index, `only ${doorsOf(module).join(" and ")} declares primitives`);
    }
  }
  return reasons;
}

/** Start and end offsets of the bodies of classes decorated with `@unmanaged`. */
function unmanagedClassBodies(text: string): [number, number][] {
  const bodies: [number, number][] = [];
  for (const match of text.matchAll(/@unmanaged\b[^{}]*?\bclass\b[^{]*\{/g)) {
    const start = match.index + match[0].length;
    let depth = 1;
    let end = start;
    for (; end < text.length && depth > 0; end++) {
      if (text[end] === "{") depth++;
      else if (text[end] === "}") depth--;
    }
    bodies.push([start, end]);
  }
  return bodies;
}

/** The same text with the content of comments and literals blanked, so that offsets stay. */
function blankCommentsAndStrings(source: string): string {
  return source.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g,
    (match) => match.replace(/[^\n]/g, " "),
  );
}
