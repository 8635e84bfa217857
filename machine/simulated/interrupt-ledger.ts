import { Cause, Csr } from "./csr-numbers.ts";
import { InvariantViolation } from "./errors.ts";
import type { Hart } from "./hart.ts";
import { HOST_SLOT, HypervisorState, PageState, VcpuState, unpackRecord } from "./hypervisor-state.ts";
import type { InterruptFile } from "./imsic.ts";
import { BIND, decodeBinding } from "./interrupt-file-checker.ts";
import type { Machine } from "./machine.ts";
import { enumValues, fieldOffset } from "./record-layout.ts";

/**
 * Conservation of interrupts: what is sent to the interrupt file of a vCPU is pending there, or in the memory where the hypervisor keeps a file's
 * state, until the vCPU claims it. Nothing is lost on the way from one file to another, nothing is doubled, nothing comes that nobody sent.
 *
 * The ledger has, for each vCPU of a TVM with interrupt files, the set of identities that must be pending. It learns what is sent and claimed from
 * the hardware's side: changes of a file while no code of the hypervisor runs are a guest's or a device's doing. What the hypervisor does to files is none of the
 * ledger's sources, but for InjectExternalInterrupt calls that succeeded - of identities that the guest allowed, which the ledger follows as well.
 *
 * The hypervisor's own interrupts and software interrupts between vCPUs are checked in the same way: a request to a hart is never left without an
 * interrupt on the way, and a software interrupt that was sent to a vCPU is pending until it clears it.
 */
export class InterruptLedger {
  readonly #machine: Machine;
  readonly #state: HypervisorState;
  readonly #words: Uint32Array;
  /** Where each guest file is: index of the hart in the hypervisor's order, number, address of its record. */
  readonly #places = new Map<InterruptFile, FilePlace>();
  readonly #files = new Map<number, InterruptFile>();
  readonly #identityWords: number;
  #accounts = new Map<string, Account>();
  /** vCPUs of all VMs, and whether each had a software interrupt pending when the entry began. */
  #vcpus: number[] = [];
  #software: { vcpu: number; key: string }[] | undefined;
  /** Calls whose outcome matters here, by the hart that is in them. */
  #calls = new Map<Hart, Call>();
  /** Entries that have ended since the last check; several of them can only be accounted for together. */
  #entered = 0;
  /** Changes of files that nobody had at the time, while another hart was giving them to somebody. */
  #unplaced: { place: FilePlace; bits: bigint }[] = [];
  /** How often everything was compared. */
  checks = 0;
  /** Interrupts that were sent to vCPUs, and claimed by them. */
  sent = 0;
  claimed = 0;

  /** The machine's ledger, which begins with what is pending now. */
  static of(machine: Machine): InterruptLedger {
    return (machine.ledger ??= new InterruptLedger(machine));
  }

