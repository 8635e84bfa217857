import {
  SHA512_DIGEST_SIZE,
  Sha512State,
  sha384Init,
  sha512Final,
  sha512Init,
  sha512Update,
} from "../../crypto/sha512";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { literalChar, literalLength } from "../lib/literal";
import { copyBytes, ImageSymbol, imageAddress, loadAcquire32, write64, write8, zeroBytes } from "../riscv/hw";
import { Root } from "../root";
import { CDI_SIZE } from "./kdf";
import { completeLayer, Layer } from "./layer";

/**
 * The hypervisor's own layer of DICE: its CDIs and certificates from the previous stage, or the development root, and what registers 0 and 1 of every
 * TVM begin with. Filled at boot; the key is derived when it is first needed.
 */
@unmanaged
export class Platform {
  layer: Layer;
  /** Spin lock of the derivation. */
  lock: u32;
  /** 1: the CDIs are those of the development root, which everybody knows. */
  development: u32;
  /** Certificates of the previous stages, DER, one after the other. */
  chain: usize;
  chainLength: u64;
  /** Registers 0 and 1, 48 bytes each. */
  registers: usize;
}

export const MAX_CHAIN: u64 = 8192;
const DIGEST: u64 = 48;

/** Bit of the configuration that register 1 holds. */
const CONFIG_DEVELOPMENT_ROOT: u64 = 1;
/** The build that records what it reads (hypervisor/recording.ts): it keeps no secret. */
const CONFIG_RECORDING: u64 = 2;

/** Bytes for `initPlatform`, 8-byte aligned. */
export function platformBytes(): u64 {
  return <u64>(offsetof<Platform>() + offsetof<Layer>()) + 2 * DIGEST + MAX_CHAIN;
}

/** The record at `at`, in zeroed memory. */
export function initPlatform(at: usize): Platform {
  const platform = changetype<Platform>(at);
  const layer = at + offsetof<Platform>();
  platform.layer = changetype<Layer>(layer);
  platform.registers = layer + offsetof<Layer>();
  platform.chain = platform.registers + <usize>(2 * DIGEST);
  return platform;
}

/** Takes the development root, because there is no handover. `scratch`: 512 bytes. */
export function takeDevelopmentRoot(platform: Platform, scratch: u64): void {
  platform.development = 1;
  hashText(platform.layer.attestation(), "Salus development root, CDI_Attest", scratch);
  hashText(platform.layer.sealing(), "Salus development root, CDI_Seal", scratch);
}

function hashText(out: u64, text: string, scratch: u64): void {
  const state = changetype<Sha512State>(<usize>scratch);
  const bytes = scratch + 256;
  const length = <u64>literalLength(text);
  for (let i: u64 = 0; i < length; i++) write8(bytes + i, literalChar(text, <usize>i));
  const digest = bytes + 64;
  sha512Init(state);
  sha512Update(state, <usize>bytes, length);
  sha512Final(state, <usize>digest);
  copyBytes(out, digest, CDI_SIZE);
  zeroBytes(digest, SHA512_DIGEST_SIZE);
}

/** Registers 0 and 1: the image, and how it is configured. `scratch`: 512 bytes. */
export function measurePlatform(root: Root, platform: Platform, scratch: u64): void {
  const state = changetype<Sha512State>(<usize>scratch);
  const data = scratch + 256;
  const text = imageAddress(ImageSymbol.Start);
  const constants = imageAddress(ImageSymbol.RodataStart);
  sha384Init(state);
  sha512Update(state, <usize>text, imageAddress(ImageSymbol.TextEnd) - text);
  sha512Update(state, <usize>constants, imageAddress(ImageSymbol.RodataEnd) - constants);
  sha512Final(state, <usize>data);
  extendRegister(platform.registers, state, data, DIGEST);

  let flags: u64 = platform.development != 0 ? CONFIG_DEVELOPMENT_ROOT : 0;
  if (imageAddress(ImageSymbol.RecordLog) != imageAddress(ImageSymbol.End)) flags |= CONFIG_RECORDING;
  write64(data, flags);
  write64(data + 8, root.features);
  extendRegister(platform.registers + <usize>DIGEST, state, data, 16);
}

/** register := SHA-384(register || data) */
export function extendRegister(register: usize, state: Sha512State, data: u64, length: u64): void {
  sha384Init(state);
  sha512Update(state, register, DIGEST);
  sha512Update(state, <usize>data, length);
  sha512Final(state, register);
}

/** Whether the platform's key is there. Any hart. */
export function isPlatformReady(root: Root): bool {
  return loadAcquire32(changetype<Platform>(root.platform).layer.readyAddress()) != 0;
}

/** The platform's layer with its key. Any hart. */
export function platformLayer(root: Root, scratch: u64): Layer {
  const platform = changetype<Platform>(root.platform);
  const layer = platform.layer;
  if (loadAcquire32(layer.readyAddress()) != 0) return layer;
  const lock = changetype<usize>(platform) + offsetof<Platform>("lock");
  lockAcquire(lock);
  if (layer.ready == 0) completeLayer(layer, scratch);
  lockRelease(lock);
  return layer;
}

/** Registers 0 and 1 of every VM, one after the other. */
export function platformRegisters(root: Root): usize {
  return changetype<Platform>(root.platform).registers;
}

/** Whether evidence has to say that nothing stands behind it. */
export function isDevelopment(root: Root): bool {
  return changetype<Platform>(root.platform).development != 0;
}

/** Zeroes CDIs and keys that lie in our own memory: the machine ends. */
export function wipePlatform(root: Root): void {
  if (root.platform == 0) return;
  if (changetype<usize>(root.host) != 0) zeroBytes(<u64>root.host.layer, <u64>offsetof<Layer>());
  zeroBytes(<u64>changetype<usize>(changetype<Platform>(root.platform).layer), <u64>offsetof<Layer>());
}
