import { tsmInitiateFence } from "../lib/covh";
import { runOn } from "../lib/mailbox";
import { check, checkSuccess } from "../lib/protocol";
import { HartCommand } from "./commands";
import { hartAt, hartCount } from "./state";

/**
 * The fence protocol of a host: initiate on one hart, local fence on every other. After that, what was converted before can be
 * given away.
 */
export function fenceAllHarts(): bool {
  if (!checkSuccess(tsmInitiateFence(), "TsmInitiateFence")) return false;
  return fenceOtherHarts();
}

/** Local fences on all harts but this one. */
export function fenceOtherHarts(): bool {
  let all = true;
  for (let index: u64 = 1; index < hartCount(); index++) if (!localFenceOn(index)) all = false;
  return check(all, "every hart answers a local fence");
}

/** A local fence on hart `index`. */
export function localFenceOn(index: u64): bool {
  return runOn(hartAt(index), HartCommand.LocalFence, 0);
}
