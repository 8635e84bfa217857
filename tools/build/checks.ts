import { readFileSync } from "node:fs";
import path from "node:path";
import { BuildFailure } from "./failure.ts";
import { doorsOf, headersOf, type ImageModule } from "./modules.ts";
import type { WasmInfo } from "./wasm-module.ts";

/** Checks on the compiled module. Each failure names the TypeScript function it is about. */

/** "hypervisor/vm/vcpu/Vcpu#enter" -> "hypervisor/vm/vcpu.ts:Vcpu#enter", by the longest file name that fits. */
export function typeScriptName(wasmName: string, files: readonly string[]): string {
  const parts = wasmName.split("/");
  const known = new Set(files);
  for (let length = parts.length - 1; length > 0; length--) {
    const file = parts.slice(0, length).join("/") + ".ts";
    if (known.has(file) || (wasmName.startsWith("~lib/") && length === parts.length - 1)) {
      return `${file}:${parts.slice(length).join("/")}`;
    }
  }
  return wasmName;
}

interface CallGraph {
  calls: Map<string, Set<string>>;
  /** Functions in the table: each of them may be the target of an indirect call. */
  table: Set<string>;
  indirect: Set<string>;
}

/** Who calls whom, from the text of a module. */
export function readCallGraph(text: string): CallGraph {
  const calls = new Map<string, Set<string>>();
  const table = new Set<string>();
  const indirect = new Set<string>();
  let current = "";
  const unquote = (name: string): string => name.replace(/^"|"$/g, "");
  for (const line of text.split("\n")) {
    const head = /^ \(func \$("[^"]*"|[^\s()]+)/.exec(line);
    if (head) {
      current = unquote(head[1]);
      calls.set(current, new Set());
      continue;
    }
    if (line.startsWith(" (elem ")) {
      for (const name of line.matchAll(/\$("[^"]*"|[^\s()]+)/g)) table.add(unquote(name[1]));
    } else if (current) {
      const call = /\b(?:return_)?call \$("[^"]*"|[^\s()]+)/.exec(line);
      if (call) calls.get(current)!.add(unquote(call[1]));
      else if (/\b(?:return_)?call_indirect\b/.test(line)) indirect.add(current);
    }
  }
  for (const caller of indirect) for (const name of table) calls.get(caller)?.add(name);
  return { calls, table, indirect };
}

/** Refuses recursion: the depth of the stack must be known. */
export function refuseRecursion(graph: CallGraph, files: readonly string[]): void {
  const state = new Map<string, "open" | "done">();
  const stack: string[] = [];
  const visit = (name: string): void => {
    if (state.get(name) === "done") return;
    if (state.get(name) === "open") {
      const cycle = [...stack.slice(stack.indexOf(name)), name].map((each) => typeScriptName(each, files));
      throw new BuildFailure(`recursion: ${cycle.join(" -> ")}`);
    }
    state.set(name, "open");
    stack.push(name);
    for (const callee of graph.calls.get(name) ?? []) visit(callee);
    stack.pop();
    state.set(name, "done");
  };
  for (const name of graph.calls.keys()) visit(name);
}

const RUNTIME = "~lib/rt/";

/** Refuses managed memory: nothing of the runtime may be reachable. */
export function refuseAllocation(graph: CallGraph, files: readonly string[]): void {
  const reasons: string[] = [];
  for (const [caller, callees] of graph.calls) {
    if (caller.startsWith(RUNTIME)) continue;
    for (const callee of callees) {
      if (!callee.startsWith(RUNTIME)) continue;
      const what = callee.slice(callee.lastIndexOf("/") + 1);
      reasons.push(`${typeScriptName(caller, files)}: managed memory (${what}): use records over memory we own`);
    }
  }
  if (reasons.length > 0) throw new BuildFailure(...reasons);
}

/** Refuses mutable globals (state lies in records), with the files that write them. */
export function refuseMutableGlobals(info: WasmInfo, text: string, files: readonly string[]): void {
  if (info.mutableGlobals === 0) return;
  const reasons = [...text.matchAll(/^ \(global \$("[^"]*"|[^\s()]+) \(mut/gm)].map(
    (match) => `${typeScriptName(match[1].replace(/^"|"$/g, ""), files)}: mutable global: keep state in a record`,
  );
  throw new BuildFailure(...reasons);
}

/** The exports must be what the machine layer calls; the imports must be declared and implemented. */
export function checkInterface(info: WasmInfo, module: ImageModule, root: string, machineFolder: string): void {
  const reasons: string[] = [];
  const found = new Map(info.exports.map(({ name, signature }) => [name, signature]));
  for (const [name, signature] of Object.entries(module.exports)) {
    const actual = found.get(name);
    if (actual === undefined) reasons.push(`${module.entry}: has to export ${name}: ${signature}`);
    else if (actual !== signature) reasons.push(`${module.entry}: export ${name} is ${actual}, expected ${signature}`);
    found.delete(name);
  }
  for (const name of found.keys())
    reasons.push(`${module.entry}: export ${name} is not part of the machine layer's interface`);
  const headers = headersOf(module);
  const declared = new Map(
    doorsOf(module).flatMap((door) => [...declaredPrimitives(readFileSync(path.join(root, door), "utf8"))]),
  );
  const implemented = implementedPrimitives(machineFolder, ["door.h", ...headers]);
  const own = implementedPrimitives(machineFolder, headers);
  for (const [name, signature] of declared) {
    const actual = implemented.get(name);
    if (actual === undefined) reasons.push(`${module.door}: ${name} has no implementation in ${headers.join(", ")}`);
    else if (actual !== signature) reasons.push(`${module.door}: ${name} is ${signature}, its C is ${actual}`);
  }
  for (const name of own.keys()) {
    if (!declared.has(name)) reasons.push(`${headers.join(", ")}: ${name} is not declared in ${module.door}`);
  }
  for (const { module: from, name, signature } of info.imports) {
    if (from === "env" && name === "abort") continue;
    if (from !== "hw" || declared.get(name) !== signature)
      reasons.push(`import ${from}.${name} ${signature} is unknown`);
  }
  if (reasons.length > 0) throw new BuildFailure(...reasons);
}

const WASM_TYPES: Record<string, string> = {
  bool: "u32",
  u8: "u32",
  i8: "u32",
  u16: "u32",
  i16: "u32",
  u32: "u32",
  i32: "u32",
  void: "void",
};

/** Signatures of the functions that a file declares. */
export function declaredPrimitives(source: string): Map<string, string> {
  const found = new Map<string, string>();
  const toWasm = (type: string): string => WASM_TYPES[type.trim()] ?? "u64";
  for (const [, name, parameters, result] of source.matchAll(/export declare function (\w+)\(([^)]*)\): (\w+);/g)) {
    const list = parameters
      .split(",")
      .filter((parameter) => parameter.trim() !== "")
      .map((parameter) => toWasm(parameter.split(":")[1]));
    found.set(name, `(${list.join(", ")}) => ${toWasm(result)}`);
  }
  return found;
}

/** Signatures of `door TYPE hw_name(...)` in headers, also where a DEFINE_ macro names it. */
function implementedPrimitives(folder: string, headers: string[]): Map<string, string> {
  const found = new Map<string, string>();
  const toWasm = (type: string): string => type.trim().replace(/^s(?=\d)/, "u");
  const add = (result: string, name: string, parameters: string): void => {
    const list = parameters === "void" ? [] : parameters.split(",").map((each) => toWasm(each.trim().split(" ")[0]));
    found.set(name, `(${list.join(", ")}) => ${toWasm(result)}`);
  };
  for (const header of headers) {
    const source = readFileSync(path.join(folder, header), "utf8");
    for (const [, result, name, parameters] of source.matchAll(/^door (\w+) hw_(\w+)\(([^)]*)\)/gm)) {
      add(result, name, parameters);
    }
    const uses = source.replace(/^#define .*/gm, "").matchAll(/\b(DEFINE_\w+)\(((?:[^()]|\([^()]*\))*)\)/g);
    for (const [, macro, values] of uses) {
      expandMacro(
        source,
        macro,
        values.split(",").map((value) => value.trim()),
        add,
      );
    }
  }
  return found;
}

/** Adds the functions that one use of a function-defining macro makes. */
function expandMacro(
  source: string,
  macro: string,
  values: string[],
  add: (result: string, name: string, parameters: string) => void,
): void {
  const definition = new RegExp(`^#define ${macro}\\(([^)]*)\\)((?:.*\\\\\\n)*.*)`, "m").exec(source);
  if (!definition) return;
  const parameters = definition[1].split(",").map((parameter) => parameter.trim());
  const body = definition[2].replace(/\b\w+\b/g, (word) => {
    const index = parameters.indexOf(word);
    return index < 0 ? word : values[index];
  });
  for (const [, result, name, list] of body.matchAll(/door (\w+) hw_(\w+)\(([^)]*)\)/g)) add(result, name, list);
}
