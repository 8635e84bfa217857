import path from "node:path";
import type { BuildResult } from "./build/index.ts";
import { packHostImageFile } from "./image/host-image.ts";
import { buildFolder } from "./repository.ts";

/** Everything that a run of the test host needs, built. */

export type Flavour = "release" | "debug";

export interface Artifacts {
  /** The hypervisor's ELF, with symbols. */
  hypervisor: string;
  /** The composite image of tellus and its guest. */
  hostImage: string;
  /** The guest's raw binary. */
  guest: string;
  /** The test host's own ELF, for a debugger. */
  hostElf: string;
}

/** The hypervisor that records, for `salus run --record`. */
export async function buildRecorder(options: ArtifactOptions): Promise<BuildResult> {
  const { buildRecordingHypervisor } = await import("./build/index.ts");
  return buildRecordingHypervisor(options);
}

export interface ArtifactOptions {
  flavour: Flavour;
  /** Receives progress and warnings, a line each. */
  log: (line: string) => void;
}

/**
 * Builds the hypervisor alone, for a run of somebody else's image.
 *
 * @returns path of the ELF
 * @throws BuildFailure
 */
export async function buildHypervisorOnly(options: ArtifactOptions): Promise<string> {
  // Loaded when it is needed: `salus --help` need not wait for a compiler.
  const { buildHypervisor } = await import("./build/index.ts");
  return (await buildHypervisor(options)).elf;
}

/**
 * Builds the hypervisor, the test host and its guest, and packs build/<flavour>/tellus_guestvm.bin.
 *
 * @throws BuildFailure, Failure
 */
export async function buildArtifacts(options: ArtifactOptions): Promise<Artifacts> {
  const { buildWorkload } = await import("./build/index.ts");
  const hypervisor = await buildHypervisorOnly(options);
  const tellus = await buildWorkload("tellus", options);
  const guestvm = await buildWorkload("guestvm", options);
  const hostImage = path.join(buildFolder, options.flavour, "tellus_guestvm.bin");
  packHostImageFile(tellus.bin, guestvm.bin, hostImage);
  return { hypervisor, hostImage, guest: guestvm.bin, hostElf: tellus.elf };
}
