import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UsageError } from "../../../tools/failure.ts";
import {
  DEFAULT_MACHINE,
  hostImageAddress,
  parseMemory,
  qemuArguments,
  splitArguments,
} from "../../../tools/qemu/machine.ts";

const IMAGE_BYTES = 3 * 1024 * 1024;

function valuesOf(args: string[], option: string): string[] {
  return args.flatMap((value, index) => (args[index - 1] === option ? [value] : []));
}

test("the default machine is the one that Salus's users know", () => {
  const hostImage = { file: "/image.bin", bytes: IMAGE_BYTES };
  const args = qemuArguments(DEFAULT_MACHINE, { hypervisor: "/salus.elf", hostImage });
  assert.equal(
    args.join(" "),
    "-M virt,aia=aplic-imsic,aia-guests=5 " +
      "-cpu rv64,v=on,vlen=256,elen=64,smaia=true,ssaia=true,sscofpmf=true,smstateen=true -smp 2 -m 2048M " +
      "-nographic -no-reboot -kernel /salus.elf -device guest-loader,addr=0xc0200000,kernel=/image.bin " +
      "-device riscv-iommu-pci,vendor-id=0x1efd,device-id=0xedf1",
  );
});

test("a machine with other interrupt controllers", () => {
  const args = qemuArguments({ ...DEFAULT_MACHINE, aia: "none" }, { hypervisor: "/salus.elf" });
  assert.deepEqual(valuesOf(args, "-M"), ["virt,aia=none"]);
});

test("the image goes to its usual place if RAM reaches behind it, else to a lower one", () => {
  assert.equal(hostImageAddress(2048, IMAGE_BYTES), 0xc020_0000);
  assert.equal(hostImageAddress(1024 + 64, IMAGE_BYTES), 0xc020_0000);
  assert.equal(hostImageAddress(1024, IMAGE_BYTES), 0x8420_0000);
  assert.equal(hostImageAddress(256, IMAGE_BYTES), 0x8420_0000);
  assert.throws(() => hostImageAddress(64, IMAGE_BYTES), /64 MiB of memory are too few .* needs 85 MiB/);
  assert.equal(hostImageAddress(85, IMAGE_BYTES), 0x8420_0000);
});

test("NUMA nodes divide harts and memory without a rest", () => {
  const machine = { ...DEFAULT_MACHINE, harts: 5, memoryMiB: 2048, numaNodes: 2 };
  const args = qemuArguments(machine, { hypervisor: "/salus.elf" });
  assert.deepEqual(valuesOf(args, "-numa"), [
    "node,nodeid=0,memdev=node0,cpus=0-1",
    "node,nodeid=1,memdev=node1,cpus=2-4",
  ]);
  assert.deepEqual(valuesOf(args, "-object"), [
    "memory-backend-ram,id=node0,size=1024M",
    "memory-backend-ram,id=node1,size=1024M",
  ]);
  const refused = (change: object): void => {
    assert.throws(() => qemuArguments({ ...machine, ...change }, { hypervisor: "/salus.elf" }), UsageError);
  };
  refused({ harts: 1 });
  refused({ memoryMiB: 2047 });
});

test("boot arguments, extra arguments and commas in a path reach QEMU", () => {
  const machine = { ...DEFAULT_MACHINE, iommu: false, extraArguments: ["-d", "int"] };
  const boot = { hypervisor: "/salus.elf", hostImage: { file: "/a,b.bin", bytes: 1 }, arguments: "log=all x" };
  const args = qemuArguments(machine, boot);
  assert.deepEqual(valuesOf(args, "-append"), ["log=all x"]);
  assert.deepEqual(valuesOf(args, "-device"), ["guest-loader,addr=0xc0200000,kernel=/a,,b.bin"]);
  assert.deepEqual(args.slice(-2), ["-d", "int"]);
});

test("memory is read in MiB or GiB", () => {
  assert.equal(parseMemory("2048"), 2048);
  assert.equal(parseMemory("256M"), 256);
  assert.equal(parseMemory("8g"), 8192);
  for (const text of ["", "0", "-1", "2T", "1.5G", "2 G", "0x100", "99999999999999999G"]) {
    assert.throws(() => parseMemory(text), UsageError, text);
  }
});

test("arguments are split as a shell splits them", () => {
  assert.deepEqual(splitArguments(""), []);
  assert.deepEqual(splitArguments("  -d  int,cpu_reset "), ["-d", "int,cpu_reset"]);
  assert.deepEqual(splitArguments(`-D "my file" 'a\\b' c\\ d ""`), ["-D", "my file", "a\\b", "c d", ""]);
  assert.throws(() => splitArguments(`-D "file`), UsageError);
});

test("what is quoted comes back whole", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (words) => {
      const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
      assert.deepEqual(splitArguments(quoted), words);
    }),
  );
});

test("a kernel with a RAM disk: laid out behind each other for the hypervisor, loaded by QEMU on the bare machine", () => {
  const boot = {
    hostImage: { file: "/Image", bytes: 31 * 1024 * 1024 + 1 },
    initrd: { file: "/initrd", bytes: 100 },
    arguments: "quiet",
  };
  const machine = { ...DEFAULT_MACHINE, iommu: false };
  const hosted = qemuArguments(machine, { ...boot, hypervisor: "/salus.elf" });
  assert.deepEqual(valuesOf(hosted, "-device"), [
    "guest-loader,addr=0xc0200000,kernel=/Image",
    "guest-loader,addr=0xc2200000,initrd=/initrd",
  ]);
  assert.deepEqual(valuesOf(hosted, "-kernel"), ["/salus.elf"]);
  assert(hosted.includes("-no-reboot"));
  const bare = qemuArguments(machine, { ...boot, reboots: true });
  assert.deepEqual([valuesOf(bare, "-kernel"), valuesOf(bare, "-initrd")], [["/Image"], ["/initrd"]]);
  assert.deepEqual(valuesOf(bare, "-append"), ["quiet"]);
  assert(!bare.includes("-no-reboot"));
});

test("disks and the network are behind the IOMMU", () => {
  const disks = [{ file: "/a,b.img", format: "raw" } as const, { file: "/c", format: "qcow2", scratch: true } as const];
  const args = qemuArguments({ ...DEFAULT_MACHINE, iommu: false }, { hypervisor: "/salus.elf", disks, sshPort: 7722 });
  assert.deepEqual(valuesOf(args, "-drive"), [
    "if=none,id=disk0,format=raw,file=/a,,b.img",
    "if=none,id=disk1,format=qcow2,snapshot=on,file=/c",
  ]);
  assert.deepEqual(valuesOf(args, "-netdev"), ["user,id=net0,hostfwd=tcp:127.0.0.1:7722-:22"]);
  const devices = valuesOf(args, "-device");
  assert.equal(devices.length, 3);
  for (const device of devices) assert.match(device, /^virtio-(blk|net)-pci,.*,iommu_platform=on,disable-legacy=on$/);
});
