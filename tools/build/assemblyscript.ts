import { readFileSync, readdirSync, existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { BuildFailure } from "./failure.ts";

/**
 * AssemblyScript as a library, with a 64-bit memory.
 *
 * The command line of AssemblyScript 0.28.20 only knows wasm32, and its 64-bit target has three gaps. Each gap that our
 * dialect meets is closed here by one override, and each override has a test in tests/unit/toolchain.test.ts:
 *
 * - the memory is declared 32-bit: `_BinaryenSetMemory` is called with is64 = true;
 * - a condition on a pointer is not compared with zero: `if`, `select`, `br` and `i32.eqz` take an i64 operand as it is;
 * - the runtime grows memory with 32-bit values: `rt/no-allocation.ts` takes the runtime's place.
 */

/** What the overrides and the checks use of Binaryen's low-level interface. */
interface BinaryenLowLevel {
  _BinaryenSetMemory(...args: unknown[]): void;
  _BinaryenGetNumGlobals(module: number): number;
  _BinaryenGetGlobalByIndex(module: number, index: number): number;
  _BinaryenGlobalIsMutable(global: number): number;
  _BinaryenGlobalGetName(global: number): number;
  _BinaryenSetDebugInfo(on: boolean): void;
}

interface Range {
  start: number;
  end: number;
  source: Source;
}

interface Source {
  normalizedPath: string;
  lineAt(position: number): number;
  columnAt(): number;
}

interface Diagnostic {
  code: number;
  category: number;
  message: string;
  range: Range | null;
}

/** The part of AssemblyScript's `Module` that we use. */
export interface WasmModule {
  ref: number;
  binary(op: number, left: number, right: number): number;
  i64(low: number, high?: number): number;
  runPasses(passes: string[]): void;
  optimize(optimizeLevel: number, shrinkLevel: number, debugInfo: boolean): void;
  validate(): boolean;
  toText(): string;
  toBinary(sourceMapUrl: string | null): { output: Uint8Array };
  setDebugInfo(on: boolean): void;
  dispose(): void;
}

interface AssemblyScript {
  Module: { prototype: Record<string, (...args: never[]) => number> };
  newOptions(): unknown;
  setTarget(options: unknown, target: number): void;
  setFeature(options: unknown, feature: number, on: boolean): void;
  setRuntime(options: unknown, runtime: number): void;
  setMemoryBase(options: unknown, base: number): void;
  setImportMemory(options: unknown, on: boolean): void;
  setExportMemory(options: unknown, on: boolean): void;
  setDebugInfo(options: unknown, on: boolean): void;
  setOptimizeLevelHints(options: unknown, optimizeLevel: number, shrinkLevel: number): void;
  setPedantic(options: unknown, on: boolean): void;
  newProgram(options: unknown): unknown;
  parse(program: unknown, text: string | null, path: string, isEntry: boolean): void;
  nextFile(program: unknown): string | null;
  getDependee(program: unknown, file: string): string | null;
  initializeProgram(program: unknown): void;
  compile(program: unknown): WasmModule;
  nextDiagnostic(program: unknown): Diagnostic | null;
  isError(diagnostic: Diagnostic): boolean;
  isWarning(diagnostic: Diagnostic): boolean;
  getExpressionType: (expression: number) => number;
  FEATURE_MEMORY64: number;
  BinaryOp: Record<string, number>;
  UnaryOp: Record<string, number>;
  TypeRef: Record<string, number>;
}

const TARGET_WASM64 = 2;
const RUNTIME_STUB = 0;
const IS64_ARGUMENT = 11;

const requireFromHere = createRequire(import.meta.url);

/** Folder of the npm package `assemblyscript`. */
export const assemblyScriptFolder = path.dirname(requireFromHere.resolve("assemblyscript/package.json"));

/** Both libraries, with the overrides in place. */
async function loadCompiler(): Promise<{ assemblyScript: AssemblyScript; binaryen: BinaryenLowLevel }> {
  const binaryen = (await import("assemblyscript/binaryen")).default as unknown as BinaryenLowLevel;
  const setMemory = binaryen._BinaryenSetMemory.bind(binaryen);
  binaryen._BinaryenSetMemory = (...args: unknown[]) => {
    args[IS64_ARGUMENT] = true;
    setMemory(...args);
  };
  const assemblyScript = (await import("assemblyscript")) as unknown as AssemblyScript;
  overrideConditions(assemblyScript);
  return { assemblyScript, binaryen };
}

/** Makes `if`, `select`, `br` and `i32.eqz` compare a 64-bit condition (a pointer) with zero. */
function overrideConditions(assemblyScript: AssemblyScript): void {
  const { BinaryOp, UnaryOp, TypeRef, getExpressionType } = assemblyScript;
  type Method = (this: WasmModule, ...args: number[]) => number;
  const prototype = assemblyScript.Module.prototype as unknown as Record<string, Method>;
  const asCondition = (module: WasmModule, condition: number): number =>
    condition !== 0 && getExpressionType(condition) === TypeRef.I64
      ? module.binary(BinaryOp.NeI64, condition, module.i64(0, 0))
      : condition;
  const wrapArgument = (name: string, index: number): void => {
    const original = prototype[name];
    prototype[name] = function (...args: number[]): number {
      if (index < args.length) args[index] = asCondition(this, args[index]);
      return original.apply(this, args);
    };
  };
  wrapArgument("if", 0);
  wrapArgument("select", 2);
  wrapArgument("br", 1);
  const { unary } = prototype;
  prototype.unary = function (op: number, value: number): number {
    const wide = op === UnaryOp.EqzI32 && getExpressionType(value) === TypeRef.I64;
    return unary.call(this, wide ? UnaryOp.EqzI64 : op, value);
  };
}

let loaded: ReturnType<typeof loadCompiler> | undefined;

/** A module of TypeScript that was compiled, not yet optimised. */
export interface CompiledModule {
  module: WasmModule;
  binaryen: BinaryenLowLevel;
  /** Every project file that is part of it, relative to the root, sorted. */
  files: string[];
}

export interface CompileOptions {
  /** Folder that file names are relative to. */
  root: string;
  /** Entry file, relative to `root`. */
  entry: string;
  /** Machine address of the first byte of static data. */
  memoryBase: number;
  /** Reports a warning. */
  log: (line: string) => void;
}

/**
 * Compiles the module with the entry file `entry` to 64-bit wasm, in which addresses are machine addresses.
 *
 * @throws BuildFailure with one line per AssemblyScript error, as file:line:column
 */
export async function compileTypeScript(options: CompileOptions): Promise<CompiledModule> {
  loaded ??= loadCompiler();
  const { assemblyScript, binaryen } = await loaded;
  const settings = assemblyScript.newOptions();
  assemblyScript.setTarget(settings, TARGET_WASM64);
  assemblyScript.setFeature(settings, assemblyScript.FEATURE_MEMORY64, true);
  assemblyScript.setRuntime(settings, RUNTIME_STUB);
  assemblyScript.setMemoryBase(settings, options.memoryBase);
  assemblyScript.setImportMemory(settings, true);
  assemblyScript.setExportMemory(settings, false);
  assemblyScript.setDebugInfo(settings, true);
  assemblyScript.setOptimizeLevelHints(settings, 3, 0);
  const program = assemblyScript.newProgram(settings);

  for (const { name, text } of standardLibrary()) assemblyScript.parse(program, text, name, false);
  const runtime = path.join(import.meta.dirname, "rt", "no-allocation.ts");
  assemblyScript.parse(program, readFileSync(runtime, "utf8"), "~lib/rt/index-stub.ts", false);

  const files: string[] = [];
  const parseFile = (name: string, isEntry: boolean): boolean => {
    const file = path.join(options.root, name);
    if (!existsSync(file) || !statSync(file).isFile()) return false;
    files.push(name);
    assemblyScript.parse(program, readFileSync(file, "utf8"), name, isEntry);
    return true;
  };
  if (!parseFile(options.entry, true)) throw new BuildFailure(`${options.entry}: no such file`);
  for (let wanted = assemblyScript.nextFile(program); wanted !== null; wanted = assemblyScript.nextFile(program)) {
    if (wanted.startsWith("~lib/")) {
      const file = path.join(assemblyScriptFolder, "std", "assembly", wanted.slice(5) + ".ts");
      assemblyScript.parse(program, existsSync(file) ? readFileSync(file, "utf8") : null, wanted + ".ts", false);
    } else if (!parseFile(wanted + ".ts", false) && !parseFile(wanted + "/index.ts", false)) {
      assemblyScript.parse(program, null, wanted + ".ts", false);
    }
  }
  report(assemblyScript, program, options);
  assemblyScript.initializeProgram(program);
  report(assemblyScript, program, options);
  let module: WasmModule;
  try {
    module = assemblyScript.compile(program);
  } catch (error) {
    report(assemblyScript, program, options);
    throw error;
  }
  report(assemblyScript, program, options);
  return { module, binaryen, files: files.sort() };
}

/** The top-level files of AssemblyScript's standard library, as `~lib/name.ts`. */
let libraryFiles: { name: string; text: string }[] | undefined;
function standardLibrary(): { name: string; text: string }[] {
  if (libraryFiles) return libraryFiles;
  const folder = path.join(assemblyScriptFolder, "std", "assembly");
  libraryFiles = readdirSync(folder)
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
    .sort()
    .map((name) => ({ name: "~lib/" + name, text: readFileSync(path.join(folder, name), "utf8") }));
  return libraryFiles;
}

/** Drains the diagnostics: warnings are logged, errors end the build. */
function report(assemblyScript: AssemblyScript, program: unknown, options: CompileOptions): void {
  const errors: string[] = [];
  for (let next = assemblyScript.nextDiagnostic(program); next; next = assemblyScript.nextDiagnostic(program)) {
    const line = describe(next);
    if (assemblyScript.isError(next)) errors.push(line);
    else if (assemblyScript.isWarning(next)) options.log(line);
  }
  if (errors.length > 0) throw new BuildFailure(...errors);
}

function describe(diagnostic: Diagnostic): string {
  const { range } = diagnostic;
  const text = `TS${diagnostic.code}: ${diagnostic.message}`;
  if (!range) return text;
  const line = range.source.lineAt(range.start);
  return `${range.source.normalizedPath}:${line}:${range.source.columnAt()}: ${text}`;
}
