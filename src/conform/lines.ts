/**
 * Lines of text that are counted and digested without ever becoming strings: a dump can have a quarter of a million.
 * A digest is the first 16 hex digits of SHA-256 over the lines, each followed by one line end.
 */
import { type Hash, createHash } from "node:crypto";

const CHUNK = 1 << 16;
/** More than any line is long. */
const ROOM = 128;
const SPACE = 0x20;
const LINE_END = 0x0a;
const MINUS = 0x2d;

const encoder = new TextEncoder();
const DIGITS = encoder.encode("0123456789abcdef");
const HEX_PREFIX = 0x7830; // "0x", low byte first

/** Four digits at a time: the text of every 16-bit value, first digit in the lowest byte. */
const FOUR_DIGITS = Uint32Array.from({ length: 65536 }, (_, value) => {
  const digit = (shift: number): number => DIGITS[(value >>> shift) & 15] as number;
  return digit(12) | (digit(8) << 8) | (digit(4) << 16) | (digit(0) << 24);
});

/** Text that is written often, as bytes. */
export function token(text: string): Uint8Array {
  return encoder.encode(text);
}

export class Lines {
  /** Lines so far. */
  count = 0;
  #bytes = new Uint8Array(CHUNK);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;
  #keep = false;
  #hash: Hash | undefined;

  /** Starts anew. `keep`: the text will be asked for, too. */
  restart(keep: boolean): void {
    this.count = 0;
    this.#used = 0;
    this.#keep = keep;
    this.#hash = undefined;
  }

  put(text: Uint8Array): void {
    const bytes = this.#bytes;
    let at = this.#used;
    for (let i = 0; i < text.length; i++) bytes[at++] = text[i] as number;
    this.#used = at;
  }

  /** One ASCII letter, by its code. */
  letter(code: number): void {
    this.#bytes[this.#used++] = code;
  }

  space(): void {
    this.#bytes[this.#used++] = SPACE;
  }

  /** A small number; levels can be negative. */
  decimal(value: number): void {
    if (value < 0) {
      this.#bytes[this.#used++] = MINUS;
      this.decimal(-value);
      return;
    }
    if (value >= 10) this.decimal(Math.trunc(value / 10));
    this.#bytes[this.#used++] = DIGITS[value % 10] as number;
  }

  /**
   * A 64-bit value given as two halves: `0x` and lower-case digits without leading zeros. The value is moved to the
   * top of its 64 bits and written with all 16 digits; the zeros behind it are where the next text goes.
   */
  hex(high: number, low: number): void {
    const leading = (high !== 0 ? Math.clz32(high) : 32 + Math.clz32(low | 1)) & ~3;
    let top = high;
    let bottom = low;
    if (leading >= 32) {
      top = low << (leading - 32);
      bottom = 0;
    } else if (leading > 0) {
      top = (high << leading) | (low >>> (32 - leading));
      bottom = low << leading;
    }
    const view = this.#view;
    const at = this.#used;
    view.setUint16(at, HEX_PREFIX, true);
    view.setUint32(at + 2, FOUR_DIGITS[top >>> 16] as number, true);
    view.setUint32(at + 6, FOUR_DIGITS[top & 0xffff] as number, true);
    view.setUint32(at + 10, FOUR_DIGITS[bottom >>> 16] as number, true);
    view.setUint32(at + 14, FOUR_DIGITS[bottom & 0xffff] as number, true);
    this.#used = at + 2 + 16 - (leading >>> 2);
  }

  /** Ends the line. */
  end(): void {
    this.#bytes[this.#used++] = LINE_END;
    this.count++;
    if (this.#used > this.#bytes.length - ROOM) this.#makeRoom();
  }

  digest(): string {
    const hash = this.#hash ?? createHash("sha256");
    return hash.update(this.#written()).digest("hex").slice(0, 16);
  }

  /** The lines as strings, if they were kept. */
  list(): string[] {
    if (!this.#keep) throw new Error("these lines were not kept");
    return new TextDecoder().decode(this.#written()).split("\n").slice(0, -1);
  }

  #written(): Uint8Array {
    return this.#bytes.subarray(0, this.#used);
  }

  #makeRoom(): void {
    if (this.#keep) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    } else {
      this.#hash ??= createHash("sha256");
      this.#hash.update(this.#written());
      this.#used = 0;
    }
  }
}
