/**
 * Hooks for missing pages, as userfaultfd has them: who touches a page that is not there waits until the hook has brought it.
 *
 * That a range is registered is said in its area, for all threads; the hook itself is a function, so each thread that
 * accesses the range registers its own. While one is asked, the page word says so: whoever comes by meanwhile waits.
 */
import { disposed } from "../../_context.ts";
import { EDEADLK, ENOENT, Stage2Error } from "../../errors.ts";
import { type Look, existedAt } from "./_areas.ts";
import type { Busy, Missing, MissingMode } from "./_fault.ts";
import { placePage } from "./_fill.ts";
import type { HostRange } from "./_notify.ts";
import { startFilling, stopFilling } from "./_page.ts";
import { type Registered, Registrations } from "./_registrations.ts";
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
/** Answers at once, or with a promise (anything that has `then`). One that never settles keeps the access waiting. */
export type MissingHook = (
  fault: MissingFault,
) => MissingAnswer | void | PromiseLike<MissingAnswer | void>;

/** Who accesses. */
export interface Accessor {
  readonly write: boolean;
  readonly vcpu: number | undefined;
}

/** A registered range; disposing ends the registration. What was asked for already may still be answered. */
export interface MissingRegistration extends Disposable {
  dispose(): void;
}

/** A page that a hook of this thread was asked for. */
interface Asked {
  readonly missing: Missing;
  /** The page word meanwhile. */
  readonly asking: number;
  readonly registered: Registered<MissingHook>;
  /** Settles when it was answered; `undefined` while the hook itself runs. */
  promise: Promise<Waited> | undefined;
  /** Ends the promise before that. */
  refuse: (error: Error) => void;
}

/** "again": look again. "retry": it takes too long. */
export type Waited = "again" | "retry";
const PAUSE = 4;

export class MissingHooks {
  readonly #space: Space;
  readonly #registrations: Registrations<MissingHook>;
  readonly #asked = new Set<Asked>();
  /** By page word. A page that was dropped while a hook was asked is asked for anew: the last one counts. */
  readonly #last = new Map<number, Asked>();
  #ended = false;

  constructor(space: Space) {
    this.#space = space;
    this.#registrations = new Registrations(space);
  }

  /** Registers a hook. The range is checked. */
  register(range: HostRange, mode: MissingMode, hook: MissingHook): MissingRegistration {
    const registered = this.#registrations.add(range, mode, hook);
    const dispose = (): void => this.#registrations.remove(registered);
    return { dispose, [Symbol.dispose]: dispose };
  }

  /** The range was unmapped. */
  forgetUnmapped(range: HostRange): void {
    this.#registrations.forgetUnmapped(range);
  }