  private constructor(machine: Machine) {
    this.#machine = machine;
    this.#state = new HypervisorState(machine.memory, machine.root);
    this.#words = new Uint32Array(machine.memory.wasmMemory.buffer);
    const { imsic } = machine;
    this.#identityWords = imsic ? (imsic.guestIdentities + 1) / 32 : 0;
    if (imsic && machine.root.word("guestFileMask") !== 0n) {
      for (const record of this.#state.hartRecords()) {
        const hart = record.number("index");
        const position = machine.harts.findIndex(({ id }) => BigInt(id) === record.word("id"));
        imsic.harts[position].files.forEach((file, number) => {
          if (number === 0) return;
          const place = { hart, number, record: record.number("fileRecords") + number * 8 };
          this.#places.set(file, place);
          this.#files.set(hart * FILES_OF_A_HART + number, file);
        });
      }
      imsic.onPending = (file, before, after) => this.#changed(file, before, after);
    }
    this.#refresh();
    for (const account of this.#accounts.values()) account.expected = this.#pending(account);
  }

  // ---- what happens

  /** The hart enters the hypervisor. */
  entryBegins(hart: Hart, name: string): void {
    if (name !== "trap") return;
    if (this.#software === undefined && this.#entered === 0 && this.#alone()) this.#noteSoftwareInterrupts();
    const cause = Number(hart.csr.values[Csr.scause]);
    if (cause !== Cause.ecallFromGuest) {
      if (cause === Cause.virtualInstruction) this.#software = undefined;
      return;
    }
    const vcpu = this.#current(hart);
    const register = (number: number): bigint => this.#word64(vcpu + 8 * number);
    const eid = Number(register(17));
    const fid = Number(register(16));
    const [a0, a1, a2] = [register(10), register(11), register(12)];
    if (eid === EID_COVI && fid === INJECT) {
      const call: Call = { do: "inject", vcpu, vm: a0, id: a1, identity: a2, allowed: 0n };
      const key = keyOfTarget(call);
      if (!this.#accounts.has(key)) this.#refresh();
      call.allowed = (this.#accounts.get(key)?.allowed ?? 0n) | this.#beingAllowed(key);
      this.#calls.set(hart, call);
    } else if (eid === EID_COVG && (fid === ALLOW || fid === DENY)) {
      const call: Call = { do: fid === ALLOW ? "allow" : "deny", vcpu, vm: 0n, id: 0n, identity: a0, allowed: 0n };
      this.#calls.set(hart, call);
      if (fid === ALLOW) {
        const key = this.#keyOf(vcpu);
        for (const other of this.#calls.values()) {
          if (other.do === "inject" && keyOfTarget(other) === key) other.allowed |= bitsOf(call);
        }
      }
    } else if (eid === EID_IPI && fid === 0) {
      this.#calls.set(hart, { do: "ipi", vcpu, vm: 0n, id: a0, identity: a1, allowed: 0n });
    }
  }

  /** The hart leaves the hypervisor. */
  entryEnds(hart: Hart): void {
    this.#entered++;
    const call = this.#calls.get(hart);
    this.#calls.delete(hart);
    if (!call || this.#word64(call.vcpu + 8 * 10) !== 0n) return;
    const atOnce = this.#entered === 1 && this.#alone();
    if (call.do === "ipi") {
      if (atOnce) this.#checkSent(call);
      return;
    }
    if (call.do === "inject") return this.#injected(call);
    const account = this.#accountOf(call.vcpu);
    if (!account) return;
    account.allowed = call.do === "allow" ? account.allowed | bitsOf(call) : account.allowed & ~bitsOf(call);
  }

  /** What calls that are under way allow for the vCPU. */
  #beingAllowed(key: string): bigint {
    let bits = 0n;
    for (const call of this.#calls.values())
      if (call.do === "allow" && this.#keyOf(call.vcpu) === key) bits |= bitsOf(call);
    return bits;
  }

  /** Nobody else does anything meanwhile: no other hart is in the hypervisor, and no guest takes a step before the next check. */
  #alone(): boolean {
    return this.#machine.entryPlayer === undefined && this.#calls.size === 0;
  }

  /** The call has succeeded: the guest allowed the interrupt at some time while it went on. */
  #injected(call: Call): void {
    const { identity } = call;
    const key = keyOfTarget(call);
    if (!this.#accounts.has(key)) this.#refresh();
    const account = this.#accounts.get(key);
    if (!account)
      throw new InvariantViolation(`interrupt ${identity} was injected into vCPU ${key}, which has no file`);
    if (((call.allowed >> identity) & 1n) === 0n) {
      throw new InvariantViolation(`interrupt ${identity} was injected into vCPU ${key}, which does not allow it`);
    }
    account.expected |= 1n << identity;
    this.sent++;
  }

  /** A file's pending bits were changed. */
  #changed(file: InterruptFile, before: bigint, after: bigint): void {
    const place = this.#places.get(file);
    if (!place) return;
    const hart = this.#machine.hartInHypervisor;
    if (hart && !this.#machine.imsic!.fromDevice) return this.#changedByUs(hart, place, (before & ~after) !== 0n);
    const account = this.#holderOf(place);
    const came = after & ~before;
    const gone = before & ~after;
    if (!account) {
      if (this.#calls.size > 0 || this.#machine.entryPlayer) this.#unplaced.push({ place, bits: came | gone });
      return;
    }
    if (hart) this.#refuseAfterDeny(hart, account, came);
    if (came !== 0n) this.sent++;
    if (gone !== 0n) this.claimed++;
    account.expected = (account.expected | came) & ~gone;
    // With a call under way that injects the same, it cannot be known which of the two was claimed.
    for (const call of this.#calls.values()) {
      if (call.do === "inject" && keyOfTarget(call) === account.key) account.uncertain |= gone;
    }
  }

  /** The hypervisor sends for a host that injects: once the guest's call that denies the interrupt is over, it is too late for that. */
  #refuseAfterDeny(hart: Hart, account: Account, came: bigint): void {
    const call = this.#calls.get(hart);
    if (call?.do !== "inject" || keyOfTarget(call) !== account.key) return;
    const denied = came & ~account.allowed & ~this.#beingAllowed(account.key);
    if (denied === 0n) return;
    const list = identitiesOf(denied).join(", ");
    throw new InvariantViolation(`interrupt ${list} was sent to vCPU ${account.key} after it had denied it`);
  }

  /** What the host has it has for itself, but for messages that its store to the APLIC asks for (genmsi). */
  #changedByUs(by: Hart, { record, number, hart }: FilePlace, cleared: boolean): void {
    const { state, owner } = unpackRecord(this.#words[record / 4], this.#words[record / 4 + 1]);
    if (number > HOST_FILE && (state !== PageState.Owned || owner !== HOST_SLOT)) return;
    if (!cleared && number === HOST_FILE && by.csr.values[Csr.scause] === BigInt(Cause.storeGuestPage)) return;
    throw new InvariantViolation(
      `the hypervisor changed what is pending in file ${number} of hart index ${hart}, the host's`,
    );
  }

  // ---- the comparison

  /** No hart is in the hypervisor: compares. `changed`: vCPUs or their bindings may be others than at the last check. */
  check(changed = true): void {
    this.checks++;
    if (changed) this.#refresh();
    this.#placeLater();
    for (const account of this.#accounts.values()) this.#compare(account);
    this.#checkSoftwareInterrupts();
    this.#checkRequests();
    this.#entered = 0;
  }

  #compare(account: Account): void {
    const pending = this.#pending(account);
    const certain = ~account.uncertain;
    if ((pending & certain) !== (account.expected & certain)) {
      const list = (bits: bigint): string => identitiesOf(bits & certain).join(", ");
      const lost = list(account.expected & ~pending);
      const extra = list(pending & ~account.expected);
      const what = [lost && `interrupts ${lost} were lost`, extra && `interrupts ${extra} were not sent`];
      throw new InvariantViolation(`vCPU ${account.key}: ${what.filter(Boolean).join(", ")}`);
    }
    account.expected = pending;
    account.uncertain = 0n;
  }

  #placeLater(): void {
    for (const { place, bits } of this.#unplaced) {
      const account = this.#holderOf(place);
      if (account) account.uncertain |= bits;
    }
    this.#unplaced = [];
  }

  /** What is pending for the vCPU, wherever it lies. */
  #pending({ vcpu, interrupts }: Account): bigint {
    let bits = 0n;
    for (let index = this.#identityWords - 1; index >= 0; index--) {
      const word = this.#words[interrupts / 4 + index];
      if (word !== 0) bits |= BigInt(word) << BigInt(32 * index);
    }
    for (const file of this.#filesOf(vcpu)) bits |= file.pending;
    return bits;
  }

  /** A hart that was asked for something learns of it: it has an interrupt on the way. */
  #checkRequests(): void {
    for (const hart of this.#machine.harts) {
      if (hart.state === "off" || hart.state === "hypervisor" || hart.threadPointer === 0n) continue;
      const requests = this.#words[(Number(hart.threadPointer) + REQUESTS) / 4] & ~GUEST_EXTERNAL;
      if (requests === 0) continue;
      const { csr } = hart;
      const comes = csr.interruptFiles ? csr.interruptFiles.supervisor.raised() : csr.softwarePending;
      if (comes) continue;
      throw new InvariantViolation(
        `lost wake-up: hart ${hart.id} (${hart.state}) has requests ${requests}, and no interrupt comes`,
      );
    }
  }

  // ---- software interrupts of vCPUs

  #noteSoftwareInterrupts(): void {
    this.#software = [];
    for (const vcpu of this.#vcpus) {
      if (this.#isOff(vcpu) || !this.#softwareInterruptOf(vcpu)) continue;
      this.#software.push({ vcpu, key: this.#keyOf(vcpu) });
    }
  }

  /** After a call that sent them: who is not off has one. */
  #checkSent({ vcpu: caller, id: mask, identity: base }: Call): void {
    const vm = this.#address(caller + VCPU_VM);
    for (const vcpu of this.#vcpus) {
      if (this.#address(vcpu + VCPU_VM) !== vm || this.#isOff(vcpu)) continue;
      const id = BigInt(this.#words[(vcpu + VCPU_ID) / 4]);
      const named = base === EVERY || (id >= base && id - base < 64n && ((mask >> (id - base)) & 1n) !== 0n);
      if (named && !this.#softwareInterruptOf(vcpu)) {
        throw new InvariantViolation(`vCPU ${this.#keyOf(vcpu)} was sent a software interrupt and has none`);
      }
    }
  }

  /** One entry does not take a vCPU's software interrupt away, but by an instruction of its own or with its life. */
  #checkSoftwareInterrupts(): void {
    const before = this.#entered === 1 ? this.#software : undefined;
    this.#software = undefined;
    for (const { vcpu, key } of before ?? []) {
      if (!this.#vcpus.includes(vcpu) || this.#keyOf(vcpu) !== key || this.#isOff(vcpu)) continue;
      if (!this.#softwareInterruptOf(vcpu)) throw new InvariantViolation(`vCPU ${key} lost a software interrupt`);
    }
  }

  #softwareInterruptOf(vcpu: number): boolean {
    if ((this.#words[(vcpu + MESSAGES) / 4] & SOFTWARE_INTERRUPT) !== 0) return true;
    const hart = this.#machine.harts.find((each) => each.threadPointer !== 0n && this.#loaded(each) === vcpu);
    if (hart) return (hart.csr.raw("hvip") & VSSIP) !== 0n;
    return (this.#words[(vcpu + HVIP) / 4] & Number(VSSIP)) !== 0;
  }

  /** What was sent to a vCPU that is off is not for its next life. */
  #isOff(vcpu: number): boolean {
    const state = this.#words[(vcpu + VCPU_STATE) / 4];
    return state === VcpuState.Stopped || state === VcpuState.Starting;
  }

  // ---- reading

  /** The vCPUs that there are. Accounts of those that are gone are closed. */
  #refresh(): void {
    const accounts = new Map<string, Account>();
    this.#vcpus = [];
    for (const vm of this.#state.vms()) {
      const files = !vm.isHost && vm.record.number("hasInterruptFiles") !== 0;
      for (const { address } of vm.vcpus()) {
        this.#vcpus.push(address);
        if (!files) continue;
        const key = this.#keyOf(address);
        const known = this.#accounts.get(key);
        const interrupts = this.#address(address + INTERRUPTS);
        accounts.set(key, known ?? { key, vcpu: address, interrupts, expected: 0n, uncertain: 0n, allowed: 0n });
      }
    }
    this.#accounts = accounts;
  }

  #accountOf(vcpu: number): Account | undefined {
    const key = this.#keyOf(vcpu);
    if (!this.#accounts.has(key)) this.#refresh();
    return this.#accounts.get(key);
  }

  #holderOf(place: FilePlace): Account | undefined {
    const find = (): Account | undefined =>
      [...this.#accounts.values()].find(({ vcpu }) => this.#placesOf(vcpu).some((each) => each === keyOfFile(place)));
    const found = find();
    if (found) return found;
    this.#refresh();
    return find();
  }

  /** The files that a vCPU has: the old one as long as its contents are there, and the new one. */
  #placesOf(vcpu: number): number[] {
    const at = (vcpu + BINDING) / 4;
    if ((this.#words[at] & 0xff) === BIND["Unbound"]) return [];
    const { state, file, hart, nextFile, nextHart } = decodeBinding(this.#word64(vcpu + BINDING));
    const places: number[] = [];
    if (state !== BIND["Cloned"]) places.push(hart * FILES_OF_A_HART + file);
    if (state === BIND["Rebinding"] || state === BIND["Cloned"]) places.push(nextHart * FILES_OF_A_HART + nextFile);
    return places;
  }

  #filesOf(vcpu: number): InterruptFile[] {
    return this.#placesOf(vcpu)
      .map((place) => this.#files.get(place))
      .filter((file) => file !== undefined);
  }

  /** Guest id and number of the vCPU. */
  #keyOf(vcpu: number): string {
    return `${this.#word64(this.#address(vcpu + VCPU_VM) + VM_ID)}:${this.#words[(vcpu + VCPU_ID) / 4]}`;
  }

  #current(hart: Hart): number {
    return this.#address(Number(hart.threadPointer) + CURRENT);
  }

  /** The vCPU whose CSRs are in the hart. */
  #loaded(hart: Hart): number {
    return this.#address(Number(hart.threadPointer) + LOADED);
  }

  #address(at: number): number {
    return this.#words[at / 4] + this.#words[at / 4 + 1] * 2 ** 32;
  }

  #word64(at: number): bigint {
    return BigInt(this.#words[at / 4]) | (BigInt(this.#words[at / 4 + 1]) << 32n);
  }

  // ---- whole states

  save(): unknown {
    return [...this.#accounts.values()].map((account) => ({ ...account }));
  }

  /** `saved` is undefined if there was no ledger yet: then there was no TVM. */
  restore(saved: unknown): void {
    this.#accounts = new Map(((saved ?? []) as Account[]).map((account) => [account.key, { ...account }]));
    this.#calls.clear();
    this.#unplaced = [];
    this.#software = undefined;
    this.#entered = 0;
    this.#refresh();
  }
}

interface FilePlace {
  hart: number;
  number: number;
  record: number;
}

/** What a vCPU with a file has coming to it. */
interface Account {
  key: string;
  /** Addresses of its record, and of the memory for its file's state. */
  vcpu: number;
  interrupts: number;
  /** Bit n: identity n. */
  expected: bigint;
  /** Identities that may be pending or not. */
  uncertain: bigint;
  allowed: bigint;
}

/** A call that has begun: which vCPU made it, and its arguments. */
interface Call {
  do: "inject" | "allow" | "deny" | "ipi";
  vcpu: number;
  vm: bigint;
  id: bigint;
  identity: bigint;
  /** Of an injection: what its vCPU has allowed since it began. */
  allowed: bigint;
}

/** The vCPU that an injection is for. */
function keyOfTarget({ vm, id }: Call): string {
  return `${vm}:${id}`;
}

/** The identities that an allow or deny is about. */
function bitsOf({ identity }: Call): bigint {
  if (identity === EVERY) return EVERY_BIT;
  return identity < IDENTITIES ? 1n << identity : 0n;
}

function keyOfFile({ hart, number }: FilePlace): number {
  return hart * FILES_OF_A_HART + number;
}

function identitiesOf(bits: bigint): number[] {
  return [...bits.toString(2)].reverse().flatMap((bit, identity) => (bit === "1" ? [identity] : []));
}

const FILES_OF_A_HART = 64;
const HOST_FILE = 1;
const EID_COVI = 0x434f5649;
const INJECT = 7;
const EID_COVG = 0x434f5647;
const ALLOW = 4;
const DENY = 5;
const EID_IPI = 0x735049;
const EVERY = (1n << 64n) - 1n;
const IDENTITIES = 2048n;
/** Identities 1 to 2047. */
const EVERY_BIT = (1n << IDENTITIES) - 2n;
const VSSIP = 4n;
const SOFTWARE_INTERRUPT = enumValues("vm/vcpu", "VcpuMessage")["SoftwareInterrupt"];
const GUEST_EXTERNAL = enumValues("hart", "HartRequest")["GuestExternal"];
const CURRENT = fieldOffset("hart", "current");
const LOADED = fieldOffset("hart", "vcpu");
const REQUESTS = fieldOffset("hart", "requests");
const VCPU_VM = fieldOffset("vcpu", "vm");
const VCPU_ID = fieldOffset("vcpu", "id");
const VCPU_STATE = fieldOffset("vcpu", "state");
const INTERRUPTS = fieldOffset("vcpu", "interrupts");
const BINDING = fieldOffset("vcpu", "binding");
const MESSAGES = fieldOffset("vcpu", "messages");
const HVIP = fieldOffset("vcpu", "hvip");
const VM_ID = fieldOffset("vm", "id");
