/**
 * Compiles parts of the hypervisor whose tested functions touch no machine: every primitive of the door is there for the
 * linker, and fails the test if it is called.
 */
import { compileModule, type ModuleParts } from "../support/module.ts";

export interface PureModule {
  exports: Record<string, any>;
  /** 1 MiB of memory for records, from address 0 on. */
  view: DataView;
}

export async function pureModule(parts: ModuleParts): Promise<PureModule> {
  const memory = new WebAssembly.Memory({ address: "i64", initial: 32n } as never);
  const called = (name: string) => () => {
    throw new Error(`${name} was called: the function under test is not pure`);
  };
  const door = new Proxy({}, { get: (_, name) => called(String(name)) });
  const instance = new WebAssembly.Instance(await compileModule(parts), {
    env: { memory, abort: called("abort") },
    hw: door,
  });
  return { exports: instance.exports, view: new DataView(memory.buffer) };
}
