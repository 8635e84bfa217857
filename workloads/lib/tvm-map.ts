/**
 * What tellus and the guests it starts agree on: the TVM's address map, its boot argument, and the devices that tellus emulates
 * for it. The first group is that of the original test VMs and frozen.
 */

/** One confidential region covers [GUEST_RAM_START, GUEST_RAM_END). */
export const GUEST_RAM_START: u64 = 0x8020_0000;
export const GUEST_RAM_END: u64 = 0x1_8000_0000;
/** Measured pages with the guest's image, data and stack, from GUEST_RAM_START. */
export const GUEST_DATA_PAGES: u64 = 160;
/** Demand-zero pages. */
export const ZERO_PAGES_START: u64 = 0x802a_0000;
export const ZERO_PAGES: u64 = 50;
/** Zero pages that the host adds before the first run. */
export const PREFAULTED_PAGES: u64 = 2;

/** Pages that the guest shares: the first carries PING and PONG, the second the guest's console. */
export const SHARED_WINDOW: u64 = 0x1_0000_0000;
export const SHARED_WINDOW_PAGES: u64 = 16;
export const CONSOLE_PAGE: u64 = 0x1_0000_1000;
export const PING: u64 = 0xbaadf00d;
export const PONG: u64 = 0xf00dbaad;

/** 2 MiB ranges: the host fills the first with small pages and promotes it, the second with a large one and demotes it. */
export const PROMOTE_PAGE: u64 = 0x1_1000_0000;
export const DEMOTE_PAGE: u64 = 0x1_1020_0000;

/** Page of the emulated register of the original test: loads give MMIO_LOAD_VALUE. */
export const MMIO_PAGE: u64 = 0x1000_8000;
export const MMIO_LOAD_VALUE: u64 = 0x42;

// ---- Beyond the original

/** Where the host image lies in host memory, and the guest image after it (tests.md 1). */
export const HOST_IMAGE: u64 = 0x8020_0000;
export const GUEST_IMAGE_IN_HOST: u64 = 0x8040_0000;

/** Echo device: loads below ECHO_REGISTERS give ECHO_PATTERN, stores there are kept for the registers. */
export const ECHO_PAGE: u64 = 0x1001_0000;
export const ECHO_PATTERN: u64 = 0x8182_8384_8586_8788;
/** Registers of the echo device: value, gpa, htinst and number of the last access below them. */
export const ECHO_REGISTERS: u64 = 0x800;
export const ECHO_VALUE: u64 = 0x800;
export const ECHO_GPA: u64 = 0x808;
export const ECHO_HTINST: u64 = 0x810;
export const ECHO_COUNT: u64 = 0x818;

/** Puppet device: the host makes the guest do single accesses and calls (puppet-protocol.ts). */
export const PUPPET_PAGE: u64 = 0x1001_1000;

/** Interrupt file of vCPU 0; the others follow, a page each. */
export const GUEST_IMSIC: u64 = 0x2800_0000;

/** Shared page of the scenario Interrupts. Words 0-63: how often the guest has received each identity. */
export const INTERRUPT_BOARD: u64 = SHARED_WINDOW + 0x2000;
/** Its page in the shared window. */
export const INTERRUPT_BOARD_INDEX: u64 = 2;
/** Offset of a word that the host sets to end the scenario. */
export const BOARD_STOP: u64 = 0x200;
/** Offset of the number of interrupts that the vCPUs have sent each other. */
export const BOARD_SENT: u64 = 0x208;
/** Of the scenario Flood: steps of the flood, rounds of work, and interrupts of the flood that were taken, so far. */
export const BOARD_FLOOD: u64 = 0x210;
export const BOARD_WORK: u64 = 0x218;
export const BOARD_TAKEN: u64 = 0x220;
/** Identities below this are the host's to inject, from here to 63 the guest's own. */
export const FIRST_GUEST_IDENTITY: u64 = 32;
export const IDENTITIES: u64 = 64;

/** Shared page in which the host leaves the nonce for the guest's evidence, if somebody asked for evidence; zeros if not. */
export const NONCE_PAGE: u64 = SHARED_WINDOW + 0x3000;
export const NONCE_PAGE_INDEX: u64 = 3;
export const NONCE_BYTES: u64 = 64;

/** Zero pages for scenarios' own use lie from here on. */
export const SCRATCH_START: u64 = 0x9000_0000;

/** Pages of the stress scenario: two 2 MiB ranges. */
export const STRESS_START: u64 = 0xa000_0000;
export const STRESS_BYTES: u64 = 4 << 20;

/** Boot argument: bit 0 = vectors are there; then the scenario; then a number for the scenario. */
export const BOOT_VECTORS: u64 = 1;
export const BOOT_SCENARIO_SHIFT: u64 = 8;
export const BOOT_SCENARIO_MASK: u64 = 0xff;
export const BOOT_PARAMETER_SHIFT: u64 = 32;

/** What a guest does, chosen by its boot argument. */
export const enum GuestScenario {
  /** The sequence of the original guestvm. */
  Original = 0,
  /** Does what the puppet device says. */
  Puppet = 1,
  /** Registers, FP, vectors and CSRs across every kind of exit. */
  Registers = 2,
  /** Every load and store form on the echo device, without and with paging. */
  Mmio = 3,
  /** Exceptions that arrive in the guest. */
  Exceptions = 4,
  /** Several vCPUs that meet in confidential memory. */
  Multiprocessor = 5,
  /** Counts in its own memory, with a WFI after each round; the parameter is its seed. */
  Counter = 6,
  /** Timer, WFI and binary console output. */
  Time = 7,
  /** Counts in many pages while the host blocks, promotes and demotes them; the parameter is the number of rounds. */
  Stress = 8,
  /** Counts the interrupts of its file; the parameter is the number of vCPUs, of which the second sends some. */
  Interrupts = 9,
  /** The external interrupt that a vCPU without an interrupt file has. */
  ExternalLine = 10,
  /** vCPU 0 floods in the way that the parameter, a FloodKind, says, and vCPU 1 works. */
  Flood = 11,
}

/** What the scenario Flood floods with. */
export const enum FloodKind {
  /** Nothing: vCPU 0 works. */
  None = 0,
  /** Software interrupts to vCPU 1. */
  Ipi = 1,
  /** External interrupts to vCPU 1, through its interrupt file. */
  External = 2,
  /** Instructions that trap to the hypervisor. */
  Fault = 3,
}

/** Boot argument for a scenario. */
export function bootArgument(scenario: u64, parameter: u64, vectors: bool): u64 {
  return (parameter << BOOT_PARAMETER_SHIFT) | (scenario << BOOT_SCENARIO_SHIFT) | (vectors ? BOOT_VECTORS : 0);
}

/** The TVM fills register n with GUEST_SECRET + n before it exits, the host with HOST_SECRET + n before it runs it. */
export const GUEST_SECRET: u64 = 0x5ec7_e700_0a11_0000;
export const HOST_SECRET: u64 = 0x4057_5ec7_0b22_0000;

/** Eight bytes that are no UTF-8 text, and what their writer expects to be written; byte n is bits 8n. */
export const BINARY_TEXT: u64 = 0x0a_c3_28_ff_80_fe_20_00;
export const BINARY_TEXT_BYTES: u64 = 8;
