/** What guests do in threads of their own. Each runs until the board says stop, or to its end. */
import { type Guest, type MmioExit, answer } from "../guest.ts";
import { BOARD, meet } from "./board.ts";

/** Stores an address's own number at each word of a range, over and over. Exits may only be stores into [from, to). */
export interface StoreProgram {
  readonly name: "store";
  readonly from: number;
  readonly to: number;
  readonly exits: { readonly from: number; readonly to: number };
}

/** Loads a word over and over; what a device answers is -1. */
export interface WatchProgram {
  readonly name: "watch";
  readonly at: number;
}

/** Stores values at steps of two halves by turns, `rounds` times; the host meets it after each half. */
export interface HalvesProgram {
  readonly name: "halves";
  readonly rounds: number;
  readonly step: number;
  readonly halves: readonly {
    readonly from: number;
    readonly to: number;
    readonly value: bigint;
  }[];
}

export type Program = StoreProgram | WatchProgram | HalvesProgram;

/** What a device answers. */
export const DEVICE_VALUE = 0xffff_ffffn;

/** A program with the board it watches. */
export class Runner {
  readonly #program: Program;
  readonly #board: Int32Array;
  /** Exits that the program does not expect. */
  readonly strange: string[] = [];

  constructor(program: Program, board: Int32Array) {
    this.#program = program;
    this.#board = board;
  }

  readonly mmio = (exit: MmioExit): void => {
    if (!this.#expects(exit)) {
      const kind = exit.write ? "store" : "load";
      this.strange.push(`${kind} of ${exit.size} bytes at 0x${exit.address.toString(16)}`);
    }
    answer(exit, DEVICE_VALUE);
  };

  run(guest: Guest): void {
    const program = this.#program;
    if (program.name === "store") return this.#store(guest, program);
    if (program.name === "watch") return this.#watch(guest, program);
    this.#halves(guest, program);
  }

  #expects({ address, size, write, data }: MmioExit): boolean {
    const program = this.#program;
    if (program.name === "watch") return !write && size === 8 && address === program.at;
    if (program.name === "halves") return false;
    const { from, to } = program.exits;
    return write && size === 8 && address >= from && address < to && data === BigInt(address);
  }

  #store(guest: Guest, { from, to }: StoreProgram): void {
    while (this.#goesOn()) {
      for (let at = from; at < to; at += 8) guest.store(at, BigInt(at));
    }
  }

  #watch(guest: Guest, { at }: WatchProgram): void {
    while (this.#goesOn()) {
      const seen = Number(BigInt.asIntN(32, guest.load(at)));
      Atomics.store(this.#board, BOARD.SEEN, seen);
    }
  }

  #halves(guest: Guest, { rounds, step, halves }: HalvesProgram): void {
    for (let round = 0; round < rounds && this.#goesOn(); round++) {
      for (const { from, to, value } of halves) {
        for (let at = from; at < to; at += step) guest.store(at, value);
        meet(this.#board);
      }
    }
  }

  #goesOn(): boolean {
    Atomics.add(this.#board, BOARD.ROUNDS, 1);
    Atomics.notify(this.#board, BOARD.ROUNDS);
    return Atomics.load(this.#board, BOARD.STOP) === 0;
  }
}
