/**
 * dirty_log_test in one thread: guests write the number of the round, and the host collects while they do, also in the middle
 * of their faults. Beside what the values say, a ledger of all stores says exactly which pages must be told.
 */
import { expect } from "vitest";
import { Chance } from "../../../src/explorer/random.ts";
import type { VmVcpu } from "../../../src/index.ts";
import type { Scene } from "../harness/slot/scene.ts";
import type { Program, Turns } from "../harness/slot/turns.ts";
import { type ModeName, collect } from "./modes.ts";
import { Verifier } from "./verify.ts";

/** Random stores between two places where a guest may be stopped. */
const STORES = 1024;

export interface RoundsOptions {
  readonly mode: ModeName;
  readonly rounds: number;
  readonly seed: number;
  /** Stores of one stretch. Default 1,024. */
  readonly stores?: number;
}

export class Rounds {
  readonly #scene: Scene;
  readonly #options: RoundsOptions;
  readonly #stores: number;
  readonly #verifier = new Verifier();
  readonly #chance: Chance;
  #round = 1;
  #stopping = false;
  #over = false;
  readonly #parked = new Set<VmVcpu>();
  /** Guests whose ring is full. */
  readonly #full = new Set<VmVcpu>();
  /** Of guests whose ring was full: the page of the store that is logged and not done. */
  readonly #pending = new Map<VmVcpu, number>();
  /** Stores that were done in a later round than they began in, by page: the value. */
  readonly #late = new Map<number, number>();
  /** Pages stored to since the last collection. */
  readonly #stored = new Set<number>();
  /** The log began with all pages. */
  #allFirst: boolean;
  /** How often a ring was full. */
  fullExits = 0;
  /** Pages told, of all collections. */
  told = 0;

  constructor(scene: Scene, options: RoundsOptions) {
    this.#scene = scene;
    this.#options = options;
    this.#stores = options.stores ?? STORES;
    this.#chance = new Chance(options.seed);
    this.#allFirst = options.mode === "clear";
  }

  run(turns: Turns): void {
    turns.run([...this.#scene.vcpus.map((vcpu) => this.#guest(vcpu)), this.#host()]);
  }

  /** First every page of its share, then random ones. */
  *#guest(vcpu: VmVcpu): Program {
    const { pages, vcpus } = this.#scene;
    for (let page = vcpu.id; page < pages && !this.#over; page += vcpus.length) {
      yield* this.#store(vcpu, page);
    }
    const chance = new Chance(this.#options.seed * 31 + vcpu.id);
    while (!this.#over) {
      for (let n = this.#stores; n > 0; n--) {
        yield* this.#store(vcpu, chance.below(pages));
        yield;
      }
      yield* this.#sync(vcpu);
    }
  }

  *#store(vcpu: VmVcpu, page: number): Program {
    const { ipa, page: bytes } = this.#scene;
    const round = this.#round;
    const value = BigInt(round);
    for (;;) {
      const result = vcpu.run(() => vcpu.cpu.write64(ipa + page * bytes, value));
      if (result === undefined) break;
      if (result.reason !== "dirtyRingFull") throw new Error(`exit: ${result.reason}`);
      this.fullExits++;
      this.#full.add(vcpu);
      this.#pending.set(vcpu, page);
      while (this.#full.has(vcpu) && !this.#over) yield;
      if (this.#over) return;
    }
    this.#pending.delete(vcpu);
    this.#stored.add(page);
    if (round < this.#round) this.#late.set(page, round);
    else this.#late.delete(page);
  }

  /** Stands still while the host wants it. */
  *#sync(vcpu: VmVcpu): Program {
    if (!this.#stopping) return;
    this.#parked.add(vcpu);
    while (this.#parked.has(vcpu)) yield;
  }

  *#host(): Program {
    const { vcpus } = this.#scene;
    for (let n = 0; n < this.#options.rounds; n++) {
      for (
        let wait = this.#chance.below(2 * this.#stores);
        wait > 0 && this.#full.size === 0;
        wait--
      )
        yield;
      const { collection, pending } = this.#collect();
      this.#stopping = true;
      while (this.#parked.size + this.#full.size < vcpus.length) yield;
      this.#verifier.round(
        this.#round,
        collection,
        (page) => this.#valueOf(page),
        (page, value) => pending.has(page) || this.#late.get(page) === value,
      );
      this.#stopping = false;
      this.#round++;
      this.#over = n === this.#options.rounds - 1;
      this.#full.clear();
      this.#parked.clear();
    }
  }

  /** Collects, and compares with the ledger: every page stored to, and none else but those about to be. */
  #collect() {
    const { vm, vcpus, pages } = this.#scene;
    const collection = collect(this.#options.mode, { vm, vcpus, pages });
    const pending = new Set(this.#pending.values());
    for (let page = 0; page < pages; page++) {
      const bit = collection.dirty[page] as number;
      const stored = this.#stored.has(page);
      if (stored && bit === 0) expect.fail(`round ${this.#round}: page ${page} is missing`);
      if (bit === 1 && !stored && !pending.has(page) && !this.#allFirst) {
        expect.fail(`round ${this.#round}: nobody stored to page ${page}`);
      }
      this.told += bit;
    }
    this.#allFirst = false;
    this.#stored.clear();
    return { collection, pending };
  }

  #valueOf(page: number): number {
    const { ram, hva, page: bytes } = this.#scene;
    const into = new Uint8Array(8);
    ram.read(hva + page * bytes, into);
    return Number(new DataView(into.buffer).getBigUint64(0, true));
  }
}
