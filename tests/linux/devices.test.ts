import { test } from "node:test";
import { devicesWork } from "../qemu/support/linux-devices.ts";

const PLATFORM = { iommu: false, extraArguments: ["-M", "iommu-sys=on"] };

test("NVMe, e1000e and e1000 behind an IOMMU that is a platform device", () => devicesWork(PLATFORM, "root bus"));

test("NVMe, e1000e and e1000 behind bridges and a platform IOMMU", () => devicesWork(PLATFORM, "behind bridges"));
