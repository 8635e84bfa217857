import { PAGE, PageState } from "../../machine/simulated/hypervisor-state.ts";
import { MEMORY } from "./observer.ts";
import type { Observer } from "./observer.ts";

/** Small pages that hosts work with. Few, so that TVMs meet. */
export const FIRST_PAGE = 256;
export const PAGES = 384;

/** Finds pages of the host that are in the state that a call needs. */
export class HostPages {
  readonly #observer: Observer;
  readonly #random: (limit: number) => number;

  constructor(observer: Observer, random: (limit: number) => number) {
    this.#observer = observer;
    this.#random = random;
  }

  gpa(page: number): bigint {
    return BigInt(MEMORY + PAGE * page);
  }

  /** `count` pages, the first a multiple of `alignment`, of which each is as wanted; after some tries, any. */
  #find(count: number, alignment: number, wanted: (page: number) => boolean): number {
    let page = 0;
    for (let tries = 0; tries < 24; tries++) {
      page = FIRST_PAGE + this.#random((PAGES - count) / alignment) * alignment;
      page -= page % alignment;
      let all = true;
      for (let i = 0; all && i < count; i++) all = wanted(page + i);
      if (all) break;
    }
    return page;
  }

  /** Ordinary memory of the host's. */
  owned(count: number, alignment = 1): number {
    return this.#find(count, alignment, (page) => this.#observer.state(page) === PageState.Owned);
  }

  /** Converted, and usable. */
  fenced(count: number, alignment = 1): number {
    const oldest = this.#observer.oldest();
    return this.#find(count, alignment, (page) => this.#observer.fenced(page, oldest));
  }
}
