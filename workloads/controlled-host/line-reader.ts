import { pause, read8, write8 } from "../lib/hw";
import { debugConsoleRead } from "../lib/sbi";
import { bytesEqual } from "../lib/text";

/** Lines that are typed on the console, and the words in them. */

const LINE_BYTES: u64 = 256;
const LINE_FEED: u32 = 0x0a;
const BLANK: u32 = 0x20;

/** One line, and a cursor over its words, laid over a page of its own. */
@unmanaged
export class CommandLine {
  length: u64;
  /** Where the next word is looked for. */
  next: u64;
  /** The last word read: address and length. */
  word: u64;
  wordLength: u64;

  /** Waits for the next line, without its end. What does not fit is left out. */
  read(): void {
    this.length = 0;
    this.next = 0;
    const typed = this.text() + LINE_BYTES;
    while (true) {
      while (debugConsoleRead(typed, 1) != 1) pause();
      const character = read8(typed);
      if (character == LINE_FEED) return;
      if (this.length < LINE_BYTES) write8(this.text() + this.length++, character);
    }
  }

  /** Goes to the next word. It is empty at the end of the line. */
  nextWord(): void {
    while (this.next < this.length && read8(this.text() + this.next) == BLANK) this.next++;
    this.word = this.text() + this.next;
    while (this.next < this.length && read8(this.text() + this.next) != BLANK) this.next++;
    this.wordLength = this.text() + this.next - this.word;
  }

  isWord(text: string): bool {
    return bytesEqual(this.word, this.wordLength, text);
  }

  /** The next word as a hexadecimal number without prefix. */
  nextNumber(): u64 {
    this.nextWord();
    assert(this.wordLength != 0, "a number is missing");
    let value: u64 = 0;
    for (let i: u64 = 0; i < this.wordLength; i++) value = (value << 4) | (<u64>digitOf(read8(this.word + i)));
    return value;
  }

  /** The line's bytes, and behind them the one that is being read, lie behind the record. */
  private text(): u64 {
    return <u64>changetype<usize>(this) + 64;
  }
}

function digitOf(character: u32): u32 {
  const digit = character - 0x30;
  if (digit < 10) return digit;
  const letter = (character | 0x20) - 0x61;
  assert(letter < 6, "not a hexadecimal digit");
  return letter + 10;
}
