import { Hart } from "../../hart";
import { copyToVm } from "../../memory/guest-access";
import { workBytes } from "../../memory/page-list";
import { Vcpu } from "../../vm/vcpu";
import { MAX_VCPUS } from "../../vm/tvm-layout";
import { SBI_INVALID_PARAM } from "../errors";

/**
 * What TsmGetInfo writes (32 bytes):
 *
 *      0  u32 state          2 = READY
 *      4  u32 version
 *      8  u64 tvmStatePages      pages to donate to TvmCreate beside the 16 KiB page directory
 *     16  u64 tvmMaxVcpus
 *     24  u64 tvmVcpuStatePages  pages to donate to TvmCpuCreate
 */
@unmanaged
class TsmInfo {
  state: u32;
  version: u32;
  tvmStatePages: u64;
  tvmMaxVcpus: u64;
  tvmVcpuStatePages: u64;
}

const TSM_READY: u32 = 2;
const TSM_VERSION: u32 = 0;

/**
 * COVH 0, TsmGetInfo(gpa, length): describes the TSM; returns the bytes written (CoVE 0.7 §9.4.1).
 * INVALID_PARAM if the buffer is too short, INVALID_ADDRESS if it is not the caller's memory.
 */
export function tsmGetInfo(hart: Hart, caller: Vcpu, gpa: u64, length: u64): i64 {
  const size = <u64>offsetof<TsmInfo>();
  if (length < size) return SBI_INVALID_PARAM;
  const info = changetype<TsmInfo>(workBytes(hart));
  info.state = TSM_READY;
  info.version = TSM_VERSION;
  info.tvmStatePages = hart.root.tvmStatePages;
  info.tvmMaxVcpus = MAX_VCPUS;
  info.tvmVcpuStatePages = hart.root.vcpuStatePages;
  const copied = copyToVm(caller.vm, gpa, changetype<usize>(info), size);
  return copied != 0 ? copied : <i64>size;
}
