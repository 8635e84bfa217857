import { readFileSync } from "node:fs";
import {
  configurationRegister,
  pagesRegister,
  platformConfigurationRegister,
  platformImage,
  platformRegister,
  REGION_CONFIDENTIAL,
  REGION_INTERRUPT_FILES,
  Refusal,
  replayMeasurementLog,
  type MeasuredInterruptFiles,
  type MeasuredRange,
  type MeasuredRegion,
} from "../../../verifier/index.ts";
import { sha512 } from "../../dice/layer.ts";
import { UsageError } from "../../failure.ts";

/** `salus measure`: what the registers of a TVM will be, from what its host is going to give to it. */

export interface MeasureFlags {
  kernel?: string;
  log?: string;
  with?: string[];
  dtb?: string;
  initrd?: string;
  entry?: string;
  argument?: string;
  region?: string[];
  vcpus: number;
  imsic?: string;
  file?: string[];
  hypervisor?: string;
  features?: string;
  developmentRoot?: boolean;
  json?: boolean;
}

/** What a place may say: FILE@ADDRESS or FILE@ADDRESS+PAGES. */
const PLACE = /^(.+)@(0x[0-9a-f]+|[0-9]+)(?:\+([0-9]+))?$/i;
/** What marks a region of interrupt files. */
const FILES = ":files";
/** Where a guest of tellus is. */
const DEFAULT_BASE = 0x8020_0000n;

/** What a host gave to its TVMs: the values of registers 2 and 3 that one of them has. */
interface Guests {
  pages: string[];
  configuration: string[];
}

/**
 * Predicts registers 2 and 3, from files and places or from a host's log, and with the hypervisor's ELF the code hash and register 0.
 *
 * @throws UsageError
 */
export function measure(flags: MeasureFlags): Promise<boolean> {
  if ((flags.kernel === undefined) === (flags.log === undefined)) {
    throw new UsageError("either what the guest is made of (--kernel FILE@GPA), or a host's log (--log FILE)");
  }
  const guests = flags.log === undefined ? fromPlaces(flags, flags.kernel!) : fromLog(flags.log, flags.with ?? []);
  const registers: Record<string, string[] | "any"> = { "0": "any", "1": "any" };
  let codeHash: string[] | "any" = "any";
  if (flags.hypervisor !== undefined) {
    const image = hypervisorImage(flags.hypervisor);
    codeHash = [sha512(image).toString("hex")];
    registers["0"] = [platformRegister(image).toString("hex")];
  }
  if (flags.features !== undefined) {
    const configurationFlags = flags.developmentRoot ? 1n : 0n;
    registers["1"] = [platformConfigurationRegister(configurationFlags, address(flags.features)).toString("hex")];
  }
  registers["2"] = guests.pages;
  registers["3"] = guests.configuration;
  const policy = { codeHash, registers };
  process.stdout.write(flags.json ? `${JSON.stringify(policy)}\n` : describe(policy));
  return Promise.resolve(true);
}

function fromPlaces(flags: MeasureFlags, kernel: string): Guests {
  const places = [kernel, flags.dtb, flags.initrd].flatMap((place, index) =>
    place === undefined ? [] : [parsePlace(place, index === 0)],
  );
  const entry = flags.entry === undefined ? places[0].gpa : address(flags.entry);
  const argument =
    flags.argument === undefined ? (flags.dtb === undefined ? 0n : places[1].gpa) : address(flags.argument);
  const vcpus = Array.from({ length: flags.vcpus }, (_, index) => index);
  const regions = (flags.region ?? []).map(parseRegion);
  const configuration = { entry, argument, regions, vcpus };
  const interruptFiles = flags.imsic === undefined ? undefined : parseImsic(flags.imsic, flags.file ?? []);
  return {
    pages: [pagesRegister(places).toString("hex")],
    configuration: [
      configurationRegister(interruptFiles ? { ...configuration, interruptFiles } : configuration).toString("hex"),
    ],
  };
}

