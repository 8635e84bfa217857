import { FUNCTIONS, functionName } from "./command.ts";

/** What a run has reached, for its report. */
export class Tally {
  /** Instructions and events of guests; ecalls among them; entries into the hypervisor. */
  commands = 0;
  calls = 0;
  entries = 0;
  tvmEntries = 0;
  /** Most accesses of one entry through the door. */
  mostWork = 0;
  /** Most TVMs at a time, and most successful calls on one TVM. */
  mostTvms = 0;
  deepest = 0;
  /** What happened with PCI, by name. */
  readonly devices: Record<string, number> = {};
  /** Calls by extension, function, caller and answer, packed into a number. */
  readonly #answers = new Map<number, number>();

  /** A call; `error` undefined: it was answered by leaving its caller (an exit, a wait, an end), which counts as success. */
  call(eid: number | bigint, fid: number | bigint, fromHost: boolean, error: number | undefined): void {
    this.calls++;
    // Legacy calls have no function number, whatever is in a6.
    if (Number(eid) < 0x10) fid = 0;
    const known = Number(eid) <= 0xffff_ffff && Number(fid) < UNKNOWN_FUNCTION;
    const code = error === undefined || error > 0 || error < -15 ? 0 : -error;
    const key =
      ((Number(known ? eid : 0) * 64 + Number(known ? fid : UNKNOWN_FUNCTION)) * 2 + (fromHost ? 0 : 1)) * 16 + code;
    this.#answers.set(key, (this.#answers.get(key) ?? 0) + 1);
  }

  device(event: string): void {
    this.devices[event] = (this.devices[event] ?? 0) + 1;
  }

  addTo(total: Tally): void {
    for (const [event, count] of Object.entries(this.devices)) {
      total.devices[event] = (total.devices[event] ?? 0) + count;
    }
    total.commands += this.commands;
    total.calls += this.calls;
    total.entries += this.entries;
    total.tvmEntries += this.tvmEntries;
    total.mostWork = Math.max(total.mostWork, this.mostWork);
    total.mostTvms = Math.max(total.mostTvms, this.mostTvms);
    total.deepest = Math.max(total.deepest, this.deepest);
    for (const [key, count] of this.#answers) total.#answers.set(key, (total.#answers.get(key) ?? 0) + count);
  }

  /** How often each function succeeded, by caller. */
  get successes(): Record<string, number> {
    return this.#named((code) => code === 0).by((name) => name);
  }

  /** How often each function of each caller was answered with each error. */
  get errors(): Record<string, number> {
    return this.#named((code) => code !== 0).by((name, code) => `${name}: ${ERRORS[code]}`);
  }

  #named(wanted: (code: number) => boolean) {
    const by = (title: (name: string, code: number) => string): Record<string, number> => {
      const counts: Record<string, number> = {};
      for (const [key, count] of this.#answers) {
        const code = key % 16;
        const rest = Math.floor(key / 32);
        const name = functionName(Math.floor(rest / 64), rest % 64);
        if (!wanted(code)) continue;
        const caller = Math.floor(key / 16) % 2 === 0 ? "host" : "TVM";
        const text = title(name === undefined ? "a call that does not exist" : `${name} of a ${caller}`, code);
        counts[text] = (counts[text] ?? 0) + count;
      }
      return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
    };
    return { by };
  }
}

const UNKNOWN_FUNCTION = 63;

/** Functions that exist, as the tally names them, by whom they succeed for. */
export function expectedSuccesses(): string[] {
  const names: string[] = [];
  for (const [extension, functions] of Object.entries(FUNCTIONS)) {
    for (const name of functions) {
      // No TVM is promoted in one step, so none has a secret to retrieve.
      if (name === "retrieveSecret") continue;
      // No counter is a firmware counter.
      if (extension === "pmu" && name.startsWith("counterFwRead")) continue;
      // A COVH call of a TVM names no guest and it has no COVI; COVG is not there for hosts.
      if (extension !== "covg") names.push(`${extension}.${name} of a host`);
      if (extension !== "covh" && extension !== "covi") names.push(`${extension}.${name} of a TVM`);
    }
  }
  return names;
}

/** What has to happen on the machines with PCI. */
const DEVICE_EVENTS = [
  ...["configuration reads", "configuration writes", "odd accesses to configuration space", "device registers used"],
  ...["DMA reads", "DMA writes", "DMA blocked", "DMA of devices that are no bus masters", "messages", "messages lost"],
  "changes of the IOMMU's speed",
];

/** Those of them that a run has not reached. */
export function missingDeviceEvents(devices: Readonly<Record<string, number>>): string[] {
  return DEVICE_EVENTS.filter((name) => devices[name] === undefined);
}

/** Those functions that a run has not reached. */
export function missingSuccesses(successes: Readonly<Record<string, number>>): string[] {
  return expectedSuccesses().filter((name) => successes[name] === undefined);
}

const ERRORS = [
  ...["SUCCESS", "FAILED", "NOT_SUPPORTED", "INVALID_PARAM", "DENIED", "INVALID_ADDRESS", "ALREADY_AVAILABLE"],
  ...["ALREADY_STARTED", "ALREADY_STOPPED", "NO_SHMEM", "INVALID_STATE"],
];
