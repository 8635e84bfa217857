import { test } from "node:test";
import { devicesWork } from "./support/linux-devices.ts";

/** What a stock Linux does with devices that do DMA; tests/linux/devices.test.ts has the other kind of IOMMU, and bridges. */
test("NVMe, e1000e and e1000 behind an IOMMU that is a PCI function", () => devicesWork({ iommu: true }, "root bus"));
