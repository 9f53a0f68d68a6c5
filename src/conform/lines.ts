/**
 * Lines of text that are counted and digested without ever becoming strings: a dump can have a quarter of a million.
 * A digest is the first 16 hex digits of SHA-256 over the lines, each followed by one line end.
 */
import { type Hash, createHash } from "node:crypto";

const CHUNK = 1 << 20;
/** More than any line is long. */
const ROOM = 128;
const SPACE = 0x20;
const LINE_END = 0x0a;

const encoder = new TextEncoder();
const DIGITS = encoder.encode("0123456789abcdef");

/** Text that is written often, as bytes. */
export function token(text: string): Uint8Array {
  return encoder.encode(text);
}

export class Lines {
  /** Lines so far. */
  count = 0;
  #bytes = new Uint8Array(CHUNK);
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

  space(): void {
    this.#bytes[this.#used++] = SPACE;
  }

  decimal(value: number): void {
    if (value >= 0 && value < 10) this.#bytes[this.#used++] = DIGITS[value] as number;
    else this.put(encoder.encode(String(value)));
  }

  /** A 64-bit value given as two halves: `0x` and lower-case digits without leading zeros. */
  hex(high: number, low: number): void {
    const bytes = this.#bytes;
    let at = this.#used;
    bytes[at++] = 0x30;
    bytes[at++] = 0x78;
    if (high !== 0) {
      for (let shift = 28 - (Math.clz32(high) & 28); shift >= 0; shift -= 4)
        bytes[at++] = DIGITS[(high >>> shift) & 15] as number;
    }
    const top = high !== 0 ? 28 : 28 - (Math.clz32(low | 1) & 28);
    for (let shift = top; shift >= 0; shift -= 4)
      bytes[at++] = DIGITS[(low >>> shift) & 15] as number;
    this.#used = at;
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
    } else {
      this.#hash ??= createHash("sha256");
      this.#hash.update(this.#written());
      this.#used = 0;
    }
  }
}
