import { BuildFailure } from "./failure.ts";
import type { WasmInfo } from "./wasm-module.ts";

/**
 * Turns what wasm2c prints into the C that we compile.
 *
 * wasm2c writes a module that can be instantiated many times, with a prelude of its own. Ours exists once: the prelude
 * and the instantiation are dropped, so is the instance argument of every function; tables become constants and static
 * data goes to the linker (image.ts). What is left are the prototypes, the functions and one wrapper for each export.
 */

export interface CSource {
  text: string;
  /** C name of a function -> its name in wasm, as "hypervisor/memory/fence/initiateFence". */
  names: Map<string, string>;
  /** C names of the functions in the table. */
  indirectTargets: string[];
}

const PREFIX = "w2c_module_";
/** The module name that wasm2c has to be given. */
export const MODULE_NAME = "module";

/** @throws BuildFailure if the module uses what the machine layer has no C for (floats, several tables, ...) */
export function toCSource(
  wasm2cOutput: string,
  info: WasmInfo,
  headers: string[],
  isRare: (name: string) => boolean = () => false,
): CSource {
  const lines = wasm2cOutput.split("\n");
  const prototypes: string[] = [];
  const names = new Map<string, string>();
  const typeNumbers: string[] = [];
  const functions: string[] = [];
  let index = info.importedFunctions;
  const start = lines.findIndex(
    (line) => line.startsWith(`static `) && line.includes(`${PREFIX}`) && line.endsWith(";"),
  );
  for (let i = start; i < lines.length; i++) {
    const line = lines[i];
    const prototype = new RegExp(`^static .*?\\b(${PREFIX}\\w+)\\(${PREFIX.slice(0, -1)}\\*.*\\);$`).exec(line);
    if (prototype) {
      const name = info.functionNames[index++] ?? prototype[1];
      names.set(prototype[1], name);
      // gcc makes such functions small instead of fast.
      prototypes.push(isRare(name) ? line.replace(/^static /, "static __attribute__((cold)) ") : line);
    } else if (line.startsWith("FUNC_TYPE_T(")) {
      typeNumbers.push(/\((\w+)\)/.exec(line)![1]);
    } else {
      const definition = new RegExp(`^\\w[\\w ]*?\\b(${PREFIX}\\w+)\\(${PREFIX.slice(0, -1)}\\* instance`).exec(line);
      if (!definition) continue;
      const end = lines.indexOf("}", i);
      if (names.has(definition[1])) functions.push("static " + lines.slice(i, end + 1).join("\n"));
      i = end;
    }
  }
  const { ownNames, wrappers } = exportedFunctions(lines, names);
  const body = [...prototypes, tables(lines, typeNumbers), ...functions, ...wrappers].join("\n");
  const text = giveExportNames(dropInstance(body), ownNames);
  refuseLeftovers(text, names);
  const indirectTargets = [...wasm2cOutput.matchAll(/\{RefFunc, \w+, \(wasm_rt_function_ptr_t\)wrap_(\w+),/g)].map(
    ([, name]) => ownNames.get(name) ?? name,
  );
  const includes = ["wasm-rt.h", ...headers].map((header) => `#include "${header}"`);
  const accesses = new Set(text.match(/\bi(?:32|64)_(?:load|store)(?:8|16|32)?(?:_[su])?\b/g));
  const types = typeNumbers.map((name, number) => `#define ${name} ${number + 1}`);
  const declarations = info.exports.map(({ name, signature }) => cPrototype(name, signature));
  return {
    text: [...includes, ...[...accesses].map(accessFunction), ...declarations, ...types, text, ""].join("\n"),
    names,
    indirectTargets,
  };
}

/**
 * A wasm load or store as an access of naturally aligned data. Records overlay each other, so the accessed type may alias
 * every other one.
 */
function accessFunction(name: string): string {
  const [, result, kind, narrow, sign] = /^i(32|64)_(load|store)(8|16|32)?(?:_([su]))?$/.exec(name)!;
  const signed = sign === "s" ? "s" : "u";
  const overlay = `typedef ${signed}${narrow ?? result} __attribute__((may_alias)) overlay`;
  return kind === "load"
    ? `static inline u${result} ${name}(u64 at) { ${overlay}; return (${signed}${result})*(const overlay*)at; }`
    : `static inline void ${name}(u64 at, u${result} value) { ${overlay}; *(overlay*)at = (overlay)value; }`;
}

/** C prototype of an exported function. */
export function cPrototype(name: string, signature: string): string {
  const [parameters, result] = signature.split(" => ");
  return `${result} ${name}${parameters === "()" ? "(void)" : parameters};`;
}

/** Removes the instance argument everywhere, and renames the door's functions to those of hw.h. */
function dropInstance(text: string): string {
  return text
    .replace(/^#if WASM_RT_USE_SEGUE[\s\S]*?^#endif\n/gm, "")
    .replaceAll(`${PREFIX.slice(0, -1)}* instance, `, "")
    .replaceAll(`(${PREFIX.slice(0, -1)}* instance)`, "(void)")
    .replaceAll(`${PREFIX.slice(0, -1)}*, `, "")
    .replaceAll(`(${PREFIX.slice(0, -1)}*)`, "(void)")
    .replace(/instance->w2c_env_memory, /g, "")
    .replace(/instance->w2c_(hw|env)_instance(, )?/g, "")
    .replace(/,? ?instance->w2c_\w+\.data\[\w+\]\.module_instance/g, "")
    .replace(/\(\*\)\(void\*, /g, "(*)(")
    .replace(/\(\*\)\(void\*\)/g, "(*)(void)")
    .replace(/\binstance->(w2c_\w+)/g, "$1")
    .replace(/\(instance, /g, "(")
    .replace(/\(instance\)/g, "()")
    .replace(/\bw2c_hw_/g, "hw_")
    .replace(/\bw2c_env_abort\b/g, "env_abort");
}

/**
 * Exports are called by assembly under their own names. The exported function takes that name; if it is exported twice
 * (Binaryen merges equal functions), the second name becomes a wrapper.
 */
function exportedFunctions(
  lines: string[],
  names: Map<string, string>,
): { ownNames: Map<string, string>; wrappers: string[] } {
  const ownNames = new Map<string, string>();
  const wrappers: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const mark = /^\/\* export: '(.*)' \*\/$/.exec(lines[i]);
    if (!mark) continue;
    const head = new RegExp(`^(\\w+) ${PREFIX}(\\w+)\\((.*)\\) \\{$`).exec(lines[i + 1] ?? "");
    if (!head) continue;
    const call = lines.slice(i + 2, lines.indexOf("}", i)).find((line) => line.includes("(instance"));
    const callee = new RegExp(`\\b(${PREFIX}\\w+)\\((.*)\\);`).exec(call ?? "");
    if (!callee) continue;
    names.set(mark[1], names.get(callee[1]) ?? mark[1]);
    if (ownNames.has(callee[1])) {
      const result = head[1] === "void" ? "" : "return ";
      wrappers.push(`EXPORTED ${head[1]} ${mark[1]}(${head[3]}) { ${result}${callee[1]}(${callee[2]}); }`);
    } else {
      ownNames.set(callee[1], mark[1]);
    }
  }
  return { ownNames, wrappers };
}

function giveExportNames(text: string, ownNames: Map<string, string>): string {
  return text
    .replace(new RegExp(`^static (?=\\w+ (${PREFIX}\\w+)\\()`, "gm"), (keyword, name: string) =>
      ownNames.has(name) ? "EXPORTED " : keyword,
    )
    .replace(new RegExp(`\\b${PREFIX}\\w+`, "g"), (name) => ownNames.get(name) ?? name);
}

/** The function table as a constant array; type number 0 marks an empty entry. */
function tables(lines: string[], typeNumbers: string[]): string {
  const entries: string[] = [];
  let elements: string[] = [];
  let size = 0;
  let table = "";
  for (const line of lines) {
    const element = /^\s*\{RefFunc, (\w+), \(wasm_rt_function_ptr_t\)wrap_(\w+),/.exec(line);
    if (element) elements.push(`{${element[1]}, (const void*)${element[2]}}`);
    const allocate = /wasm_rt_allocate_funcref_table\(&instance->(\w+), (\d+),/.exec(line);
    if (allocate) {
      if (table) throw new BuildFailure("the module has more than one function table");
      table = allocate[1];
      size = Number(allocate[2]);
    }
    const init = /funcref_table_init\(&instance->\w+, \w+, (\d+), (\d+)u, 0, \d+, instance\)/.exec(line);
    if (init) {
      elements.forEach((entry, offset) => entries.push(`[${Number(init[2]) + offset}] = ${entry}`));
      elements = [];
    }
  }
  if (!table || typeNumbers.length === 0) return "";
  return `static const struct table_entry ${table}[${size || 1}] = {${entries.join(", ")}};`;
}

/** What the rewriting above does not know must not reach gcc under another meaning. */
function refuseLeftovers(text: string, names: Map<string, string>): void {
  let current = "?";
  for (const line of text.split("\n")) {
    const head = /^(?:static|EXPORTED) \w+ (\w+)\(/.exec(line);
    if (head) current = names.get(head[1]) ?? head[1];
    if (/\bf(32|64)\b/.test(line))
      throw new BuildFailure(`${current}: floating point in code without it: ${line.trim()}`);
    if (/\binstance\b/.test(line)) throw new BuildFailure(`${current}: construct without a C form: ${line.trim()}`);
  }
}
