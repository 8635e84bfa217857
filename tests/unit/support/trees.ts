/** Machine trees like those of QEMU's virt machine, but with whatever a test needs to be different. */
import { buildFdt, cells64, node, type Fdt, type FdtNode, type PropertyValue } from "./fdt.ts";

export interface TreeOptions {
  harts: number;
  /** Hart ids; default 0, 1, 2... */
  ids?: bigint[];
  /** Replaces or adds properties of the cpu nodes. */
  cpu?: (index: number) => Record<string, PropertyValue>;
  memory?: { base: bigint; size: bigint; numaNode?: number }[];
  reservations?: Fdt["reservations"];
  reserved?: FdtNode[];
  chosen?: Record<string, PropertyValue>;
  modules?: FdtNode[];
  /** Replaces or adds properties of the IMSIC node; null = no IMSIC. */
  imsic?: Record<string, PropertyValue> | null;
  aliases?: Record<string, string>;
  /** More nodes at the top and in /soc. */
  top?: FdtNode[];
  devices?: FdtNode[];
}

/** Extensions of the sample harts, as a `riscv,isa` string. */
export const SAMPLE_ISA = "rv64imafdch_zicbom_zicboz_zicsr_zifencei_zba_zbb_ssaia_sstc_svadu_svpbmt";

const controllerPhandle = (index: number) => 0x100 + index;
const cpuPhandle = (index: number) => 0x200 + index;

export function sampleRoot(options: TreeOptions): FdtNode {
  const ids = options.ids ?? Array.from({ length: options.harts }, (_, index) => BigInt(index));
  const wide = ids.some((id) => id > 0xffff_ffffn);
  const [isaBase, ...extensions] = SAMPLE_ISA.split("_");
  const cpus = ids.map((id, index) =>
    node(
      `cpu@${id.toString(16)}`,
      {
        device_type: "cpu",
        reg: wide ? cells64(id) : [Number(id)],
        status: "okay",
        compatible: "riscv",
        phandle: [cpuPhandle(index)],
        "riscv,cbom-block-size": [64],
        "riscv,cboz-block-size": [64],
        "riscv,isa-base": "rv64i",
        "riscv,isa-extensions": [...isaBase.slice(4), ...extensions],
        "riscv,isa": SAMPLE_ISA,
        "mmu-type": "riscv,sv57",
        ...options.cpu?.(index),
      },
      [
        node("interrupt-controller", {
          "#interrupt-cells": [1],
          "interrupt-controller": true,
          compatible: "riscv,cpu-intc",
          phandle: [controllerPhandle(index)],
        }),
      ],
    ),
  );
  const memory = options.memory ?? [{ base: 0x8000_0000n, size: 0x8000_0000n }];
  const imsic = (name: string, base: bigint, interrupt: number, properties: Record<string, PropertyValue>) =>
    node(name, {
      phandle: [interrupt],
      "riscv,num-ids": [255],
      reg: cells64(base, BigInt(options.harts) * 0x8000n),
      "interrupts-extended": ids.flatMap((_, index) => [controllerPhandle(index), interrupt]),
      "msi-controller": true,
      "interrupt-controller": true,
      "#interrupt-cells": [0],
      compatible: ["qemu,imsics", "riscv,imsics"],
      ...properties,
    });
  return node(
    "",
    { "#address-cells": [2], "#size-cells": [2], compatible: "riscv-virtio", model: "riscv-virtio,qemu" },
    [
      ...(options.reserved
        ? [node("reserved-memory", { "#address-cells": [2], "#size-cells": [2], ranges: true }, options.reserved)]
        : []),
      ...memory.map(({ base, size, numaNode }) =>
        node(`memory@${base.toString(16)}`, {
          device_type: "memory",
          reg: cells64(base, size),
          ...(numaNode === undefined ? {} : { "numa-node-id": [numaNode] }),
        }),
      ),
      node("cpus", { "#address-cells": [wide ? 2 : 1], "#size-cells": [0], "timebase-frequency": [10_000_000] }, [
        ...cpus,
        node("cpu-map", {}, [
          node(
            "cluster0",
            {},
            ids.map((_, index) => node(`core${index}`, { cpu: [cpuPhandle(index)] })),
          ),
        ]),
      ]),
      node("aliases", { serial0: "/soc/serial@10000000", ...options.aliases }),
      node(
        "chosen",
        {
          bootargs: "console=hvc0",
          "stdout-path": "/soc/serial@10000000",
          "rng-seed": [1, 2, 3, 4],
          ...options.chosen,
        },
        options.modules ?? [
          node("module@0x82000000", {
            compatible: ["multiboot,module", "multiboot,ramdisk"],
            reg: cells64(0x8200_0000n, 0x4b000n),
          }),
          node("module@0x80400000", {
            compatible: ["multiboot,module", "multiboot,kernel"],
            reg: cells64(0x8040_0000n, 0x12345n),
          }),
        ],
      ),
      node("soc", { "#address-cells": [2], "#size-cells": [2], compatible: "simple-bus", ranges: true }, [
        node("serial@10000000", { reg: cells64(0x1000_0000n, 0x100n), compatible: "ns16550a" }),
        node("test@100000", {
          reg: cells64(0x10_0000n, 0x1000n),
          compatible: ["sifive,test1", "sifive,test0", "syscon"],
        }),
        imsic("interrupt-controller@24000000", 0x2400_0000n, 11, {}),
        ...(options.imsic === null
          ? []
          : [
              imsic("interrupt-controller@28000000", 0x2800_0000n, 9, {
                "riscv,guest-index-bits": [3],
                ...options.imsic,
              }),
            ]),
        ...(options.devices ?? []),
      ]),
      ...(options.top ?? []),
    ],
  );
}

export function sampleTree(options: TreeOptions): Uint8Array {
  return buildFdt(sampleRoot(options), options.reservations);
}
