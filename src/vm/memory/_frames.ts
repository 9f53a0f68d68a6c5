/** Frames of physical memory: which are taken, dirty, accessed. A bit each; lock-free. */
import { HEADER, type State } from "./_layout.ts";

const FULL = -1;

export class Frames {
  readonly #state: State;
  readonly #words: Int32Array;

  constructor(state: State) {
    this.#state = state;
    this.#words = state.words;
  }

  /** A free frame, from below; -1: there is none. */
  take(): number {
    const { used, frameWords, skew } = this.#state;
    const hint = this.#state.load(HEADER.FRAME_HINT);
    for (let looked = 0; looked < frameWords; looked++) {
      const word = (hint + looked) % frameWords;
      const bit = this.#takeBit(used + word);
      if (bit < 0) continue;
      if (word !== hint) this.#state.store(HEADER.FRAME_HINT, word);
      this.#state.count("framesUsed");
      return word * 32 + bit - skew;
    }
    return -1;
  }

  /** `count` frames in a row, aligned to their size (a power of two), from above; -1: there are none. */
  takeRun(count: number): number {
    const { baseFrame, skew, shape } = this.#state;
    const first = (count - ((baseFrame - skew) % count)) % count;
    const runs = Math.floor((shape.frames + skew - first) / count);
    if (runs <= 0) return -1;
    const hint = Math.floor((this.#state.load(HEADER.RUN_HINT) * 32 - first) / count);
    const start = Math.max(0, Math.min(hint, runs - 1));
    for (let looked = 0; looked < runs; looked++) {
      const position = first + ((start - looked + runs) % runs) * count;
      if (!this.#claim(position, count)) continue;
      this.#state.store(HEADER.RUN_HINT, (position + count - 1) >>> 5);
      this.#state.count("framesUsed", count);
      return position - skew;
    }
    return -1;
  }

  /** Gives frames in a row back. Nobody may use them any more: every VM was told. */
  give(frame: number, count = 1): void {
    this.#state.count("framesUsed", -count);
    this.#eachWord(frame, count, (word, mask) => {
      this.#forget(word, mask);
      Atomics.and(this.#words, this.#state.used + word, ~mask);
      // Only where to look first: a lost update of a hint costs time, not frames.
      if (word < this.#state.load(HEADER.FRAME_HINT)) this.#state.store(HEADER.FRAME_HINT, word);
      if (word > this.#state.load(HEADER.RUN_HINT)) this.#state.store(HEADER.RUN_HINT, word);
    });
  }

  /** Takes frames in a row out of use, for good: they stay taken, and are no longer counted as used. */
  retire(frame: number, count: number): void {
    this.#state.count("framesUsed", -count);
    this.#state.count("framesPoisoned", count);
    this.#eachWord(frame, count, (word, mask) => this.#forget(word, mask));
  }

  /** The frame of the page of zeros, which all zero pages share; -1: there was no frame for it. Not counted as used. `clear`
   *  fills it before anybody can know of it. */
  zero(clear: (frame: number) => void): number {
    const known = this.#state.load(HEADER.ZERO_FRAME);
    if (known !== 0) return known - 1;
    const frame = this.take();
    if (frame < 0) return -1;
    clear(frame);
    // Losing means that another thread has made it: ours goes back.
    const winner = Atomics.compareExchange(this.#words, HEADER.ZERO_FRAME, 0, frame + 1);
    if (winner === 0) this.#state.count("framesUsed", -1);
    else this.give(frame);
    return winner === 0 ? frame : winner - 1;
  }

  /** Number of the frame at this physical address; -1 if it is none. */
  at(pa: number): number {
    const frame = Math.floor(pa / this.#state.page) - this.#state.baseFrame;
    return frame >= 0 && frame < this.#state.shape.frames ? frame : -1;
  }

  mark(which: "dirty" | "accessed", frame: number): void {
    const position = frame + this.#state.skew;
    const index = this.#state[which] + (position >>> 5);
    const bit = 1 << (position & 31);
    if ((this.#state.load(index) & bit) === 0) Atomics.or(this.#words, index, bit);
  }

  marked(which: "dirty" | "accessed", frame: number): boolean {
    const position = frame + this.#state.skew;
    return (
      ((this.#state.load(this.#state[which] + (position >>> 5)) >>> (position & 31)) & 1) === 1
    );
  }

  /** Takes the lowest free bit of a word; -1: all are taken. */
  #takeBit(index: number): number {
    let word = this.#state.load(index);
    while (word !== FULL) {
      const bit = 31 - Math.clz32(~word & -~word);
      const found = Atomics.compareExchange(this.#words, index, word, word | (1 << bit));
      if (found === word) return bit;
      word = found; // another thread took or gave a frame of this word: choose anew from what is there now
    }
    return -1;
  }

  #claim(position: number, count: number): boolean {
    const first = this.#state.used + (position >>> 5);
    if (count < 32) return this.#claimPart(first, ((1 << count) - 1) << (position & 31));
    const words = count / 32;
    for (let n = 0; n < words; n++) if (this.#state.load(first + n) !== 0) return false;
    for (let n = 0; n < words; n++) {
      // Losing means that a single frame was taken out of the run: give back what we have, there may be another run.
      if (Atomics.compareExchange(this.#words, first + n, 0, FULL) === 0) continue;
      for (let mine = 0; mine < n; mine++) this.#state.store(first + mine, 0);
      return false;
    }
    return true;
  }

  #claimPart(index: number, mask: number): boolean {
    let word = this.#state.load(index);
    while ((word & mask) === 0) {
      const found = Atomics.compareExchange(this.#words, index, word, word | mask);
      if (found === word) return true;
      word = found; // a frame of this word was taken or given: whether ours are still free is to be seen
    }
    return false;
  }

  #forget(word: number, mask: number): void {
    Atomics.and(this.#words, this.#state.dirty + word, ~mask);
    Atomics.and(this.#words, this.#state.accessed + word, ~mask);
  }

  /** The words of a bitmap that frames in a row are in, each with their bits. */
  #eachWord(frame: number, count: number, visit: (word: number, mask: number) => void): void {
    const end = frame + this.#state.skew + count;
    for (let at = frame + this.#state.skew; at < end;) {
      const bits = Math.min(32 - (at & 31), end - at);
      visit(at >>> 5, (bits === 32 ? FULL : (1 << bits) - 1) << (at & 31));
      at += bits;
    }
  }
}

/** Frames that are given back one after the other, put together where they lie in a row. */
export class FreedFrames {
  readonly #frames: Frames;
  #first = 0;
  #count = 0;

  constructor(frames: Frames) {
    this.#frames = frames;
  }

  add(frame: number, count: number): void {
    if (frame !== this.#first + this.#count) this.give();
    if (this.#count === 0) this.#first = frame;
    this.#count += count;
  }

  /** Gives back what was added. */
  give(): void {
    if (this.#count > 0) this.#frames.give(this.#first, this.#count);
    this.#count = 0;
  }
}
