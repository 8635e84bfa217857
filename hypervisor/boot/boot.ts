import { Aplic, initAplic } from "../devices/aplic";
import { SCRATCH_BYTES } from "../attestation/kdf";
import { initPlatform, measurePlatform, takeDevelopmentRoot } from "../attestation/platform";
import { Console, consoleInit } from "../devices/console";
import { hostGuestFile, initImsic } from "../devices/imsic";
import { Action, Hart, HartRequest, HartState, thisHart } from "../hart";
import { alignUp } from "../lib/arithmetic";
import { MAX_VM_SLOTS } from "../memory/page-record";
import { fence, fenceI, ImageSymbol, imageAddress, loadAcquire64, setHartRecord, zeroBytes } from "../riscv/hw";
import { Feature, hasFeature } from "../riscv/isa";
import { PAGE_SHIFT, PAGE_SIZE } from "../riscv/pte";
import { Root } from "../root";
import { findCounters, hasOverflow } from "../vm/counters";
import { OptionalState, setupHartCsrs } from "../vm/csr-policy";
import { acknowledgeInterrupt, pendingRequests, sendRequest, setupHartInterrupts } from "../vm/hart-messages";
import { postMessage } from "../vm/messages";
import { decideAction } from "../vm/schedule";
import { TVM_STATE_PAGES } from "../vm/tvm-layout";
import { VcpuMessage } from "../vm/vcpu";
import { vcpuRecordBytes } from "../vm/vcpu-layout";
import { parkHostVcpu, startHostVcpu } from "../vm/wait";
import { tvmGstageLevels, vmidBits } from "./gstage-modes";
import {
  logDevices,
  logHarts,
  logHost,
  logKept,
  logMachine,
  logMeasured,
  logMemory,
  logModes,
  logText,
} from "./boot-log";
import {
  armBootTimer,
  createHarts,
  dropAbsentHarts,
  reportTest,
  resetHartStatus,
  secondariesSettled,
  startSecondaries,
  vectorBytes,
} from "./harts";
import { hasHandover, takeHandover } from "./dice-handover";
import { createHelpers } from "./helper-space";
import { buildHostTree, HostTreePlan } from "./host-device-tree";
import { createPciDevices, hideSilentDevices, logPci } from "./host-pci";
import { offeredFeatures } from "./host-isa";
import { LayoutError, layoutErrorText, planHostLayout } from "./host-layout";
import {
  copyToHost,
  createHostVcpus,
  createHostVm,
  createPageMap,
  moveImages,
  NO_TREE_PLACE,
  placeHostTree,
} from "./host-vm";
import { createIommus } from "./iommus";
import { kernelSpan } from "./kernel-image";
import { enterKernelMap } from "./kernel-map";
import { buildKernelMap } from "./kernel-ranges";
import { leftoverMemory, MemoryPlan } from "./memory-plan";
import { divideOwnMemory } from "./own-memory";
import { panic } from "./panic";
import { scrubList } from "./scrub";
import { clearSecretMark, markSecrets, secretMarkPage, secretsMarked } from "./secret-mark";
import { haltHart } from "./stop";
import { surveyMachine } from "./survey";

/**
 * From the firmware's jump to the host's first instruction, on the boot hart:
 *
 *     1. device tree -> description of the machine -> plan of memory      (on the boot stack, satp = 0)
 *     2. own memory: root, hart records, page tables; translation on
 *     3. secondary harts are started; meanwhile page records and the host's address space
 *     4. when all harts are up (or their time is): vCPUs, the host's device tree, its first vCPU
 *
 * Between 3 and 4 the boot hart waits for an interrupt, so `bootPrimary` returns and `continueBoot` goes on.
 */
