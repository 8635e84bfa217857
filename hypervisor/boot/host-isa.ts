import { bytesEqual } from "../lib/byte-string";
import { literalChar, literalLength } from "../lib/literal";
import { ENVCFG_ADUE, ENVCFG_CBCFE, ENVCFG_CBZE, ENVCFG_PBMTE, ENVCFG_STCE } from "../riscv/csr";
import { read8 } from "../riscv/hw";
import { extensionEnd, extensionStart, Feature, featureMask, hasFeature, IsaText, nextExtension } from "../riscv/isa";
import {
  beginProperty,
  endProperty,
  putBlock,
  putByte,
  putLiteral,
  putString,
  TreeWriter,
  writtenPlace,
} from "./device-tree/writer";
import { HartDescription, MachineDescription } from "./machine-description";

/**
 * Which extensions the host's device tree names: those of the harts that work in VS-mode under our settings. An
 * extension that `hostRule` does not know is left out, so a new one can do no harm before somebody has looked at it.
 */

/** Answers of `hostRule` besides the number of a Feature, which means: named if that feature is offered. */
const ALWAYS: u32 = 0x100;
const NEVER: u32 = 0x101;

/**
 * The features that VMs are offered: what the harts have and vm/csr-policy.ts gives.
 * `henvcfg`: as it reads back after it was set; `interruptFile`: the host has an IMSIC file on every hart; `overflow`: performance counters interrupt.
 */
export function offeredFeatures(machine: u64, henvcfg: u64, vectors: bool, interruptFile: bool, overflow: bool): u64 {
  // Address modes and the FP registers have no switch of their own.
  let offered =
    machine &
    (featureMask(Feature.Sv39) |
      featureMask(Feature.Sv48) |
      featureMask(Feature.Sv57) |
      featureMask(Feature.F) |
      featureMask(Feature.D));
  if (vectors) offered |= machine & featureMask(Feature.V);
  if (interruptFile) offered |= machine & featureMask(Feature.Ssaia);
  if (overflow) offered |= machine & featureMask(Feature.Sscofpmf);
  if ((henvcfg & ENVCFG_STCE) != 0) offered |= machine & featureMask(Feature.Sstc);
  if ((henvcfg & ENVCFG_CBZE) != 0) offered |= machine & featureMask(Feature.Zicboz);
  if ((henvcfg & ENVCFG_CBCFE) != 0) offered |= machine & featureMask(Feature.Zicbom);
  if ((henvcfg & ENVCFG_PBMTE) != 0) offered |= machine & featureMask(Feature.Svpbmt);
  // To name one of these two says which one holds; to name both says that SBI FWFT can choose.
  offered |= machine & featureMask((henvcfg & ENVCFG_ADUE) != 0 ? Feature.Svadu : Feature.Svade);
  return offered;
}

/** What decides whether the host sees an extension: ALWAYS, NEVER, or a Feature. */
function hostRule(name: usize, length: u64): u32 {
  if (length == 1) return letterRule(name);
  const first = read8(<u64>name);
  if (first == LETTER_Z) return unprivilegedRule(name, length);
  // x...: vendors' own.
  return first == LETTER_S ? supervisorRule(name, length) : NEVER;
}

function letterRule(name: usize): u32 {
  // Registers that are always switched.
  if (isOneOf(name, 1, "i m a f d c b")) return ALWAYS;
  // Vector registers are switched only if they were found at boot.
  if (isOneOf(name, 1, "v")) return Feature.V;
  // Hypervisor instructions trap in VS-mode: there is no nested virtualisation.
  return isOneOf(name, 1, "h") ? Feature.H : NEVER;
}

