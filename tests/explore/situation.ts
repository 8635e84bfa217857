import {
  PAGE_STATE_NAMES,
  PENDING_NAMES,
  PageState,
  RegionType,
  VcpuState,
} from "../../machine/simulated/hypervisor-state.ts";
import type { AbstractState } from "./abstract-state.ts";
import { KIND, parts } from "./events.ts";

/**
 * What an event finds, as a small number, for the report of the pairs of situation and event that were covered: the page, the TVM and the place
 * in it that the event names, without their names.
 *
 *     19 18     17 16      14 13     11 10   8 7         6 5        4   3 2     0
 *    +------------+----------+---------+------+-----------+--------+-----+-------+
 *    |   entry    |  region  | pending | vCPU | lifecycle | fenced | own | state |
 *    +------------+----------+---------+------+-----------+--------+-----+-------+
 *    |      of the place     |        of the TVM          |     of the page      |
 *
 * `vCPU` and `lifecycle` are one more than in memory, 0 is none.
 */
const Owner = { Host: 0, ThisTvm: 1, OtherTvm: 2 } as const;
const EntryKind = { None: 0, Mapped: 1, Parked: 2, ParkedAndFenced: 3 } as const;

/** Which of the three an event names. */
function uses(kind: number): { page: boolean; tvm: boolean; place: boolean; guest: boolean } {
  const gives = kind >= KIND.addMeasured && kind <= KIND.addShared;
  const guest = kind >= KIND.guestTouch;
  return {
    page: kind <= KIND.touch || gives,
    tvm: kind >= KIND.create,
    place: (kind >= KIND.addMeasured && kind <= KIND.remove) || (guest && kind !== KIND.guestWait),
    guest,
  };
}

export function situation(state: AbstractState, event: number): number {
  const [kind, hart, page, named, place] = parts(event);
  const used = uses(kind);
  // A guest's event is about the TVM that is on the hart.
  const tvm = used.guest ? state.current[hart] - 1 : named;
  let number = 0;
  if (used.page) {
    const converted = state.state[page] === PageState.Converted;
    const itsOwn = used.tvm && state.owner[page] === tvm + 1;
    const owner = state.owner[page] === 0 ? Owner.Host : itsOwn ? Owner.ThisTvm : Owner.OtherTvm;
    number |= state.state[page] | (owner << 3) | ((converted && state.age[page] > state.lag[0] ? 1 : 0) << 5);
  }
  if (used.tvm) {
    number |= (state.lifecycle[tvm] + 1) << 6;
    number |= (state.vcpuState[tvm] + 1) << 8;
    number |= state.pending[tvm] << 11;
  }
  if (used.place) {
    const at = tvm * state.world.size.places + place;
    const entry = state.entryAt[at];
    const fenced = entry > 2 && entry - 2 > state.lag[tvm + 1];
    const kindOfEntry =
      [EntryKind.None, EntryKind.Mapped][entry] ?? (fenced ? EntryKind.ParkedAndFenced : EntryKind.Parked);
    number |= (state.regions[at] & 7) << 14;
    number |= kindOfEntry << 17;
  }
  return number;
}

/** As people read it: "page Converted of the host, fenced; TVM finalized, vCPU Runnable; place Confidential, empty". */
export function describeSituation(kind: number, number: number): string {
  const used = uses(kind);
  const bits = (from: number, count: number): number => (number >>> from) & ((1 << count) - 1);
  const sentences: string[] = [];
  if (used.page) {
    const owner = ["the host", "the TVM", used.tvm ? "another TVM" : "a TVM"][bits(3, 2)];
    sentences.push(`page ${PAGE_STATE_NAMES[bits(0, 3)]} of ${owner}${bits(5, 1) === 1 ? ", fenced" : ""}`);
  }
  if (used.tvm) {
    const lifecycle = ["absent", "initializing", "finalized"][bits(6, 2)];
    const vcpu = bits(8, 3) === 0 ? "without vCPU" : `vCPU ${nameOf(VcpuState, bits(8, 3) - 1)}`;
    const pending = bits(11, 3) === 0 ? "" : `, pending ${PENDING_NAMES[bits(11, 3)]}`;
    sentences.push(`TVM ${lifecycle}, ${vcpu}${pending}`);
  }
  if (used.place) {
    const entry = ["empty", "mapped", "blocked", "blocked and fenced"][bits(17, 2)];
    sentences.push(`place in ${nameOf(RegionType, bits(14, 3))}, ${entry}`);
  }
  return sentences.length === 0 ? "any" : sentences.join("; ");
}

function nameOf(names: Record<string, number>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}
