/**
 * Compiles parts of the hypervisor to a wasm module of their own for a unit test, with the compiler that builds the real one.
 *
 * The entry is generated: it exports every function of the named files, and a getter and a setter for each named
 * field of their records. The memory is imported (env.memory), primitives of the door stay imports of "hw".
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import path from "node:path";
import { compileTypeScript } from "../../../tools/build/assemblyscript.ts";
import { repository } from "../../../tools/repository.ts";
import { substitute } from "../../../tools/test/substitute.ts";

/** Address of the first static datum; tests lay out memory from TEST_MEMORY on. */
export const STATIC_BASE = 0x1000;
export const TEST_MEMORY = 0x10_0000;

export interface ModuleParts {
  /** Files whose exported functions the module exports, relative to the repository, without ".ts". */
  files: string[];
  /** Fields that the test reads or writes: file -> class -> fields. Exported as get_Class_field and set_Class_field. */
  fields?: Record<string, Record<string, string[]>>;
  /** More lines of the entry. */
  source?: string;
  /** Changes the optimised binary. */
  rewrite?: (binary: Uint8Array) => Uint8Array<ArrayBuffer>;
}

/** Folder that holds hypervisor/, and below it the entries that are made here. */
const sources = substitute.sources ?? repository;
const folder = "build/tests/unit";

/** The optimised module of `parts`. */
export async function compileModule(parts: ModuleParts): Promise<WebAssembly.Module> {
  const up = path.relative(folder, ".");
  const lines = parts.files.map((file) => `export * from "${up}/${file}";`);
  for (const [file, classes] of Object.entries(parts.fields ?? {})) {
    lines.push(`import { ${Object.keys(classes).join(", ")} } from "${up}/${file}";`);
    for (const [name, fields] of Object.entries(classes)) {
      lines.push(`export function size_${name}(): usize { return offsetof<${name}>(); }`);
      for (const field of fields) {
        const record = `changetype<${name}>(record).${field}`;
        lines.push(`export function get_${name}_${field}(record: usize): u64 { return <u64>${record}; }`);
      }
    }
  }
  if (parts.source) lines.push(parts.source);
  const text = lines.join("\n") + "\n";
  const entry = `${folder}/${createHash("sha256").update(text).digest("hex").slice(0, 16)}.ts`;
  mkdirSync(path.join(sources, folder), { recursive: true });
  writeFileSync(path.join(sources, entry), text);

  const warnings: string[] = [];
  const { module } = await compileTypeScript({
    root: sources,
    entry,
    memoryBase: STATIC_BASE,
    log: (line) => warnings.push(line),
  });
  try {
    if (!module.validate()) throw new Error(`${parts.files.join(", ")}: the compiled module is not valid`);
    // A substitute is used once, which is not worth the time; but what looks at the binary looks at what would be shipped.
    if (substitute.sources === undefined || parts.rewrite) module.optimize(2, 0, false);
    const unexpected = warnings.filter((line) => !line.includes("become WebAssembly module exports"));
    if (unexpected.length > 0) throw new Error(unexpected.join("\n"));
    const binary = module.toBinary(null).output;
    return new WebAssembly.Module(parts.rewrite ? parts.rewrite(binary) : binary);
  } finally {
    module.dispose();
  }
}
