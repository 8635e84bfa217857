import { InvariantViolation } from "../../machine/simulated/errors.ts";
import { Lifecycle, PAGE, PageState, isAboutRange } from "../../machine/simulated/hypervisor-state.ts";
import { Covh, Eid } from "../unit/support/simulated/sbi.ts";
import type { AbstractState } from "./abstract-state.ts";
import { TVM_MEMORY } from "./small-world.ts";
import type { SmallWorld } from "./small-world.ts";

/** Everything that can happen in the small world, one thing at a time on one hart. */
export const EVENTS = [
  ...["convert", "reclaim", "touch", "fence", "localFence"],
  ...["create", "destroy", "addRegion", "addTables", "createVcpu", "finalize"],
  ...["addMeasured", "addZero", "addShared", "block", "unblock", "remove", "tvmFence", "run", "runRefusing"],
  ...["guestTouch", "guestWait", "share", "unshare"],
] as const;

export type EventKind = (typeof EVENTS)[number];

export const KIND: Record<EventKind, number> = Object.fromEntries(EVENTS.map((name, index) => [name, index])) as Record<
  EventKind,
  number
>;

/** An event as a number: kind, hart, page, TVM, place. */
export function pack(kind: number, hart: number, page = 0, tvm = 0, place = 0): number {
  return kind | (hart << 5) | (page << 8) | (tvm << 12) | (place << 15);
}

export function describeEvent(event: number): string {
  const [kind, hart, page, tvm, place] = parts(event);
  const name = EVENTS[kind];
  const where = `hart ${hart}: ${name}`;
  switch (name) {
    case "convert":
    case "reclaim":
    case "touch":
      return `${where} page ${page}`;
    case "fence":
    case "localFence":
    case "guestWait":
      return where;
    case "addMeasured":
    case "addZero":
    case "addShared":
      return `${where} page ${page} to TVM ${tvm}, place ${place}`;
    case "block":
    case "unblock":
    case "remove":
      return `${where} TVM ${tvm}, place ${place}`;
    case "guestTouch":
    case "share":
    case "unshare":
      return `${where} place ${place}`;
    default:
      return `${where} TVM ${tvm}`;
  }
}

/** Kind, hart, page, TVM, place. */
export function parts(event: number): [number, number, number, number, number] {
  return [event & 31, (event >>> 5) & 7, (event >>> 8) & 15, (event >>> 12) & 7, (event >>> 15) & 7];
}

/** Lists the events of a state: for pages, TVMs and harts that look alike only those of one. `out` is filled from the start; returns how many. */
export function listEvents(state: AbstractState, out: Int32Array): number {
  const { harts, tvms, pages, places } = state.world.size;
  const first: number[] = [];
  const seen = new Set<number>();
  for (let page = 0; page < pages; page++) {
    const signature = state.signature(page);
    if (seen.has(signature)) continue;
    seen.add(signature);
    first.push(page);
  }
  let count = 0;
  const add = (event: number): void => void (out[count++] = event);
  for (let hart = 0; hart < harts; hart++) {
    if (state.isMirrored(hart, -1)) continue;
    if (state.current[hart] !== 0) {
      for (let place = 0; place < places; place++) {
        add(pack(KIND.guestTouch, hart, 0, 0, place));
        add(pack(KIND.share, hart, 0, 0, place));
        add(pack(KIND.unshare, hart, 0, 0, place));
      }
      add(pack(KIND.guestWait, hart));
      continue;
    }
    for (const page of first) {
      add(pack(KIND.convert, hart, page));
      add(pack(KIND.reclaim, hart, page));
      add(pack(KIND.touch, hart, page));
    }
    add(pack(KIND.fence, hart));
    add(pack(KIND.localFence, hart));
    for (let tvm = 0; tvm < tvms; tvm++) {
      if (state.isMirrored(hart, tvm)) continue;
      if (state.lifecycle[tvm] < 0) {
        add(pack(KIND.create, hart, 0, tvm));
        continue;
      }
      for (const kind of [
        KIND.destroy,
        KIND.addRegion,
        KIND.addTables,
        KIND.createVcpu,
        KIND.finalize,
        KIND.tvmFence,
      ]) {
        add(pack(kind, hart, 0, tvm));
      }
      add(pack(KIND.run, hart, 0, tvm));
      if (isAboutRange(state.pending[tvm])) add(pack(KIND.runRefusing, hart, 0, tvm));
      for (let place = 0; place < places; place++) {
        for (const kind of [KIND.block, KIND.unblock, KIND.remove]) add(pack(kind, hart, 0, tvm, place));
        for (const page of first) {
          for (const kind of [KIND.addMeasured, KIND.addZero, KIND.addShared]) add(pack(kind, hart, page, tvm, place));
        }
      }
    }
  }
  return count;
}