  /**
   * Ends all registrations of this thread, and all that its hooks were asked for. What cannot be undone because another thread
   * does not go on is left as by a thread that was terminated: {@link GuestMemory.reclaimThread} of that one, and a fill, help.
   */
  end(): void {
    this.#ended = true;
    asFarAsPossible(() => this.#registrations.clear());
    for (const asked of [...this.#asked]) {
      asFarAsPossible(() => this.#release(asked));
      asked.refuse(disposed("guest memory"));
    }
  }

  /** @throws Stage2Error `DISPOSED` after the end */
  refuseEnded(): void {
    if (this.#ended) throw disposed("guest memory");
  }

  /** Asks this thread's hook for a page. @throws what the hook throws; Stage2Error `ENOENT`: this thread has none */
  ask(missing: Missing, { write, vcpu }: Accessor): Waited | Promise<Waited> {
    const registered = this.#find(missing);
    const { index, word, look, mode } = missing;
    const asking = startFilling(word);
    const { state } = this.#space;
    // Losing means that somebody brought the page, asks for it, or took its area away: look again.
    if (!this.#space.changed(look, index, word, () => state.store(index, asking))) return "again";
    state.count(mode);
    const asked: Asked = { missing, asking, registered, promise: undefined, refuse: () => {} };
    this.#asked.add(asked);
    this.#last.set(index, asked);
    try {
      const unit = this.#space.unitAt(missing.area, missing.hva);
      const answer = registered.hook({ ...unit, mode, write, vcpu });
      if (!isThenable(answer)) return this.#finish(asked, answer);
      return this.#later(asked, answer);
    } catch (error) {
      this.#release(asked);
      throw error;
    }
  }

  /** Waits for the page that somebody was asked for. @throws Stage2Error `EDEADLK`: the hook itself accesses it */
  wait({ index, word }: Busy): Waited | Promise<Waited> {
    const { state, waiter } = this.#space;
    const own = this.#last.get(index);
    if (own !== undefined && this.#isWaiting(own)) {
      if (own.promise === undefined) throw selfWait();
      state.count("waited");
      return own.promise.then(again, again); // how it failed is told to who asked
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

  #find({ hva, mode, area }: Missing): Registered<MissingHook> {
    const found = this.#registrations.find(hva, mode, area);
    if (found !== undefined) return found;
    const message = "the range is registered for missing pages, but this thread has no hook for it";
    throw new Stage2Error("ENOENT", message, { hva, mode }, ENOENT);
  }

  /** A promise of this realm, whatever the hook's is. */
  #later(asked: Asked, answer: PromiseLike<MissingAnswer | void>): Promise<Waited> {
    const settled = new Promise<MissingAnswer | void>((resolve) => resolve(answer)).then(
      (value) => this.#finish(asked, value),
      (error: unknown) => {
        this.#release(asked);
        throw error;
      },
    );
    asked.promise = new Promise((resolve, reject) => {
      asked.refuse = reject;
      settled.then(resolve, reject);
    });
    return asked.promise;
  }

  /** Takes a hook's answer. @throws Stage2Error if it is none */
  #finish(asked: Asked, answer: MissingAnswer | void): Waited {
    try {
      this.refuseEnded();
      const { hva } = asked.missing;
      if (answer !== undefined) placePage(this.#space, hva, answer, asked.registered.birth);
      else if (this.#isWaiting(asked)) throw leftOut(hva);
    } finally {
      this.#release(asked);
    }
    return "again";
  }

  /** Nobody is asked any more. If the page came, there is nothing to undo. */
  #release(asked: Asked): void {
    if (!this.#asked.delete(asked)) return;
    const { state, areas } = this.#space;
    const { asking } = asked;
    const { index } = asked.missing;
    const undo = (): void => state.store(index, stopFilling(asking));
    try {
      for (let look = areas.look(); this.#isWaiting(asked, look); look = areas.look()) {
        if (this.#space.changed(look, index, asking, undo)) break;
      }
    } finally {
      if (this.#last.get(index) === asked) this.#last.delete(index);
      Atomics.notify(state.words, index);
    }
  }

  /** Whether the page word still says that this hook is asked: not another one since, nor for an area that has the word now. */
  #isWaiting(asked: Asked, look: Look = this.#space.areas.look()): boolean {
    const space = this.#space;
    const { index } = asked.missing;
    if (space.state.load(index) !== asked.asking || this.#last.get(index) !== asked) return false;
    const { birth } = asked.registered;
    return !look.areas.some((area) => space.holds(area, index) && !existedAt(area, birth));
  }
}

const again = (): Waited => "again";

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

/** Does what can be done now. Other errors than the library's own are passed on. */
function asFarAsPossible(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof Stage2Error)) throw error;
  }
}

function selfWait(): Stage2Error {
  const message = "a hook for missing pages touched the page that it was asked for";
  return new Stage2Error("EDEADLK", message, {}, EDEADLK);
}

function leftOut(hva: number): Stage2Error {
  return new Stage2Error("BAD_OPTION", "the hook neither answered nor brought the page", { hva });
}
