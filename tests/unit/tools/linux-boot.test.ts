import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { UsageError } from "../../../tools/failure.ts";
import { buildrootChoice, debianChoice } from "../../../tools/linux/boot.ts";
import { chosenKernel } from "../../../tools/linux/kernel.ts";
import { withTemporaryFolder } from "../../qemu/support/workshop.ts";

function touch(folder: string, ...names: string[]): void {
  for (const name of names) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, "x");
  }
}

test("a kernel is an image, or a tree with its build", async () => {
  await withTemporaryFolder((folder) => {
    touch(folder, "Image", "tree/arch/riscv/boot/Image");
    assert.equal(chosenKernel(path.join(folder, "Image")).image, path.join(folder, "Image"));
    const tree = path.join(folder, "tree");
    assert.equal(chosenKernel(tree).image, path.join(tree, "arch/riscv/boot/Image"));
    assert.throws(() => chosenKernel(folder), UsageError);
    assert.throws(() => chosenKernel(path.join(folder, "nothing")), UsageError);
    return Promise.resolve();
  });
});

test("DEBIAN is an image, or a folder with one and its RAM disk", async () => {
  await withTemporaryFolder((folder) => {
    touch(folder, "image.qcow2", "initrd", "disk.img", "empty/initrd");
    assert.deepEqual(debianChoice(folder), {
      initrd: path.join(folder, "initrd"),
      disk: { image: { file: path.join(folder, "image.qcow2"), format: "qcow2" }, by: "own RAM disk" },
    });
    const raw = path.join(folder, "disk.img");
    assert.deepEqual(debianChoice(raw), { disk: { image: { file: raw, format: "raw" }, by: "small system" } });
    assert.throws(() => debianChoice(path.join(folder, "empty")), UsageError);
    return Promise.resolve();
  });
});

test("BUILDROOT is a tree with its build, whose kernel is taken too, or an image", async () => {
  await withTemporaryFolder((folder) => {
    const images = path.join(folder, "output/images");
    assert.throws(() => buildrootChoice(folder), UsageError);
    touch(folder, "output/images/rootfs.ext2");
    const file = path.join(images, "rootfs.ext2");
    const disk = { image: { file, format: "raw" }, by: "small system" };
    assert.deepEqual(buildrootChoice(folder), { disk });
    assert.deepEqual(buildrootChoice(file), { disk });
    touch(folder, "output/images/Image");
    assert.deepEqual(buildrootChoice(folder), { disk, kernel: path.join(images, "Image") });
    return Promise.resolve();
  });
});