export function bootPrimary(hartId: u64, fdt: usize): u32 {
  thisHart().id = hartId;
  resetHartStatus();
  const marked = secretsMarked();
  const vlenb = vectorBytes();
  const plan = surveyMachine(fdt, hartId, vlenb);
  const description = plan.description;
  if (marked) scrubList(leftoverMemory(plan));
  zeroBytes(plan.ownStart, plan.ownEnd - plan.ownStart);
  const root = createRoot(plan, vlenb);
  createHarts(root, description, plan.own, hartId);
  const self = root.hart(<u64>description.hartIndexOf(hartId));
  self.state = HartState.Online;
  root.bootHart = self;
  setHartRecord(changetype<usize>(self));
  consoleInit(description.uart);

  logText("Salus, a RISC-V micro hypervisor in TypeScript");
  if (imageAddress(ImageSymbol.RecordLog) != imageAddress(ImageSymbol.End)) {
    logText("UNSAFE: this build records all that it reads, secrets included");
  }
  reportTest("TEST: Salus Boot ", self);
  if (marked) {
    logText("the last run ended without scrubbing: all memory that it left behind has been zeroed");
    clearSecretMark();
  }
  takeRootOfTrust(root, plan, self);
  logMachine(description, self, vlenb);
  logMemory(plan);
  layOutHost(plan);

  root.satp = buildKernelMap(plan);
  createHelpers(root, plan);
  if (!enterKernelMap(root.satp)) panic("the harts have no address-space mode that reaches all memory");
  setupHartCsrs(self);
  findCounters(root);
  setupInterrupts(root, plan, self);
  root.vmidBits = vmidBits(plan.gstageLevels);
  root.tvmLevels = tvmGstageLevels(plan.gstageLevels);
  moveImages(plan.layout);
  fence();
  startSecondaries(root, self);
  createPciDevices(root, description, plan.own);
  createPageMap(root, plan);
  createHostVm(root, plan);
  createIommus(root, description, plan.own);
  hideSilentDevices(root);
  logModes(plan, root);
  logDevices(description, root);
  logPci(root);
  plan.deadline = armBootTimer(root);
  return continueBoot(self);
}

/** The end of a trap on a hart that has no vCPU yet: the boot hart while it waits for others, and secondaries until the host is there. */
export function waitForHost(hart: Hart): u32 {
  const root = hart.root;
  if ((pendingRequests(hart) & HartRequest.Halt) != 0) {
    haltHart(hart);
    return Action.Off;
  }
  if (hart == root.bootHart) return continueBoot(hart);
  acknowledgeInterrupt(hart);
  if (loadAcquire64(<u64>(changetype<usize>(hart) + offsetof<Hart>("hostVcpu"))) == 0) return Action.Wait;
  parkHostVcpu(hart);
  return decideAction(hart);
}

/** Step 4, if it is time. Returns the boot hart's Action. */
function continueBoot(hart: Hart): u32 {
  const root = hart.root;
  const plan = changetype<MemoryPlan>(root.bootPlan);
  if (!secondariesSettled(root, plan.deadline)) return Action.Wait;
  dropAbsentHarts(root);
  logHarts(root);
  createHostVcpus(root, root.host, plan);
  const tree = giveHostItsTree(root, plan);
  logKept(plan);
  const entry = plan.layout.kernelGpa;
  reportTest("PASS: Salus Boot ", hart);
  root.bootPlan = 0;
  root.description = 0;
  fenceI();

  const first = root.hart(0);
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const other = root.hart(i);
    if (other != hart && other != first) sendRequest(other, HartRequest.Reschedule);
  }
  if (first == hart) {
    startHostVcpu(hart, entry, tree);
  } else {
    const vcpu = first.hostVcpu;
    vcpu.startAddress = entry;
    vcpu.startOpaque = tree;
    postMessage(vcpu, VcpuMessage.Start);
    sendRequest(first, HartRequest.Reschedule);
    parkHostVcpu(hart);
  }
  return decideAction(hart);
}

/** Keys and certificates of the previous stage, or the development root; and what registers 0 and 1 begin with. */
function takeRootOfTrust(root: Root, plan: MemoryPlan, hart: Hart): void {
  const platform = initPlatform(plan.own.platform);
  const scratch = <u64>hart.workPages;
  root.platform = changetype<usize>(platform);
  // The mark goes up first: from here on there are secrets in RAM.
  if (hasHandover(plan.description.fdt)) {
    markSecrets(root);
    takeHandover(plan.description.fdt, platform, scratch);
    logText("DICE handover taken from the previous stage");
  } else {
    takeDevelopmentRoot(platform, scratch);
    logText("no DICE handover: evidence comes from the development root and proves nothing");
  }
  measurePlatform(root, platform, scratch);
  logMeasured(root);
  zeroBytes(scratch, SCRATCH_BYTES);
}

