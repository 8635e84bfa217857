import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Colours } from "../terminal.ts";
import { number } from "./table.ts";
import type { Measurement } from "./run.ts";

/** Where the instructions of a measurement are executed: by function of the hypervisor. What was inlined counts for its caller. */

export interface FunctionCost {
  name: string;
  instructions: number;
}

interface Symbol {
  address: number;
  name: string;
}

/** Functions of an ELF by address. `compiler` is the path of the gcc whose nm is used. */
export async function readSymbols(compiler: string, elf: string): Promise<Symbol[]> {
  const { stdout } = await promisify(execFile)(compiler.replace(/gcc$/, "nm"), ["-n", elf], { maxBuffer: 64 << 20 });
  return [...stdout.matchAll(/^([0-9a-f]+) [tT] (\S+)$/gm)].map(([, address, name]) => ({
    address: parseInt(address, 16),
    name,
  }));
}

/** Instructions of one operation (divided by `per`), by function, the costliest first. */
export function costs(measurement: Measurement, symbols: Symbol[], per: number): FunctionCost[] {
  const sums = new Map<string, number>();
  const addresses = [...measurement.instructions.keys()].sort((a, b) => a - b);
  let at = 0;
  for (const address of addresses) {
    while (at + 1 < symbols.length && symbols[at + 1].address <= address) at++;
    const name = symbols[at]?.name ?? "?";
    sums.set(name, (sums.get(name) ?? 0) + measurement.instructions.get(address)!);
  }
  return [...sums]
    .map(([name, count]) => ({ name, instructions: count / (measurement.units * per) }))
    .sort((a, b) => b.instructions - a.instructions);
}

/** Lines of the profile. */
export function profileLines(title: string, all: FunctionCost[], colours: Colours): string[] {
  const total = all.reduce((sum, { instructions }) => sum + instructions, 0);
  const lines = all.map(({ name, instructions }) => {
    const share = `${((instructions / total) * 100).toFixed(1)} %`;
    return `  ${number(instructions).padStart(14)} ${share.padStart(7)}  ${name}`;
  });
  return [colours.bold(`${title}: ${number(total)} instructions of the hypervisor`), ...lines];
}