/** Names that begin with z. */
function unprivilegedRule(name: usize, length: u64): u32 {
  // Integer, atomic, FP and compressed instructions on registers that are always switched.
  if (isOneOf(name, length, "zicsr zifencei zmmul zaamo zalrsc zabha zacas zicond")) return ALWAYS;
  if (isOneOf(name, length, "zfa zfbfmin zfh zfhmin zca zcb zcd zcmp zclsd zilsd")) return ALWAYS;
  if (isOneOf(name, length, "zba zbb zbc zbs zbkb zbkc zbkx zkn zknd zkne zknh zks zksed zksh zkt")) return ALWAYS;
  // Hints, and instructions that do nothing while shadow stacks are off.
  if (isOneOf(name, length, "zihintntl zihintpause zicbop zawrs zimop zcmop")) return ALWAYS;
  // Statements about main memory and reservation sets, which the host's memory keeps.
  if (isOneOf(name, length, "zic64b ziccamoa ziccamoc ziccif zicclsm ziccrse za64rs za128rs zama16b ztso"))
    return ALWAYS;

  // henvcfg has a switch for each of these.
  if (isOneOf(name, length, "zicbom")) return Feature.Zicbom;
  if (isOneOf(name, length, "zicboz")) return Feature.Zicboz;
  if (isOneOf(name, length, "zicfilp")) return Feature.Zicfilp;
  if (isOneOf(name, length, "zicfiss")) return Feature.Zicfiss;
  // Counters that hcounteren gives.
  if (isOneOf(name, length, "zicntr")) return Feature.Zicntr;
  if (isOneOf(name, length, "zihpm")) return Feature.Zihpm;
  // jvt is behind hstateen0; zce stands for a list with zcmt in it.
  if (isOneOf(name, length, "zcmt zce")) return Feature.Zcmt;
  // The seed CSR is for S-mode at best, never for VS-mode; zk stands for a list with zkr in it.
  if (isOneOf(name, length, "zkr zk")) return Feature.Zkr;

  if (isOneOf(name, length, "zve32x zve32f zve64x zve64f zve64d zvfh zvfhmin zvfbfmin zvfbfwma")) return Feature.V;
  if (isOneOf(name, length, "zvbb zvbc zvkb zvkg zvkn zvknc zvkned zvkng zvknha zvknhb")) return Feature.V;
  if (isOneOf(name, length, "zvks zvksc zvksed zvksg zvksh zvkt")) return Feature.V;
  if (isOneOf(name, length, "zvl32b zvl64b zvl128b zvl256b zvl512b zvl1024b zvl2048b zvl4096b")) return Feature.V;
  return NEVER;
}

/** Names that begin with s. Those of machine level (sm...) are not in the table. */
function supervisorRule(name: usize, length: u64): u32 {
  // Statements about S-mode that hold for VS-mode; exceptions that we inject follow them too.
  if (isOneOf(name, length, "ssccptr sscounterenw sstvala sstvecd ssu64xl")) return ALWAYS;
  // VS-stage page tables are walked and invalidated by the hardware alone.
  if (isOneOf(name, length, "svinval svnapot svvptc svrsw60t59b")) return ALWAYS;

  // henvcfg has a switch for each of these.
  if (isOneOf(name, length, "sstc")) return Feature.Sstc;
  if (isOneOf(name, length, "svpbmt")) return Feature.Svpbmt;
  if (isOneOf(name, length, "svadu")) return Feature.Svadu;
  if (isOneOf(name, length, "svade")) return Feature.Svade;
  if (isOneOf(name, length, "ssnpm supm")) return Feature.Ssnpm;
  if (isOneOf(name, length, "ssdbltrp")) return Feature.Ssdbltrp;
  // hstateen0 has a switch for each of these.
  if (isOneOf(name, length, "ssstateen")) return Feature.Ssstateen;
  if (isOneOf(name, length, "sscsrind")) return Feature.Sscsrind;
  if (isOneOf(name, length, "ssctr")) return Feature.Ssctr;
  if (isOneOf(name, length, "ssqosid")) return Feature.Ssqosid;
  // Needs an interrupt file of its own to be of use.
  if (isOneOf(name, length, "ssaia")) return Feature.Ssaia;
  // A PMU that the host could program.
  if (isOneOf(name, length, "sscofpmf")) return Feature.Sscofpmf;
  if (isOneOf(name, length, "ssccfg")) return Feature.Ssccfg;
  // What comes with the hypervisor extension.
  if (isOneOf(name, length, "sha shcounterenw shgatpa shtvala shvsatpa shvstvala shvstvecd")) return Feature.H;
  return NEVER;
}

/** Whether the name is one of the words of `list`, which are separated by single spaces. */
function isOneOf(name: usize, length: u64, list: string): bool {
  const end = literalLength(list);
  let word: usize = 0;
  while (word < end) {
    let matched: usize = 0;
    while (word + matched < end && literalChar(list, word + matched) != SPACE) {
      if (matched == <usize>length || read8(<u64>(name + matched)) != literalChar(list, word + matched)) break;
      matched++;
    }
    const wordEnds = word + matched == end || literalChar(list, word + matched) == SPACE;
    if (wordEnds && matched == <usize>length) return true;
    while (word < end && literalChar(list, word) != SPACE) word++;
    word++;
  }
  return false;
}

const SPACE: u32 = 0x20;
const UNDERSCORE: u32 = 0x5f;
const LETTER_G: u32 = 0x67;
const LETTER_S: u32 = 0x73;
const LETTER_Z: u32 = 0x7a;

/** Whether the host is told of the extension. */
export function hostSees(name: usize, length: u64, offered: u64): bool {
  const rule = hostRule(name, length);
  if (rule == ALWAYS) return true;
  return rule != NEVER && hasFeature(offered, rule);
}

/**
 * Puts riscv,isa, riscv,isa-extensions and riscv,isa-base of the host's harts, which are all the same. The string comes first:
 * test VMs of the original take the first property with such a name.
 */
