import { operations } from "../../machine/simulated/guest-script.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";
import type { Machine } from "../../machine/simulated/machine.ts";
import { ECAM_BASE, PCI_WINDOW } from "../../machine/simulated/pci.ts";
import { PciChecker } from "../../machine/simulated/pci-checker.ts";
import { MACHINES } from "../fuzz/machines.ts";
import type { CoveHost } from "../unit/support/simulated/cove-host.ts";
import { PAGE } from "../unit/support/simulated/cove-host.ts";
import { Atst, Eid } from "../unit/support/simulated/sbi.ts";
import { PageScene } from "./page-scene.ts";
import { pick } from "./scene.ts";
import type { Choice, Random } from "./scene.ts";

/**
 * The pages of PageScene, to which devices behind an IOMMU also go; hosts that write to the configuration space of the same functions at the same time; and
 * hosts and TVMs that all ask for evidence, whose keys nobody has derived yet.
 */

const Register = { command: 0x04, bars: 0x10, buses: 0x18, memory: 0x20 } as const;
/** I/O, memory, bus master. */
const ALL_ON = 7;
const COMMANDS = [ALL_ON, ALL_ON, 2, 0];
const MEGABYTE = 0x10_0000;
/** What BARs are told: the window, and RAM, where nothing may ever answer. */
const PLACES = [PCI_WINDOW.base, PCI_WINDOW.base + MEGABYTE, PCI_WINDOW.base + 4 * MEGABYTE, 0x8020_0000];
const ISSUER_CHAIN = 16;
const OUTPUT_BYTES = 2 * PAGE;
/** Of the operations of a host's run, how many ask for evidence: keys are computed for long. */
const EVIDENCE = 30;

export class DeviceScene extends PageScene {
  static override readonly options: Partial<MachineOptions> = {
    ...PageScene.options,
    pci: MACHINES["PCI behind an IOMMU"].pci,
    iommu: MACHINES["PCI behind an IOMMU"].iommu,
  };
  override readonly operations = 40;
  readonly #machine: Machine;
  readonly #ids: number[];
  readonly #output: number;
  #pciChecker: PciChecker;

  constructor(host: CoveHost) {
    super(host);
    this.#machine = host.machine;
    this.#output = host.take(OUTPUT_BYTES / PAGE);
    const own = host.machine.iommu!.options.function;
    const functions = host.machine.pci!.all().filter(({ id }) => id !== own);
    // Those on the root bus: what all harts write to.
    this.#ids = functions.filter(({ id }) => id < 0x100).map(({ id }) => id);
    for (const id of this.#ids) host.store(this.#at(id, Register.command), 2, ALL_ON);
    this.#pciChecker = new PciChecker(host.machine);
  }

  override begin(random: Random): void {
    super.begin(random);
    // Nothing of the last run is known.
    this.#pciChecker = new PciChecker(this.#machine);
  }

  override check(): void {
    this.#pciChecker.check();
  }

  override host(): Choice {
    const { random } = this;
    // Devices go by themselves, whatever the harts are at.
    if (random(2) === 0) this.#deviceGoes();
    const choice = random(EVIDENCE);
    if (choice === 0) return ["getEvidence", this.#evidence()];
    if (choice < 12) return super.host();
    if (choice < 20) return this.useDevices(random(8));
    return ["", this.#configAccess()];
  }

  override tvm(): Operation {
    return this.random(EVIDENCE) === 0 ? this.#evidence() : super.tvm();
  }

  #evidence(): Operation {
    return operations.ecall(Eid.atst, Atst.evidence, 0, 0, 0, ISSUER_CHAIN, this.#output, OUTPUT_BYTES);
  }

  #at(id: number, offset: number): number {
    return ECAM_BASE + id * PAGE + offset;
  }

  /** Two functions that all harts are at, and the registers that decide about addresses. */
  #configAccess(): Operation {
    const { random } = this;
    const id = this.#ids[random(Math.min(2, this.#ids.length))];
    const bridge = this.#machine.pci!.all().find(({ pci }) => pci.behind.length > 0);
    switch (random(8)) {
      case 0:
        return operations.load(this.#at(id, 4 * random(16)), 4);
      case 1:
      case 2:
      case 3:
        return operations.store(this.#at(id, Register.command), 2, pick(random, COMMANDS));
      case 4:
      case 5:
      case 6:
        return operations.store(this.#at(id, Register.bars), 4, pick(random, PLACES));
      default: {
        const at = this.#at(bridge?.id ?? id, random(2) === 0 ? Register.memory : Register.buses);
        const place = pick(random, PLACES);
        return operations.store(at, 4, ((place >>> 16) & 0xfff0) | ((place + MEGABYTE) & 0xfff0_0000));
      }
    }
  }

  #deviceGoes(): void {
    const { random } = this;
    const address = this.arena + random(8) * PAGE;
    this.#machine.dma(pick(random, this.#ids), address, random(2) === 0 ? random(100) : undefined);
  }
}
