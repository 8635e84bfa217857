/**
 * The puppet device (PUPPET_PAGE): a guest that loads its registers and does what they say, so that a test in the host can
 * decide step by step what the guest does. Each access is an MMIO exit.
 *
 * The guest loads COMMAND; then the arguments that the command needs; does it; stores VALUE, then DONE (the SBI error, or the
 * scause of an exception, or 0).
 */

export const enum PuppetRegister {
  Command = 0x00,
  /** Six arguments, 8 bytes apart. */
  Argument = 0x10,
  Value = 0x40,
  Done = 0x48,
}

export const enum PuppetCommand {
  /** value := 64-bit load from argument 0; done := PUPPET_OK or the scause of the exception. */
  Load = 1,
  /** 64-bit store of argument 1 to argument 0. */
  Store = 2,
  /** SBI call: arguments 0 and 1 are eid and fid, 2 to 5 the call's a0 to a3. */
  Sbi = 3,
  /** Calls the code at argument 0. */
  Call = 4,
  /** wfi */
  Wfi = 5,
  /** value := number of 64-bit words in [argument 0, argument 0 + argument 1) that differ from argument 2. */
  CountDifferent = 6,
  /** Writes argument 2 into every 64-bit word of [argument 0, argument 0 + argument 1). */
  Fill = 7,
  /** Writes the complement of argument 2 into every 64-bit word of the range: a value that its host has nowhere in its memory. */
  FillInverted = 9,
  /** Shuts the TVM down. */
  Exit = 8,
}

/** What DONE gets from a command that went well. */
export const PUPPET_OK: u64 = 0;