/** All TVMs of a log; `given` has NAME=FILE for the files that it names. */
function fromLog(log: string, given: readonly string[]): Guests {
  const files = new Map(
    given.map((text) => {
      const [name, ...file] = text.split("=");
      if (file.length === 0) throw new UsageError(`--with is NAME=FILE, not "${text}"`);
      return [name, readBytes(file.join("="))];
    }),
  );
  try {
    const guests = replayMeasurementLog(Buffer.from(readBytes(log)).toString("utf8"), files);
    if (guests.length === 0) throw new UsageError(`${log} has no measurement log (lines MEASURED: ...)`);
    return {
      pages: [...new Set(guests.map(({ pages }) => pages.toString("hex")))],
      configuration: [...new Set(guests.map(({ configuration }) => configuration.toString("hex")))],
    };
  } catch (error) {
    if (error instanceof Refusal) throw new UsageError(`${log}: ${error.message}`);
    throw error;
  }
}

function describe({
  codeHash,
  registers,
}: {
  codeHash: string[] | "any";
  registers: Record<string, string[] | "any">;
}): string {
  const line = (name: string, value: string[] | "any" | undefined): string =>
    value === "any" || value === undefined
      ? `${name.padEnd(12)} not predicted\n`
      : value.map((one, index) => `${(index === 0 ? name : "or").padEnd(12)} ${one}\n`).join("");
  return [
    line("code hash", codeHash),
    ...[0, 1, 2, 3].map((index) => line(`register ${index}`, registers[index])),
  ].join("");
}

function parsePlace(text: string, first: boolean): MeasuredRange {
  const match = PLACE.exec(text);
  if (!match && !first) throw new UsageError(`${text}: where it goes is missing: FILE@ADDRESS`);
  const gpa = match ? address(match[2]) : DEFAULT_BASE;
  if (gpa % 4096n !== 0n) throw new UsageError(`${text}: a place is a multiple of 4096`);
  const range: MeasuredRange = { gpa, bytes: readBytes(match?.[1] ?? text) };
  if (match?.[3] !== undefined) range.pages = Number(match[3]);
  return range;
}

/** START-END of confidential memory, START-END:files of interrupt files. */
function parseRegion(text: string): MeasuredRegion {
  const files = text.endsWith(FILES);
  const type = files ? REGION_INTERRUPT_FILES : REGION_CONFIDENTIAL;
  const [start, end, ...rest] = text
    .slice(0, files ? -FILES.length : undefined)
    .split("-")
    .map(address);
  if (start === undefined || end === undefined || rest.length > 0 || end <= start) {
    throw new UsageError(`a region is START-END, not "${text}"`);
  }
  return { start, end, type };
}

/** BASE:GROUP_BITS:GROUP_SHIFT:HART_BITS:GUEST_BITS, and VCPU:ADDRESS for each vCPU. */
function parseImsic(text: string, files: readonly string[]): MeasuredInterruptFiles {
  const [base, groupBits, groupShift, hartBits, guestBits] = text.split(":").map(address);
  if (guestBits === undefined)
    throw new UsageError(`--imsic is BASE:GROUP_BITS:GROUP_SHIFT:HART_BITS:GUEST_BITS, not "${text}"`);
  return {
    base,
    groupBits: Number(groupBits),
    groupShift: Number(groupShift),
    hartBits: Number(hartBits),
    guestBits: Number(guestBits),
    files: files.map((file) => {
      const [vcpu, at] = file.split(":").map(address);
      if (at === undefined) throw new UsageError(`--file is VCPU:ADDRESS, not "${file}"`);
      return { vcpu: Number(vcpu), address: at };
    }),
  };
}

function address(text: string): bigint {
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(text) || BigInt(text) >= 1n << 64n) {
    throw new UsageError(`"${text}" is no number of 64 bits (decimal, or hexadecimal with 0x)`);
  }
  return BigInt(text);
}

function hypervisorImage(file: string): Uint8Array {
  try {
    return platformImage(readBytes(file));
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`${file}: ${error.message}`);
    throw error;
  }
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`);
  }
}
