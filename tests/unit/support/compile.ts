/**
 * Compiles an entry file of the AssemblyScript dialect to a 64-bit wasm module for the unit tests.
 *
 * The memory is imported (module "env", name "memory"), static data starts at STATIC_BASE, and whatever hw primitives the
 * entry uses stay imports of module "hw", which the test supplies (see machine.ts).
 */
import { readFileSync, existsSync, readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Address of the first literal; tests use memory from TEST_BASE on. */
export const STATIC_BASE = 0x1000;

const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const WASM64 = 2;
const STUB_RUNTIME = 0;

type Any = any;
let loaded: Promise<Any> | undefined;

/** AssemblyScript as a library, with the three repairs that its 64-bit target needs. */
function assemblyScript(): Promise<Any> {
  return (loaded ??= load());
}

async function load(): Promise<Any> {
  const { default: binaryen }: Any = await import("binaryen");
  // 1. The memory is declared with 32-bit addresses: argument 11 of BinaryenSetMemory is `memory64`.
  const setMemory = binaryen._BinaryenSetMemory;
  binaryen._BinaryenSetMemory = (...args: Any[]) => {
    args[11] = true;
    return setMemory(...args);
  };
  const as: Any = await import("assemblyscript");
  // 2. Conditions on pointers are not compared with zero.
  const prototype = as.Module.prototype;
  const i64 = as.TypeRef?.I64 ?? 3;
  const NeI64 = binaryen._BinaryenNeInt64();
  const condition = (module: Any, expression: number) =>
    as.getExpressionType(expression) === i64 ? module.binary(NeI64, expression, module.i64(0)) : expression;
  const { if: originalIf, select, br } = prototype;
  prototype.if = function (test: number, ...rest: Any[]) {
    return originalIf.call(this, condition(this, test), ...rest);
  };
  prototype.select = function (whenTrue: number, whenFalse: number, test: number, ...rest: Any[]) {
    return select.call(this, whenTrue, whenFalse, condition(this, test), ...rest);
  };
  prototype.br = function (target: string, test?: number, ...rest: Any[]) {
    return br.call(this, target, test ? condition(this, test) : test, ...rest);
  };
  return as;
}

/** Text of the standard library, by the path that AssemblyScript asks for (`~lib/...`). */
function libraryFiles(): { root: string; files: string[] } {
  const root = join(dirname(fileURLToPath(import.meta.resolve("assemblyscript/package.json"))), "std/assembly");
  const files = readdirSync(root).filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"));
  return { root, files };
}

/** Compiles the file at `entry` (path relative to the repository); throws with AssemblyScript's diagnostics. */
export async function compile(entry: string, optimizeLevel = 2): Promise<Uint8Array> {
  const as = await assemblyScript();
  const options = as.newOptions();
  as.setTarget(options, WASM64);
  as.setFeature(options, as.FEATURE_MEMORY64, true);
  as.setRuntime(options, STUB_RUNTIME);
  as.setMemoryBase(options, STATIC_BASE);
  as.setImportMemory(options, true);
  as.setNoUnsafe?.(options, false);
  as.setOptimizeLevelHints(options, optimizeLevel, 0);
  const program = as.newProgram(options);

  const library = libraryFiles();
  for (const name of library.files) {
    as.parse(program, readFileSync(join(library.root, name), "utf8"), `~lib/${name}`, false);
  }
  as.parse(program, readFileSync(resolve(repository, entry), "utf8"), entry, true);
  for (let path = as.nextFile(program); path != null; path = as.nextFile(program)) {
    const { text, file } = readSource(path, library.root);
    as.parse(program, text, file, false);
  }
  report(as, program);
  as.initializeProgram(program);
  const module = as.compile(program);
  report(as, program);
  module.setOptimizeLevel?.(optimizeLevel);
  if (optimizeLevel > 0) module.optimize(optimizeLevel, 0, false, true);
  if (!module.validate()) throw new Error(`${entry}: the compiled module is not valid`);
  const { output } = module.toBinary(null);
  module.dispose();
  return output;
}

function readSource(path: string, libraryRoot: string): { text: string | null; file: string } {
  if (path.startsWith("~lib/")) {
    for (const name of [`${path}.ts`, `${path}/index.ts`]) {
      const file = join(libraryRoot, name.slice("~lib/".length));
      if (existsSync(file)) return { text: readFileSync(file, "utf8"), file: name };
    }
    return { text: null, file: `${path}.ts` };
  }
  for (const name of [`${path}.ts`, `${path}/index.ts`]) {
    const file = resolve(repository, name);
    if (existsSync(file)) return { text: readFileSync(file, "utf8"), file: relative(repository, file) };
  }
  return { text: null, file: `${path}.ts` };
}

/** Collects the pending diagnostics; throws if one of them is an error. */
function report(as: Any, program: Any): void {
  const messages: string[] = [];
  let failed = false;
  for (let diagnostic = as.nextDiagnostic(program); diagnostic; diagnostic = as.nextDiagnostic(program)) {
    if (as.isError(diagnostic)) failed = true;
    if (as.isError(diagnostic) || as.isWarning(diagnostic)) messages.push(as.formatDiagnostic(diagnostic, false, true));
  }
  if (failed) throw new Error(messages.join("\n\n"));
  if (messages.length > 0) console.warn(messages.join("\n\n"));
}
