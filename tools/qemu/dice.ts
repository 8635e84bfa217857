import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Failure } from "../failure.ts";
import {
  addHandoverNode,
  makeDevice,
  makeHandover,
  makeMaker,
  pem,
  sha512,
  type Handover,
  type Maker,
} from "../dice/index.ts";
import { platformImage } from "../../verifier/measurement.ts";
import { qemuArguments, type Boot, type Machine } from "./machine.ts";

/** Boots a machine with a DICE handover, in place of a boot loader that measures the hypervisor. */

/** Where the handover lies: below every place of a host image, in every machine's RAM. */
export const HANDOVER_ADDRESS = 0x83ff_e000;
const HANDOVER_BYTES = 0x2000;

export interface DiceMachine {
  arguments: string[];
  /** PEM file of the maker's certificate, for `salus verify --root`. */
  root: string;
  handover: Handover;
  maker: Maker;
}

/**
 * Arguments of qemu-system-riscv64 for `machine` with a handover of a new device to `boot.hypervisor`; the files that it needs are written to `folder`.
 *
 * @throws Failure if QEMU does not say what the machine is
 */
export async function diceArguments(
  qemu: string,
  machine: Machine,
  boot: Boot & { hypervisor: string },
  folder: string,
): Promise<DiceMachine> {
  const maker = makeMaker();
  const handover = makeHandover(makeDevice(maker), sha512(platformImage(readFileSync(boot.hypervisor))));
  if (handover.bytes.length > HANDOVER_BYTES) throw new Failure("the DICE handover is longer than its place");
  mkdirSync(folder, { recursive: true });
  const file = (name: string): string => path.join(folder, name);

  const plain: Boot = { hypervisor: boot.hypervisor };
  if (boot.arguments !== undefined) plain.arguments = boot.arguments;
  // Host image and IOMMU add their nodes themselves, to a tree that is given too.
  await dumpDeviceTree(qemu, qemuArguments({ ...machine, iommu: false }, plain), file("machine.dtb"));
  writeFileSync(file("dice.dtb"), addHandoverNode(readFileSync(file("machine.dtb")), HANDOVER_ADDRESS, HANDOVER_BYTES));
  writeFileSync(file("handover.cbor"), handover.bytes, { mode: 0o600 });
  writeFileSync(file("root.pem"), pem(maker.certificate));
  const quoted = (name: string): string => file(name).replaceAll(",", ",,");
  const extra = [
    "-dtb",
    file("dice.dtb"),
    "-device",
    `loader,file=${quoted("handover.cbor")},addr=0x${HANDOVER_ADDRESS.toString(16)},force-raw=on`,
  ];
  return { arguments: [...qemuArguments(machine, boot), ...extra], root: file("root.pem"), handover, maker };
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
