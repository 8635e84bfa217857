import { putChar, putDecimal, putHex } from "../console";

/** Puts 0:1:2.3: segment, bus, device, function, hexadecimal but for the segment and the function. */
export function putPciAddress(domain: u32, address: u32): void {
  putDecimal(<u64>domain);
  putChar(0x3a);
  putHex(<u64>(address >> 8));
  putChar(0x3a);
  putHex(<u64>((address >> 3) & 31));
  putChar(0x2e);
  putDecimal(<u64>(address & 7));
}
