/**
 * What ends a run of the simulated machine. Everything but MachineEnded is a bug: of the hypervisor, or of the test that
 * drives it.
 */

/** The hypervisor did what hardware answers with a trap in HS-mode, or what this machine has no model of. */
export class MachineFault extends Error {
  override name = "MachineFault";
}

/** A failed `assert` of the hypervisor, or a wasm trap (unreachable code, division by zero). */
export class HypervisorPanic extends Error {
  override name = "HypervisorPanic";
}

/** Harts wait for each other: a lock that is held across a return, or a wait that nobody ends. */
export class Deadlock extends Error {
  override name = "Deadlock";
}

/** Something that must always hold does not (design: what the checker reads in memory and TLBs). */
export class InvariantViolation extends Error {
  override name = "InvariantViolation";
}

/** The test used the machine in a way that makes no sense (stepped a hart that is off, ...). */
export class MisuseError extends Error {
  override name = "MisuseError";
}

/** SBI System Reset: unwinds the hypervisor's frames; not an error. */
export class MachineEnded extends Error {
  override name = "MachineEnded";
  /** 0 shutdown, 1 cold reboot, 2 warm reboot (SBI 3.0, 10.1). */
  readonly type: number;
  /** 0 none, 1 system failure. */
  readonly reason: number;

  constructor(type: number, reason: number) {
    super(`the machine ended: reset type ${type}, reason ${reason}`);
    this.type = type;
    this.reason = reason;
  }
}

/** A 64-bit number as people write addresses. */
export function hex(value: bigint | number): string {
  return "0x" + BigInt.asUintN(64, BigInt(value)).toString(16);
}

/**
 * Names of the hypervisor's functions that are on the stack of `error`, innermost first. V8 lists a wasm frame as
 * "at memory/fence/minVersion (wasm://...)".
 */
export function hypervisorFrames(error: Error): string[] {
  const frames: string[] = [];
  for (const line of (error.stack ?? "").split("\n")) {
    const match = /^\s+at (.+?) \(wasm:\/\//.exec(line);
    if (match) frames.push(match[1].replace(/^salus\.wasm\./, "").replace(/^hypervisor\//, ""));
  }
  return frames;
}
