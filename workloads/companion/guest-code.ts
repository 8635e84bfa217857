import {
  codeWriter,
  ECALL,
  encodeAddi,
  encodeJump,
  encodeLoad,
  encodeOr,
  encodeStore,
  LoadForm,
  Reg,
  StoreForm,
  WFI,
} from "../lib/assembler";
import { allocateZeroed } from "../lib/heap";
import { PAGE_SIZE } from "../lib/records";
import { EID_SRST } from "../lib/sbi";
import { SCRATCH_START } from "../lib/tvm-map";
import { TOUCHED_PAGES } from "./kept-hart";

/**
 * A guest of a few instructions: reads and fills demand-zero pages, waits once, and shuts down. The reason of its shutdown has every bit that was not zero when
 * a page came.
 */
export function writeGuest(): u64 {
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.put(encodeAddi(Reg.A1, Reg.Zero, 0));
  for (let page: u64 = 0; page < TOUCHED_PAGES; page++) {
    writer.putLoadConstant(Reg.T1, SCRATCH_START + page * PAGE_SIZE);
    writer.put(encodeLoad(LoadForm.Ld, Reg.T2, Reg.T1, 0));
    writer.put(encodeOr(Reg.A1, Reg.A1, Reg.T2));
    writer.put(encodeStore(StoreForm.Sd, Reg.T1, Reg.T1, 0));
  }
  writer.put(WFI);
  writer.putLoadConstant(Reg.A7, EID_SRST);
  writer.put(encodeAddi(Reg.A6, Reg.Zero, 0));
  writer.put(encodeAddi(Reg.A0, Reg.Zero, 0));
  writer.put(ECALL);
  writer.put(encodeJump(0));
  writer.finish();
  assert(writer.next <= code + PAGE_SIZE, "the guest's code is longer than a page");
  return code;
}
