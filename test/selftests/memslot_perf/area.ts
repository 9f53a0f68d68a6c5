/**
 * The memory of memslot_perf_test: 512 MiB and 64 KiB in equal slots, whose last one takes what is left; host memory in one
 * piece behind them. All of it is there to be mapped and dropped; one page in 32 is touched, and shows where it lies.
 */
import type { Place, Scene } from "../harness/machine.ts";

const SIZE = 512 * 2 ** 20 + 2 ** 16;
/** Where it begins in the guest. */
const BASE = 2 ** 32;
/** Pages from one that is touched to the next. */
const STRIDE = 32;
const FEW = 4;

/** What guests store in the first and in the second half. */
export const VALUES = { first: 0x1122_3344_5566_7788n, second: 0x99aa_bbcc_ddee_ff00n } as const;

/** Page frames for all that is touched, and half as many again: those that a drop has not given back yet. */
export function framesFor(page: number): number {
  return Math.ceil((1.5 * SIZE) / page / STRIDE);
}

export class Area {
  readonly scene: Scene;
  readonly base = BASE;
  readonly size = SIZE;
  readonly #hva: number;
  readonly slots: readonly Place[];

  constructor(scene: Scene, count: number) {
    this.scene = scene;
    this.#hva = scene.mapHost(BASE, SIZE);
    const { page } = scene.machine;
    const each = Math.floor(SIZE / page / count) * page;
    const slots: Place[] = [];
    for (let slot = 0; slot < count; slot++) {
      const from = slot * each;
      const size = slot === count - 1 ? SIZE - from : each;
      const place = { slot, ipa: BASE + from, size, hva: this.#hva + from };
      scene.vm.setMemslot(place);
      slots.push(place);
    }
    this.slots = slots;
  }

  /** Bytes from one page that is touched to the next. */
  get step(): number {
    return STRIDE * this.scene.machine.page;
  }

  /** Addresses that are touched of `size` bytes. */
  *touched(from: number, size: number): Generator<number> {
    for (let at = from; at < from + size; at += this.step) yield at;
  }

  get last(): Place {
    return this.slots.at(-1) as Place;
  }

  hvaOf(ipa: number): number {
    return this.#hva + (ipa - BASE);
  }

  /** What the host reads at a guest address. */
  read(ipa: number): bigint {
    const word = new BigUint64Array(1);
    const done = this.scene.host.read(this.hvaOf(ipa), new Uint8Array(word.buffer));
    if (done !== true) throw new Error(`the host cannot read IPA ${ipa.toString(16)}`);
    return word[0] as bigint;
  }

  write(ipa: number, value: bigint): void {
    const word = BigUint64Array.of(value);
    const done = this.scene.host.write(this.hvaOf(ipa), new Uint8Array(word.buffer));
    if (done !== true) throw new Error(`the host cannot write IPA ${ipa.toString(16)}`);
  }

  /** The host drops memory: in one piece, or in pieces of `chunk` bytes. How many. */
  drop(from: number, size: number, chunk = size): number {
    let pieces = 0;
    for (let at = from; at < from + size; at += chunk, pieces++) {
      this.scene.host.punch({ hva: this.hvaOf(at), size: Math.min(chunk, from + size - at) });
    }
    return pieces;
  }

  /** Touched addresses where the host reads another value: the first few. */
  others(from: number, size: number, value: bigint): number[] {
    const found: number[] = [];
    for (const at of this.touched(from, size)) {
      if (found.length < FEW && this.read(at) !== value) found.push(at);
    }
    return found;
  }
}
