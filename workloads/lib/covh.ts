import { read32, read64, write64 } from "./hw";
import { EID_COVH, sbi } from "./sbi";

/**
 * COVH: the CoVE calls of a host. Every wrapper returns the error if negative, else the value. Pages are counted in 4 KiB
 * unless a page type says otherwise; guest addresses (`gpa`) are the TVM's, all others the host's.
 */

export const enum CovhFunction {
  TsmGetInfo = 0,
  ConvertPages = 1,
  ReclaimPages = 2,
  TsmInitiateFence = 3,
  TsmLocalFence = 4,
  TvmCreate = 5,
  TvmFinalize = 6,
  TvmDestroy = 7,
  AddMemoryRegion = 8,
  AddPageTablePages = 9,
  AddMeasuredPages = 10,
  AddZeroPages = 11,
  AddSharedPages = 12,
  CpuCreate = 13,
  CpuRun = 14,
  TvmInitiateFence = 15,
  BlockPages = 16,
  UnblockPages = 17,
  PromotePage = 18,
  DemotePage = 19,
  RemovePages = 20,
  /** The first number that means nothing. */
  End = 21,
}

export const enum PageType {
  Page4K = 0,
  Page2M = 1,
  Page1G = 2,
  Page512G = 3,
}

/** Answer of TsmGetInfo. */
@unmanaged
export class TsmInfo {
  state: u32;
  version: u32;
  tvmStatePages: u64;
  maxVcpus: u64;
  vcpuStatePages: u64;
}

export const TSM_INFO_SIZE: u64 = 32;
export const TSM_READY: u32 = 2;
/** Pages of a TVM's page directory (16 KiB, 16 KiB-aligned). */
export const PAGE_DIRECTORY_PAGES: u64 = 4;
export const TVM_CREATE_PARAMS_SIZE: u64 = 16;

export function tsmGetInfo(destination: u64, length: u64): i64 {
  return sbi(EID_COVH, CovhFunction.TsmGetInfo, destination, length);
}

/** What TsmGetInfo wrote at `address`. */
export function readTsmInfo(info: TsmInfo, address: u64): void {
  info.state = read32(address);
  info.version = read32(address + 4);
  info.tvmStatePages = read64(address + 8);
  info.maxVcpus = read64(address + 16);
  info.vcpuStatePages = read64(address + 24);
}

export function convertPages(address: u64, count: u64): i64 {
  return sbi(EID_COVH, CovhFunction.ConvertPages, address, count);
}

export function reclaimPages(address: u64, count: u64): i64 {
  return sbi(EID_COVH, CovhFunction.ReclaimPages, address, count);
}

export function tsmInitiateFence(): i64 {
  return sbi(EID_COVH, CovhFunction.TsmInitiateFence);
}

export function tsmLocalFence(): i64 {
  return sbi(EID_COVH, CovhFunction.TsmLocalFence);
}

/** Creates a TVM; `parameters` is 16 bytes of own memory that this fills. Returns the guest id. */
export function tvmCreate(parameters: u64, directory: u64, state: u64): i64 {
  write64(parameters, directory);
  write64(parameters + 8, state);
  return tvmCreateFrom(parameters, TVM_CREATE_PARAMS_SIZE);
}

export function tvmCreateFrom(parameters: u64, length: u64): i64 {
  return sbi(EID_COVH, CovhFunction.TvmCreate, parameters, length);
}

export function tvmFinalize(id: u64, pc: u64, argument: u64): i64 {
  return sbi(EID_COVH, CovhFunction.TvmFinalize, id, pc, argument);
}

export function tvmDestroy(id: u64): i64 {
  return sbi(EID_COVH, CovhFunction.TvmDestroy, id);
}

export function addMemoryRegion(id: u64, gpa: u64, length: u64): i64 {
  return sbi(EID_COVH, CovhFunction.AddMemoryRegion, id, gpa, length);
}

export function addPageTablePages(id: u64, address: u64, count: u64): i64 {
  return sbi(EID_COVH, CovhFunction.AddPageTablePages, id, address, count);
}

export function addMeasuredPages(id: u64, source: u64, destination: u64, type: u64, count: u64, gpa: u64): i64 {
  return sbi(EID_COVH, CovhFunction.AddMeasuredPages, id, source, destination, type, count, gpa);
}

export function addZeroPages(id: u64, address: u64, type: u64, count: u64, gpa: u64): i64 {
  return sbi(EID_COVH, CovhFunction.AddZeroPages, id, address, type, count, gpa);
}

export function addSharedPages(id: u64, address: u64, type: u64, count: u64, gpa: u64): i64 {
  return sbi(EID_COVH, CovhFunction.AddSharedPages, id, address, type, count, gpa);
}

export function cpuCreate(id: u64, vcpu: u64, state: u64): i64 {
  return sbi(EID_COVH, CovhFunction.CpuCreate, id, vcpu, state);
}

/** Runs a vCPU until it exits. 0: it can be run again; 1: it is off. */
export function cpuRun(id: u64, vcpu: u64): i64 {
  return sbi(EID_COVH, CovhFunction.CpuRun, id, vcpu);
}

export function tvmInitiateFence(id: u64): i64 {
  return sbi(EID_COVH, CovhFunction.TvmInitiateFence, id);
}

export function blockPages(id: u64, gpa: u64, length: u64): i64 {
  return sbi(EID_COVH, CovhFunction.BlockPages, id, gpa, length);
}

export function unblockPages(id: u64, gpa: u64, length: u64): i64 {
  return sbi(EID_COVH, CovhFunction.UnblockPages, id, gpa, length);
}

export function promotePage(id: u64, gpa: u64, type: u64): i64 {
  return sbi(EID_COVH, CovhFunction.PromotePage, id, gpa, type);
}

export function demotePage(id: u64, gpa: u64, type: u64): i64 {
  return sbi(EID_COVH, CovhFunction.DemotePage, id, gpa, type);
}

export function removePages(id: u64, gpa: u64, length: u64): i64 {
  return sbi(EID_COVH, CovhFunction.RemovePages, id, gpa, length);
}
