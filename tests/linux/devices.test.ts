import { test } from "node:test";
import { devicesWork } from "../qemu/support/linux-devices.ts";

test("NVMe, e1000e and e1000 behind an IOMMU that is a platform device", () =>
  devicesWork({ iommu: false, extraArguments: ["-M", "iommu-sys=on"] }));
