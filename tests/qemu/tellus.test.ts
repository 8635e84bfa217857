import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { test } from "node:test";
import { buildArtifacts } from "../../tools/artifacts.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { qemuArguments } from "../../tools/qemu/machine.ts";
import { lastLines, ProtocolReader, shortcomings } from "../../tools/qemu/protocol.ts";
import { runQemu } from "../../tools/qemu/runner.ts";
import { MATRIX } from "./matrix.ts";

/** Boots the test host on every machine of the matrix. */

const TIMEOUT_SECONDS = 120;

const qemu = locateQemu(process.env["QEMU"]);
assert(qemu !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
const flavour = process.env["SALUS_FLAVOUR"] === "debug" ? "debug" : "release";
const artifacts = await buildArtifacts({ flavour, log: () => {} });
const hostImage = { file: artifacts.hostImage, bytes: statSync(artifacts.hostImage).size };

for (const { name, machine, vectors, interruptFiles, dma } of MATRIX) {
  test(name, async () => {
    const result = await runQemu({
      executable: qemu,
      arguments: qemuArguments(machine, { hypervisor: artifacts.hypervisor, hostImage }),
      timeoutSeconds: TIMEOUT_SECONDS,
    });
    const reader = new ProtocolReader();
    for (const line of result.lines) reader.read(line);
    const reasons = shortcomings(reader, result);
    assert(reasons.length === 0, `${reasons.join("\n")}\nThe last lines:\n${lastLines(result.lines)}`);

    // The host was given the machine that was meant, all of it.
    const harts = `Harts: ${machine.harts}, ${vectors ? "with" : "without"} vectors, ${interruptFiles ? "with" : "without"} an IMSIC`;
    assert(result.lines.includes(harts), `the host does not say "${harts}"`);
    const vectorTests = reader.steps.filter((step) => step.name === "test vectors");
    assert.equal(vectorTests.length > 0, vectors);
    // Interrupts reach TVMs in one of two ways, on every machine.
    const guests = Number(/aia-guests=(\d+)/.exec(machine.aia)?.[1] ?? 0);
    const injected = reader.steps.some((step) => step.name === "interrupts injected into a guest");
    assert.equal(injected, guests > 2);
    assert(reader.steps.some((step) => step.name === "an external interrupt through hvip"));

    // What a device did that it must not is blocked and reported; without an IOMMU it does nothing at all.
    const confined = machine.iommu || machine.extraArguments.includes("iommu-sys=on");
    const text = result.lines.join("\n");
    assert.equal(
      /IOMMU: blocked a write by device 0:0x0:0x[12]\.0 at 0x[0-9a-f]+, cause 23/.test(text),
      dma && confined,
    );
    assert.equal(text.includes("TEST: no bus mastering without an IOMMU"), dma && !confined);
    assert.equal(text.includes("stay without bus mastering"), !confined);
  });
}
