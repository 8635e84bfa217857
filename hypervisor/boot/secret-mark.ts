import { Root } from "../root";
import { fence, ImageSymbol, imageAddress, read64, write64 } from "../riscv/hw";

/**
 * The mark that says that RAM may hold secrets of guests.
 *
 * A reset keeps RAM. Resets that we make scrub first (boot/scrub.ts), others cannot: a watchdog, a debugger, the firmware. So the
 * mark is set when the first TVM is created and taken away when a scrub is complete; a boot that finds it zeroes what was
 * left over before the host can look. It lies in the page right after the image, which no loader writes at a reset.
 */
const WORD_0: u64 = 0x3a92_5c1e_70bd_46f8;
const WORD_1: u64 = 0xe407_d96b_12f5_8ac3;
const WORD_2: u64 = 0x5fb8_230d_c961_7e94;
const WORD_3: u64 = 0x916e_f4a7_0b38_d25c;

/** hpa of the page with the mark, the same at every boot of one image. */
export function secretMarkPage(): u64 {
  return imageAddress(ImageSymbol.End);
}

/** Whether the mark is set. Before anything else writes to RAM. */
export function secretsMarked(): bool {
  const page = secretMarkPage();
  return (
    read64(page) == WORD_0 && read64(page + 8) == WORD_1 && read64(page + 16) == WORD_2 && read64(page + 24) == WORD_3
  );
}

/** Sets the mark: before the first page becomes a guest's. Any hart, any number of times. */
export function markSecrets(root: Root): void {
  const page = root.secretMark;
  if (read64(page) == WORD_0) return;
  // The first word says that the others are there.
  write64(page + 8, WORD_1);
  write64(page + 16, WORD_2);
  write64(page + 24, WORD_3);
  fence();
  write64(page, WORD_0);
  fence();
}

/** Takes the mark away: nothing in RAM is secret any more. */
export function clearSecretMark(): void {
  fence();
  write64(secretMarkPage(), 0);
  fence();
}
