/** Hooks for missing pages: promises of every make, registrations that end with their area, memories that end while hooks are asked. */
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { Engine } from "../../../src/engine.ts";
import { GuestMemory, type MissingAnswer } from "../../../src/vm/memory/guest_memory.ts";
import { errorOf, rejectionOf } from "../../support.ts";
import { BANK, HVA, MODES, PAGE, bytes, lab, request } from "./support.ts";

const WHERE = { hva: HVA, size: PAGE };
const never = (): Promise<never> => new Promise(() => {});

/** A promise of another make, as libraries have them. */
class Foreign<T> implements PromiseLike<T> {
  readonly #inner: Promise<T>;

  constructor(inner: Promise<T>) {
    this.#inner = inner;
  }

  then<A = T, B = never>(
    resolved?: ((value: T) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): PromiseLike<A | B> {
    return new Foreign(this.#inner.then(resolved, rejected));
  }
}

describe.each(MODES)("answers that are promises of another make (%s)", (mode) => {
  const t = lab(mode);

  it("are waited for", async () => {
    const hooks: (() => PromiseLike<MissingAnswer>)[] = [
      () => new Foreign(Promise.resolve(bytes(PAGE, 7))),
      runInNewContext("async () => 'zero'") as () => Promise<"zero">, // of another realm
      () =>
        Object.assign(() => {}, {
          then: (resolve: (value: "zero") => void) => resolve("zero"),
        }) as never,
    ];
    for (const hook of hooks) {
      t.ram.map(WHERE);
      t.ram.onMissing(WHERE, hook);
      const [asked, waited] = [t.access(HVA), t.access(HVA)];
      expect(asked).toBeInstanceOf(Promise);
      expect(t.ram.state(HVA).state).toBe("filling");
      expect(await asked).toMatchObject({ hostSize: PAGE });
      expect(await waited).toEqual(await asked);
      expect(await t.ram.read(HVA, bytes(1, 0))).toBe(true);
      t.ram.unmap(WHERE);
    }
    expect(t.ram.counters.missing).toBe(hooks.length);
  });

  it("pass their failure on: the page is missing as before", async () => {
    const mine = new RangeError("mine");
    const thenables = [
      () => new Foreign<"zero">(Promise.reject(mine)),
      () => ({
        then(): never {
          throw mine;
        },
      }),
    ];
    t.ram.map(WHERE);
    for (const hook of thenables) {
      const registration = t.ram.onMissing(WHERE, hook);
      await expect(t.access(HVA)).rejects.toBe(mine);
      expect(t.ram.state(HVA).state).toBe("absent");
      registration.dispose();
    }
    const getter = Object.defineProperty({}, "then", {
      get() {
        throw mine;
      },
    });
    t.ram.onMissing(WHERE, () => getter as never);
    expect(() => t.access(HVA)).toThrow(mine);
    expect(t.ram.state(HVA).state).toBe("absent");
  });

  it("that never settle keep who asked waiting, and nobody else once the page was brought", async () => {
    t.ram.map(WHERE);
    t.ram.onMissing(WHERE, () => ({ then: () => never() }));
    let settled = false;
    void Promise.resolve(t.access(HVA)).catch(() => (settled = true));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect([settled, t.ram.state(HVA).state]).toEqual([false, "filling"]);
    expect(t.ram.fill(HVA, "zero")).toBe("filled");
    expect(t.page(HVA).writable).toBe(false);
  });
});

describe.each(MODES)("registrations end with their area (%s)", (mode) => {
  const t = lab(mode);

  it("another one for what is mapped there later is asked, and only its own end ends it", () => {
    const log: string[] = [];
    const hook = (name: string) => (): "zero" => (log.push(name), "zero");
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    const first = t.ram.onMissing({ hva: HVA, size: 2 * PAGE }, hook("first"));
    t.ram.unmap(WHERE);
    t.ram.map(WHERE);
    const second = t.ram.onMissing(WHERE, hook("second"));
    t.page(HVA);
    t.page(HVA + PAGE); // of the first area
    first.dispose();
    first.dispose();
    t.ram.punch({ hva: HVA, size: 2 * PAGE });
    t.page(HVA);
    t.page(HVA + PAGE);
    second.dispose();
    t.ram.punch(WHERE);
    t.page(HVA);
    expect(log).toEqual(["second", "first", "second"]);
  });

  it("also those of which nothing is left, and after all was released", () => {
    t.ram.map(WHERE);
    const ended = [t.ram.onMissing(WHERE, () => "poison")];
    t.ram.unmap(WHERE);
    t.ram.map(WHERE);
    ended.push(t.ram.onMissing(WHERE, () => "poison"));
    t.ram.release();
    t.ram.map(WHERE);
    t.ram.onMissing(WHERE, () => "zero");
    for (const one of ended) one.dispose();
    expect(t.page(HVA).writable).toBe(false);
    expect(t.ram.counters.missing).toBe(1);
  });

  it("also those of other threads, when one of them unmaps it", () => {
    if (mode === "single") return expect(errorOf(() => t.ram.handle).code).toBe("NO_SHARED_MEMORY");
    const other = GuestMemory.attach(t.engine, t.ram.handle);
    t.ram.map(WHERE);
    const ended = t.ram.onMissing(WHERE, () => "poison");
    other.unmap(WHERE);
    other.map(WHERE);
    other.onMissing(WHERE, () => "zero");
    expect(errorOf(() => t.access(HVA)).code).toBe("ENOENT"); // no hook of its own for this area
    ended.dispose();
    expect(errorOf(() => t.access(HVA)).code).toBe("ENOENT");
    expect(other.read(HVA, bytes(1, 0))).toBe(true);
    expect(t.ram.state(HVA).state).toBe("zero");
    other.dispose();
  });

  it("late answers are not for the new area, and do not undo what is asked for it", async () => {
    const answers: ((answer: MissingAnswer) => void)[] = [];
    const hook = (): Promise<MissingAnswer> => new Promise((resolve) => answers.push(resolve));
    t.ram.map(WHERE);
    t.ram.onMissing(WHERE, hook);
    const early = t.access(HVA);
    t.ram.unmap(WHERE);
    t.ram.map(WHERE);
    t.ram.onMissing(WHERE, hook);
    const late = t.access(HVA);
    answers[0]?.(bytes(PAGE, 1));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(t.ram.state(HVA).state).toBe("filling");
    const waiting = t.access(HVA);
    answers[1]?.(bytes(PAGE, 2));
    const [page] = await Promise.all([late, early, waiting]);
    expect(t.byte((page as { pa: number }).pa)).toBe(2);
    expect(t.ram.counters).toMatchObject({ missing: 2, filled: 1 });
  });
});

describe("memories that end while hooks are asked", () => {
  const t = lab();

  it("give the pages back to others, refuse who waits, and drop what is answered later", async () => {
    let answer = (_: MissingAnswer): void => {};
    const mine = GuestMemory.attach(t.engine, t.ram.handle);
    mine.map({ hva: HVA, size: 2 * PAGE });
    mine.onMissing(WHERE, () => new Promise((resolve) => (answer = resolve)));
    mine.onMissing({ hva: HVA + PAGE, size: PAGE }, never);
    const waiting = [
      mine.resolve(request(HVA, false)),
      mine.resolve(request(HVA, true)),
      mine.read(HVA + PAGE, bytes(1, 0)),
    ];
    const refused = Promise.all(waiting.map((one) => rejectionOf(Promise.resolve(one as never))));
    mine.dispose();
    for (const page of [HVA, HVA + PAGE]) expect(t.ram.state(page).state).toBe("absent");
    expect(t.page(HVA).writable).toBe(false); // and nobody is asked any more
    expect((await refused).map(({ code }) => code)).toEqual(Array(3).fill("DISPOSED"));
    t.ram.punch(WHERE);
    answer(bytes(PAGE, 1));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(t.ram.state(HVA).state).toBe("absent");
    expect(t.ram.counters).toMatchObject({ missing: 2, filled: 0, framesUsed: 0 });
  });

  it("may be ended by the hook itself", () => {
    const mine = GuestMemory.attach(t.engine, t.ram.handle);
    mine.map(WHERE);
    mine.onMissing(WHERE, () => (mine.dispose(), "zero"));
    expect(errorOf(() => mine.resolve(request(HVA, false))).code).toBe("DISPOSED");
    expect(t.ram.state(HVA).state).toBe("absent");
    expect(t.ram.counters.filled).toBe(0);
  });

  it("also with their engine", async () => {
    const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    const ram = GuestMemory.create(engine, BANK);
    ram.map(WHERE);
    ram.onMissing(WHERE, never);
    const refused = rejectionOf(Promise.resolve(ram.read(HVA, bytes(1, 0)) as never));
    const leaving = await Engine.attach(engine.handle);
    const theirs = GuestMemory.attach(leaving, ram.handle);
    theirs.map({ hva: HVA + PAGE, size: PAGE });
    theirs.onMissing({ hva: HVA + PAGE, size: PAGE }, never);
    const alsoRefused = rejectionOf(Promise.resolve(theirs.read(HVA + PAGE, bytes(1, 0)) as never));
    leaving.dispose();
    expect((await alsoRefused).code).toBe("DISPOSED");
    expect(ram.state(HVA + PAGE).state).toBe("absent");
    expect(ram.read(HVA + PAGE, bytes(1, 0))).toBe(true);
    expect(ram.state(HVA).state).toBe("filling");
    engine.dispose();
    expect((await refused).code).toBe("DISPOSED");
  });
});
