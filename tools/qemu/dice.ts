import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Failure } from "../failure.ts";
import { addHandoverNode, makeDevice, makeHandover, makeMaker, pem, sha512, type Handover } from "../dice/index.ts";
import { platformImage } from "../../verifier/measurement.ts";
import { qemuArguments, type Boot, type Machine } from "./machine.ts";

/** Boots a machine with a DICE handover, in place of a boot loader that measures the hypervisor. */

/** Where the handover lies: below every place of a host image, in every machine's RAM. */
export const HANDOVER_ADDRESS = 0x83ff_e000;
const HANDOVER_BYTES = 0x2000;
const HANDOVER_FILE = "handover.cbor";

export interface ProvisionedDevice {
  handover: Handover;
  /** PEM file of the maker's certificate, for `salus verify --root`. */
  root: string;
  /** Where the files for QEMU are. */
  folder: string;
}

/** A new device of a new maker, with its handover to the hypervisor in the ELF `hypervisor`; the files are written to `folder`. */
export function provisionDevice(hypervisor: string, folder: string): ProvisionedDevice {
  const maker = makeMaker();
  const handover = makeHandover(makeDevice(maker), sha512(platformImage(readFileSync(hypervisor))));
  if (handover.bytes.length > HANDOVER_BYTES) throw new Failure("the DICE handover is longer than its place");
  mkdirSync(folder, { recursive: true });
  const root = path.join(folder, "root.pem");
  writeFileSync(path.join(folder, HANDOVER_FILE), handover.bytes, { mode: 0o600 });
  writeFileSync(root, pem(maker.certificate));
  return { handover, root, folder };
}

/**
 * Arguments of qemu-system-riscv64 for `machine` with the handover of `device` in its memory.
 *
 * @throws Failure if QEMU does not say what the machine is
 */
export async function addHandover(
  qemu: string,
  machine: Machine,
  boot: Boot & { hypervisor: string },
  { folder }: ProvisionedDevice,
): Promise<string[]> {
  const plain: Boot = { hypervisor: boot.hypervisor };
  if (boot.arguments !== undefined) plain.arguments = boot.arguments;
  const file = (name: string): string => path.join(folder, name);
  // Host image and IOMMU add their nodes themselves, to a tree that is given too.
  await dumpDeviceTree(qemu, qemuArguments({ ...machine, iommu: false }, plain), file("machine.dtb"));
  writeFileSync(file("dice.dtb"), addHandoverNode(readFileSync(file("machine.dtb")), HANDOVER_ADDRESS, HANDOVER_BYTES));
  const quoted = file(HANDOVER_FILE).replaceAll(",", ",,");
  const loader = `loader,file=${quoted},addr=0x${HANDOVER_ADDRESS.toString(16)},force-raw=on`;
  return [...qemuArguments(machine, boot), "-dtb", file("dice.dtb"), "-device", loader];
}

/** QEMU writes the machine's tree, and ends without starting it. */
async function dumpDeviceTree(qemu: string, args: string[], output: string): Promise<void> {
  const place = args.indexOf("-M") + 1;
  const dumping = args.with(place, `${args[place]},dumpdtb=${output.replaceAll(",", ",,")}`);
  try {
    await promisify(execFile)(qemu, dumping, { timeout: 60_000 });
  } catch (error) {
    throw new Failure(`QEMU does not write the machine's device tree: ${(error as Error).message}`);
  }
}