/** Does it; returns the SBI error, or 0. */
export function perform(world: SmallWorld, state: AbstractState, event: number): number {
  const [kind, hartIndex, page, tvm, place] = parts(event);
  const hart = world.machine.harts[hartIndex];
  world.machine.clock.now = 1_000_000n;
  const covh = (fid: number, a0?: number, a1?: number, a2?: number, a3?: number, a4?: number, a5?: number): number =>
    world.call(hart, Eid.covh, fid, a0, a1, a2, a3, a4, a5);
  const id = (): number => guestId(world, tvm);
  const gpa = TVM_MEMORY + place * PAGE;
  switch (EVENTS[kind]) {
    case "convert":
      return covh(Covh.convertPages, world.pageGpa(page), 1);
    case "reclaim":
      return covh(Covh.reclaimPages, world.pageGpa(page), 1);
    case "touch":
      world.touch(hart, world.pageGpa(page));
      return 0;
    case "fence":
      return covh(Covh.initiateFence);
    case "localFence":
      return covh(Covh.localFence);
    case "create":
      return covh(Covh.tvmCreate, world.paramGpa(tvm), 16);
    case "destroy":
      return covh(Covh.tvmDestroy, id());
    case "addRegion":
      return covh(Covh.addMemoryRegion, id(), TVM_MEMORY, world.size.places * PAGE);
    case "addTables":
      return covh(Covh.addPageTablePages, id(), world.frameGpa(tvm, 7), 2);
    case "createVcpu":
      return covh(Covh.cpuCreate, id(), 0, world.frameGpa(tvm, 6));
    case "finalize":
      return covh(Covh.tvmFinalize, id(), TVM_MEMORY, 0);
    case "addMeasured": {
      // The first other page that the host has: which one makes no difference.
      const source = state.state.findIndex(
        (kindOf, at) => kindOf === PageState.Owned && state.owner[at] === 0 && at !== page,
      );
      return covh(Covh.addMeasuredPages, id(), world.pageGpa(Math.max(source, 0)), world.pageGpa(page), 0, 1, gpa);
    }
    case "addZero":
      return covh(Covh.addZeroPages, id(), world.pageGpa(page), 0, 1, gpa);
    case "addShared":
      return covh(Covh.addSharedPages, id(), world.pageGpa(page), 0, 1, gpa);
    case "block":
      return covh(Covh.blockPages, id(), gpa, PAGE);
    case "unblock":
      return covh(Covh.unblockPages, id(), gpa, PAGE);
    case "remove":
      return covh(Covh.removePages, id(), gpa, PAGE);
    case "tvmFence":
      return covh(Covh.tvmInitiateFence, id());
    case "run":
      world.answer(hart, 0);
      return covh(Covh.cpuRun, id(), 0);
    case "runRefusing":
      world.answer(hart, 1);
      return covh(Covh.cpuRun, id(), 0);
    case "guestTouch":
      world.touch(hart, gpa);
      return 0;
    case "guestWait":
      world.wfi(hart);
      return 0;
    case "share":
      return world.call(hart, Eid.covg, 2, gpa, PAGE);
    case "unshare":
      return world.call(hart, Eid.covg, 3, gpa, PAGE);
    default:
      throw new Error(`event ${event}`);
  }
}

/** Guest id of the TVM that is made of frame `tvm`: the first field of its record. */
function guestId(world: SmallWorld, tvm: number): number {
  const at = world.stateHpa(tvm) / 4;
  return world.words[at] + world.words[at + 1] * 2 ** 32;
}

/**
 * A page that came to somebody in this event must be zero (or, while a TVM is loaded, what was copied); then its new owner writes to it. `before`:
 * state and owner of each page before the event.
 */
export function checkArrivals(world: SmallWorld, state: AbstractState, states: Int32Array, owners: Int32Array): void {
  for (let page = 0; page < world.size.pages; page++) {
    const now = state.state[page];
    if (now !== PageState.Owned && now !== PageState.Shared) continue;
    const had = states[page] === PageState.Owned || states[page] === PageState.Shared;
    if (had && owners[page] === state.owner[page]) continue;
    const hpa = world.hpa[page];
    const loaded = state.owner[page] > 0 && state.lifecycle[state.owner[page] - 1] === Lifecycle.Initializing;
    if (loaded) {
      const from = world.words[hpa / 4 + 1];
      if (from === hpa / PAGE) throw new InvariantViolation(`${state.describePage(page)} arrived with what it held`);
    } else if (!world.isClean(hpa)) {
      throw new InvariantViolation(`${state.describePage(page)} arrived with what it held`);
    }
    world.soil(hpa);
  }
}