/** Divides own memory, which has just been zeroed, and fills in the root. */
function createRoot(plan: MemoryPlan, vlenb: u64): Root {
  const own = plan.own;
  const description = plan.description;
  plan.allocator.next = <usize>plan.ownStart;
  plan.allocator.end = <usize>plan.ownEnd;
  divideOwnMemory(own, plan.allocator);
  const root = changetype<Root>(own.root);
  root.console = changetype<Console>(own.console);
  root.features = description.features;
  root.vlenb = vlenb;
  root.cbozBlockSize = description.cbozBlockSize;
  root.timebaseFrequency = description.timebaseFrequency;
  root.testFinisher = description.testFinisher;
  root.uart = description.uart;
  root.secretMark = secretMarkPage();
  root.description = changetype<usize>(description);
  root.bootPlan = changetype<usize>(plan);
  root.vmSlots = own.vmSlots;
  root.vmSlotCount = MAX_VM_SLOTS;
  root.tvmStatePages = TVM_STATE_PAGES;
  root.vcpuStatePages = alignUp(vcpuRecordBytes(vlenb), PAGE_SIZE) >> PAGE_SHIFT;
  return root;
}

/** Decides which memory the host gets, and where it sees it. */
function layOutHost(plan: MemoryPlan): void {
  const layout = plan.layout;
  const description = plan.description;
  const image = imageAddress(ImageSymbol.Start);
  layout.ram = plan.ram;
  layout.kept = plan.kept;
  layout.busy = plan.busy;
  layout.home = 0;
  while (plan.ram.end(layout.home) <= image) layout.home++;
  layout.kernelLoaded = description.kernelBase;
  layout.kernelSize = description.kernelSize;
  // The image is looked into only if it is where an image can be.
  const end = description.kernelBase + description.kernelSize;
  const readable = plan.ram.covers(description.kernelBase, end) && !plan.kept.overlaps(description.kernelBase, end);
  layout.kernelSpan = readable ? kernelSpan(description.kernelBase, description.kernelSize) : 0;
  layout.initrdLoaded = description.initrdBase;
  layout.initrdSize = description.initrdSize;
  plan.allocator.next = plan.own.layout;
  plan.allocator.end = plan.own.layout + <usize>plan.own.layoutBytes;
  const error = planHostLayout(layout, plan.allocator);
  if (error != LayoutError.None) panic(layoutErrorText(error));
}

/** Files of the IMSIC, ours and the host's, or the firmware's IPIs. */
function setupInterrupts(root: Root, plan: MemoryPlan, hart: Hart): void {
  const description = plan.description;
  if (description.hasImsic != 0 && hasFeature(description.features, Feature.Ssaia)) {
    const bits = description.imsicGuestIndexBits;
    const files = description.imsicGuestFiles;
    initImsic(root, plan.own.imsic, description.imsicIdentities, description.imsicGuestIdentities, bits, files);
    setupAplic(root, plan);
  } else {
    // Files that nobody can find are nobody's.
    root.guestFileMask = 0;
  }
  setupHartInterrupts(hart);
}

/** Takes over wired interrupts for the host, which knows the harts by their numbers in the IMSIC's addresses. */
function setupAplic(root: Root, plan: MemoryPlan): void {
  const description = plan.description;
  const aplic = changetype<Aplic>(plan.own.aplic);
  aplic.base = description.aplic;
  aplic.sources = description.aplicSources;
  aplic.hartShift = <u32>PAGE_SHIFT + description.imsicGuestIndexBits;
  aplic.hartBits = description.imsicHartIndexBits;
  aplic.groupShift = description.imsicGroupIndexShift;
  aplic.groupBits = description.imsicGroupIndexBits;
  initAplic(root, aplic);
}

/** Builds the host's device tree and puts it into host RAM; returns its gpa. */
function giveHostItsTree(root: Root, plan: MemoryPlan): u64 {
  const own = plan.own;
  const layout = plan.layout;
  const hasFiles = hostGuestFile(root) != 0;
  const hasVectors = (root.optionalState & OptionalState.Vector) != 0;
  const treePlan = changetype<HostTreePlan>(own.treePlan);
  treePlan.memory = layout.hostRam;
  treePlan.initrdGpa = layout.initrdGpa;
  treePlan.initrdSize = layout.initrdSize;
  treePlan.features = offeredFeatures(root.features, root.henvcfg, hasVectors, hasFiles, hasOverflow(root));
  treePlan.interruptFiles = hasFiles ? 1 : 0;
  const built = buildHostTree(root, plan.description, treePlan, own.tree, own.treeBytes);
  if (built <= 0) panic("the host's device tree does not fit into the memory that was planned for it");
  const size = <u64>built;
  const gpa = placeHostTree(layout, size);
  if (gpa == NO_TREE_PLACE) panic("host RAM has no room for the host's device tree");
  logHost(layout, plan.description, gpa, size);
  copyToHost(layout, gpa, <u64>own.tree, size);
  return gpa;
}
