import { addZeroPages, blockPages, demotePage, PageType, promotePage, tvmInitiateFence } from "../lib/covh";
import { checkSuccess } from "../lib/protocol";
import { HUGE_PAGE_SIZE, PAGES_PER_HUGE } from "../lib/records";
import { DEMOTE_PAGE, PROMOTE_PAGE } from "../lib/tvm-map";
import { Outcome, Tvm } from "./tvm";

/** The two 2 MiB ranges whose page size the host changes while the guest uses them. */

/** Fills the promote range with small pages and makes one large page of them. */
export function servePromotePage(tvm: Tvm): Outcome {
  const source = tvm.promoteSource;
  tvm.promoteSource = 0;
  let done = checkSuccess(
    addZeroPages(tvm.id, source, PageType.Page4K, PAGES_PER_HUGE, PROMOTE_PAGE),
    "AddZeroPages of 512 small pages",
  );
  done = done && checkSuccess(blockPages(tvm.id, PROMOTE_PAGE, HUGE_PAGE_SIZE), "BlockPages");
  done = done && checkSuccess(tvmInitiateFence(tvm.id), "TvmInitiateFence");
  done = done && checkSuccess(promotePage(tvm.id, PROMOTE_PAGE, PageType.Page2M), "PromotePage");
  return done ? Outcome.Continue : Outcome.Unknown;
}

/** Fills the demote range with a large page and makes small pages of it. */
export function serveDemotePage(tvm: Tvm): Outcome {
  const source = tvm.demoteSource;
  tvm.demoteSource = 0;
  let done = checkSuccess(
    addZeroPages(tvm.id, source, PageType.Page2M, 1, DEMOTE_PAGE),
    "AddZeroPages of a large page",
  );
  done = done && checkSuccess(blockPages(tvm.id, DEMOTE_PAGE, HUGE_PAGE_SIZE), "BlockPages");
  done = done && checkSuccess(tvmInitiateFence(tvm.id), "TvmInitiateFence");
  done = done && checkSuccess(demotePage(tvm.id, DEMOTE_PAGE, PageType.Page4K), "DemotePage");
  return done ? Outcome.Continue : Outcome.Unknown;
}
