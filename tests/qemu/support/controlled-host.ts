import { readFileSync, statSync, writeFileSync } from "node:fs";
import { buildHypervisorOnly, type Flavour } from "../../../tools/artifacts.ts";
import { buildWorkload } from "../../../tools/build/index.ts";
import type { Boot } from "../../../tools/qemu/machine.ts";
import type { LiveMachine } from "./live-machine.ts";

/** The host of workloads/controlled-host, built, and the test's side of its commands. */

export const flavour: Flavour = process.env["SALUS_FLAVOUR"] === "debug" ? "debug" : "release";

/** What a machine with the controlled host boots. */
export async function buildControlledHost(): Promise<Required<Pick<Boot, "hypervisor" | "hostImage">>> {
  const hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });
  const { bin } = await buildWorkload("controlled-host", { flavour, log: () => {} });
  return { hypervisor, hostImage: { file: bin, bytes: statSync(bin).size } };
}

/** Writes the host's image with `padding` behind it, and returns where in the image that begins. */
export function padImage(image: string, padding: Uint8Array, output: string): number {
  const content = readFileSync(image);
  writeFileSync(output, Buffer.concat([content, padding]));
  return content.length;
}

/** Waits until the host takes commands, and returns what it said of its machine. */
export async function hostReady(machine: LiveMachine): Promise<Map<string, string>> {
  const facts = new Map<string, string>();
  for (;;) {
    const [, name, value] = await machine.line(/^host: (\w+)(?: (.*))?$/);
    if (name === "ready") return facts;
    facts.set(name, value ?? "");
  }
}

/** Gives the host a command; numbers are sent as it reads them. */
export function command(machine: LiveMachine, name: string, ...numbers: (number | bigint | string)[]): void {
  machine.type([name, ...numbers.map((number) => number.toString(16))].join(" ") + "\n");
}

/** The checksum of the host's `sum` command, as it prints it. */
export function checksumOfWords(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 4) sum = (Math.imul(sum, 31) + view.getUint32(at, true)) >>> 0;
  return "0x" + sum.toString(16);
}

/** The checksum of its `read` command. */
export function checksumOfBytes(bytes: Uint8Array): string {
  return "0x" + bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0).toString(16);
}
