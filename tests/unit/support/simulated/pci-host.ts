import { Checker } from "../../../../machine/simulated/checker.ts";
import { writeDeviceTree, type TreeNode } from "../../../../machine/simulated/device-tree-blob.ts";
import { machineTree } from "../../../../machine/simulated/device-tree-builder.ts";
import { GuestDriver } from "../../../../machine/simulated/guest-driver.ts";
import type { MachineOptions } from "../../../../machine/simulated/machine-options.ts";
import { Machine, type MachineSetup } from "../../../../machine/simulated/machine.ts";
import { ECAM_BASE } from "../../../../machine/simulated/pci.ts";

/** Where a register of a function of the first segment is, for the host. */
export const configAddress = (bus: number, devfn: number, offset: number): number =>
  ECAM_BASE + (bus << 20) + (devfn << 12) + offset;

/** A host on configuration space. */
export class PciHostDriver extends GuestDriver {
  read(devfn: number, offset: number, width: 1 | 2 | 4 | 8 = 4, bus = 0): number {
    return Number(this.load(configAddress(bus, devfn, offset), width));
  }

  write(devfn: number, offset: number, value: number, width: 1 | 2 | 4 = 4, bus = 0): void {
    this.store(configAddress(bus, devfn, offset), width, BigInt.asUintN(32, BigInt(value)));
  }
}

/** A machine that has booted, checked from here on, and its host. */
export async function bootPci(setup: MachineSetup): Promise<{ machine: Machine; host: PciHostDriver }> {
  const machine = await Machine.create(setup);
  machine.boot();
  Checker.attach(machine);
  return { machine, host: new PciHostDriver(machine, machine.options.bootHart) };
}

/** The nodes of a machine's tree that tests about devices change. */
export interface DeviceNodes {
  root: TreeNode;
  soc: TreeNode;
  /** Host bridges. */
  bridges: TreeNode[];
}

/** The device tree of a machine with these options, changed. */
export async function changedTree(
  options: Partial<MachineOptions>,
  change: (nodes: DeviceNodes) => void,
): Promise<Uint8Array> {
  const { options: all, imsic, bridges, iommu } = await Machine.create({ options });
  const root = machineTree(all, imsic, bridges, iommu);
  const soc = root.children.find(({ name }) => name === "soc")!;
  change({ root, soc, bridges: soc.children.filter(({ name }) => name.startsWith("pci@")) });
  return writeDeviceTree(root, all.bootHart);
}
