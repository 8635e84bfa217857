import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { UsageError } from "../../../tools/failure.ts";
import { buildrootChoice, debianChoice } from "../../../tools/linux/boot.ts";
import { checkImage, chosenKernel } from "../../../tools/linux/kernel.ts";
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

test("a kernel that nobody can start as it is gets a sentence that says what it is", async () => {
  await withTemporaryFolder((folder) => {
    const file = path.join(folder, "kernel");
    const write = (text: string, at: number): void => {
      const bytes = Buffer.alloc(128);
      bytes.write(text, at, "latin1");
      writeFileSync(file, bytes);
    };
    write("RSC\x05", 56);
    checkImage(file);
    const image = gzipSync(readFileSync(file));
    writeFileSync(file, image);
    assert.throws(() => checkImage(file), {
      name: "UsageError",
      message: /kernel is compressed by gzip: gunzip makes/,
    });
    for (const [text, at, what] of [
      ["\xfd7zXZ\0", 0, /xz/],
      ["\x28\xb5\x2f\xfd", 0, /zstd/],
      ["\x7fELF", 0, /vmlinux/],
      ["MZ\0\0zimg", 0, /compressed EFI application/],
      ["RSC", 56, /no kernel for RISC-V/],
    ] as const) {
      write(text, at);
      assert.throws(() => checkImage(file), what);
    }
    writeFileSync(file, "");
    assert.throws(() => checkImage(file), UsageError);
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
