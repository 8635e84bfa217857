import { readTsmInfo, TSM_INFO_SIZE, tsmGetInfo, TsmInfo } from "../lib/covh";
import { parameterBuffer, state } from "./state";

/** Asks the TSM what a TVM costs, and keeps the answer in the state. */
export function askTsm(): TsmInfo {
  const buffer = parameterBuffer();
  assert(tsmGetInfo(buffer, TSM_INFO_SIZE) == TSM_INFO_SIZE, "there is no TSM");
  const info = changetype<TsmInfo>(<usize>(buffer + 64));
  readTsmInfo(info, buffer);
  const machine = state();
  machine.tvmStatePages = info.tvmStatePages;
  machine.vcpuStatePages = info.vcpuStatePages;
  machine.maxVcpus = info.maxVcpus;
  return info;
}