export function putHostIsa(writer: TreeWriter, description: MachineDescription, offered: u64): void {
  beginProperty(writer, "riscv,isa");
  const start = writtenPlace(writer);
  putLiteral(writer, "rv64");
  putNames(writer, description, offered, true);
  putNames(writer, description, offered, false);
  const end = writtenPlace(writer);
  putByte(writer, 0);
  endProperty(writer);

  // The list is made of the string that was just written.
  beginProperty(writer, "riscv,isa-extensions");
  const length = <u64>(end - start);
  let answer = nextExtension(start, length, IsaText.String, 0);
  for (; answer != 0; answer = nextExtension(start, length, IsaText.String, extensionEnd(answer))) {
    putBlock(writer, start + <usize>extensionStart(answer), extensionEnd(answer) - extensionStart(answer));
    putByte(writer, 0);
  }
  endProperty(writer);
  putString(writer, "riscv,isa-base", "rv64i");
}

/** The one-letter extensions that all harts have and the host sees, one after the other; or the others, each after an underscore. */
function putNames(writer: TreeWriter, description: MachineDescription, offered: u64, letters: bool): void {
  const hart = description.hart(0);
  let answer = nextExtension(hart.isa, hart.isaLength, hart.isaKind, 0);
  for (; answer != 0; answer = nextExtension(hart.isa, hart.isaLength, hart.isaKind, extensionEnd(answer))) {
    const name = hart.isa + <usize>extensionStart(answer);
    const length = extensionEnd(answer) - extensionStart(answer);
    if (isGeneral(name, length)) {
      putGeneral(writer, description, letters);
      continue;
    }
    if (letters != (length == 1) || !allHartsHave(description, name, length)) continue;
    if (!hostSees(name, length, offered)) continue;
    if (!letters) putByte(writer, UNDERSCORE);
    putBlock(writer, name, length);
  }
}

/** `g`, which only strings have. */
function isGeneral(name: usize, length: u64): bool {
  return length == 1 && read8(<u64>name) == LETTER_G;
}

/** Whether `g` stands for the extension, among others. */
function isOfGeneral(name: usize, length: u64): bool {
  return isOneOf(name, length, "i m a f d zicsr zifencei");
}

/** Puts what hart 0 calls `g` as far as all harts have it, by that name or each by its own: the letters, or the others. */
function putGeneral(writer: TreeWriter, description: MachineDescription, letters: bool): void {
  if (letters) {
    putIfCommon(writer, description, "i", false);
    putIfCommon(writer, description, "m", false);
    putIfCommon(writer, description, "a", false);
    putIfCommon(writer, description, "f", false);
    putIfCommon(writer, description, "d", false);
  } else {
    putIfCommon(writer, description, "zicsr", true);
    putIfCommon(writer, description, "zifencei", true);
  }
}

/** Puts one extension that `g` stands for if all harts have it. */
function putIfCommon(writer: TreeWriter, description: MachineDescription, extension: string, separate: bool): void {
  for (let index: u64 = 1; index < description.hartCount; index++) {
    const hart = description.hart(index);
    if (hart.sameIsaAsFirst == 0 && !hartHasGeneral(hart, extension)) return;
  }
  if (separate) putByte(writer, UNDERSCORE);
  putLiteral(writer, extension);
}

/** Whether the hart names `g`, or this part of it. */
function hartHasGeneral(hart: HartDescription, extension: string): bool {
  let answer = nextExtension(hart.isa, hart.isaLength, hart.isaKind, 0);
  for (; answer != 0; answer = nextExtension(hart.isa, hart.isaLength, hart.isaKind, extensionEnd(answer))) {
    const name = hart.isa + <usize>extensionStart(answer);
    const length = extensionEnd(answer) - extensionStart(answer);
    if (isGeneral(name, length) || isOneOf(name, length, extension)) return true;
  }
  return false;
}

/** Whether every hart has the extension that hart 0 names. */
function allHartsHave(description: MachineDescription, name: usize, length: u64): bool {
  for (let index: u64 = 1; index < description.hartCount; index++) {
    const hart = description.hart(index);
    if (hart.sameIsaAsFirst == 0 && !hartHas(hart, name, length)) return false;
  }
  return true;
}

function hartHas(hart: HartDescription, name: usize, length: u64): bool {
  let answer = nextExtension(hart.isa, hart.isaLength, hart.isaKind, 0);
  for (; answer != 0; answer = nextExtension(hart.isa, hart.isaLength, hart.isaKind, extensionEnd(answer))) {
    const found = hart.isa + <usize>extensionStart(answer);
    const foundLength = extensionEnd(answer) - extensionStart(answer);
    if (foundLength == length && bytesEqual(found, name, length)) return true;
    if (isGeneral(found, foundLength) && isOfGeneral(name, length)) return true;
  }
  return false;
}
