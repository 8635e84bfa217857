import assert from "node:assert/strict";
import { test } from "node:test";
import path from "node:path";
import { format } from "prettier";

const plugin = path.resolve(import.meta.dirname, "../../../tools/format/assemblyscript-plugin.js");
const prettify = (text: string) => format(text, { parser: "assemblyscript", plugins: [plugin] });

const PRETTY = `// @ts-ignore: decorator
@inline
export function pageOf(hpa: u64): u64 {
  return hpa >> 12;
}

// @ts-ignore: decorator
@lazy @external("env", "limit")
const LIMIT: u64 = 0xffff_ffff;

/** A layout. */
@unmanaged
export class Page {
  state: u64;

  // @ts-ignore: decorator
  @inline
  get owner(): u64 {
    return this.state >> 4;
  }
}
`;

test("decorators of functions, variables, classes and members survive formatting", async () => {
  assert.equal(await prettify(PRETTY), PRETTY);
});

test("what stands around a decorator is formatted", async () => {
  const ugly = `@inline\nexport function  one( a:u32 ):u32 { return a }\n`;
  assert.equal(await prettify(ugly), `@inline\nexport function one(a: u32): u32 {\n  return a;\n}\n`);
});
