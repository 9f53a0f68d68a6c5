/**
 * Hooks for missing pages, as userfaultfd has them: who touches a page that is not there waits until the hook has brought it.
 *
 * That a range is registered is said in its area, for all threads; the hook itself is a function, so each thread that
 * accesses the range registers its own. While one is asked, the page word says so: whoever comes by meanwhile waits.
 */
import { EDEADLK, ENOENT, Stage2Error } from "../../errors.ts";
import { changeBetween } from "./_areas.ts";
import type { Busy, Missing, MissingMode } from "./_fault.ts";
import { placePage } from "./_fill.ts";
import type { HostRange } from "./_notify.ts";
import { isFilling, startFilling, stopFilling } from "./_page.ts";
import type { Space } from "./_space.ts";

/** What a hook is told. */
export interface MissingFault {
  /** First address of the paging unit: a page, or a huge page of a hugetlb area. */
  readonly hva: number;
  /** Its bytes. */
  readonly size: number;
  readonly mode: MissingMode;
  /** The access is a write. */
  readonly write: boolean;
  /** Id of the vCPU that waits; `undefined` for the host itself. */
  readonly vcpu: number | undefined;
}

/**
 * What a hook answers: the page's bytes (what is not given is zero), "zero" for a page of zeros, "continue" to map the page
 * that is in the page cache, "poison" for none. Nothing if it has brought the page itself: {@link GuestMemory.fill}.
 */
export type MissingAnswer = Uint8Array | "zero" | "continue" | "poison" | undefined;
export type MissingHook = (
  fault: MissingFault,
) => MissingAnswer | void | Promise<MissingAnswer | void>;

/** Who accesses. */
export interface Accessor {
  readonly write: boolean;
  readonly vcpu: number | undefined;
}

/** A registered range; disposing ends the registration. */
export interface MissingRegistration extends Disposable {
  dispose(): void;
}

interface Registered {
  readonly from: number;
  readonly to: number;
  readonly mode: MissingMode;
  readonly hook: MissingHook;
}

/** "again": look again. "retry": it takes too long. */
export type Waited = "again" | "retry";
const PAUSE = 4;

export class MissingHooks {
  readonly #space: Space;
  readonly #hooks = new Set<Registered>();
  /** Page words that this thread's hooks were asked for: promises, or `undefined` while the hook itself runs. */
  readonly #asked = new Map<number, Promise<unknown> | undefined>();

  constructor(space: Space) {
    this.#space = space;
  }

  /** Registers a hook. The range is checked. */
  register({ hva, size }: HostRange, mode: MissingMode, hook: MissingHook): MissingRegistration {
    const registered = { from: hva, to: hva + size, mode, hook };
    this.#adjust(registered, 1);
    this.#hooks.add(registered);
    const dispose = (): void => {
      if (this.#hooks.delete(registered)) this.#adjust(registered, -1);
    };
    return { dispose, [Symbol.dispose]: dispose };
  }

  /** Ends all registrations of this thread. */
  clear(): void {
    for (const registered of this.#hooks) this.#adjust(registered, -1);
    this.#hooks.clear();
  }

  /** Asks this thread's hook for a page. @throws what the hook throws; Stage2Error `ENOENT`: this thread has none */
  ask(missing: Missing, { write, vcpu }: Accessor): Waited | Promise<Waited> {
    const hook = this.#find(missing);
    const { index, word, look, mode } = missing;
    const asking = startFilling(word);
    const { state } = this.#space;
    // Losing means that somebody brought the page, asks for it, or took its area away: look again.
    if (!this.#space.changed(look, index, word, () => state.store(index, asking))) return "again";
    state.count(mode);
    this.#asked.set(index, undefined);
    let answer;
    try {
      answer = hook({ ...this.#space.unitAt(missing.area, missing.hva), mode, write, vcpu });
      if (!isPromise(answer)) return this.#finish(missing, asking, answer);
    } catch (error) {
      this.#abandon(index, asking);
      throw error;
    }
    const promise = answer.then(
      (value) => this.#finish(missing, asking, value),
      (error: unknown) => {
        this.#abandon(index, asking);
        throw error;
      },
    );
    this.#asked.set(index, promise);
    return promise;
  }

  /** Waits for the page that somebody was asked for. @throws Stage2Error `EDEADLK`: the hook itself accesses it */
  wait({ index, word }: Busy): Waited | Promise<Waited> {
    const { state, waiter } = this.#space;
    if (this.#asked.has(index)) {
      const own = this.#asked.get(index);
      if (own === undefined) throw selfWait();
      state.count("waited");
      return own.then(again, again); // how it failed is told to who asked
    }
    state.count("waited");
    if (!waiter.blocks || this.#asked.size > 0) return this.#poll(index, word);
    const woken = Atomics.wait(state.words, index, word, waiter.patience);
    return woken === "timed-out" ? "retry" : "again";
  }

  async #poll(index: number, word: number): Promise<Waited> {
    const { state, waiter } = this.#space;
    const end = performance.now() + waiter.patience;
    while (state.load(index) === word) {
      if (performance.now() > end) return "retry";
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    return "again";
  }

  #find({ hva, mode }: Missing): MissingHook {
    for (const one of this.#hooks) {
      if (one.mode === mode && hva >= one.from && hva < one.to) return one.hook;
    }
    const message = "the range is registered for missing pages, but this thread has no hook for it";
    throw new Stage2Error("ENOENT", message, { hva, mode }, ENOENT);
  }

  /** Takes a hook's answer. @throws Stage2Error if it is none */
  #finish({ hva, index }: Missing, asking: number, answer: MissingAnswer | void): Waited {
    try {
      if (answer !== undefined) placePage(this.#space, hva, answer);
      else if (this.#space.state.load(index) === asking) throw leftOut(hva);
    } finally {
      this.#abandon(index, asking);
    }
    return "again";
  }

  /** Nobody is asked any more. If the page came, there is nothing to undo. */
  #abandon(index: number, asking: number): void {
    const { state } = this.#space;
    this.#asked.delete(index);
    this.#space.locked(index, () => {
      if (state.load(index) === asking) state.store(index, stopFilling(asking));
    });
    if (isFilling(asking)) Atomics.notify(state.words, index);
  }

  #adjust({ from, to, mode }: Registered, by: 1 | -1): void {
    this.#space.areas.edit((areas) =>
      changeBetween(areas, from, to, (area) => ({ ...area, [mode]: Math.max(0, area[mode] + by) })),
    );
  }
}

const again = (): Waited => "again";

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | undefined)?.then === "function";
}

function selfWait(): Stage2Error {
  const message = "a hook for missing pages touched the page that it was asked for";
  return new Stage2Error("EDEADLK", message, {}, EDEADLK);
}

function leftOut(hva: number): Stage2Error {
  return new Stage2Error("BAD_OPTION", "the hook neither answered nor brought the page", { hva });
}
