/** Random commands against a model: a byte for each page, and whether it may be written. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Engine } from "../../../src/engine.ts";
import { Stage2Error } from "../../../src/errors.ts";
import { type AreaKind, GuestMemory } from "../../../src/vm/memory/guest_memory.ts";
import { BANK, FakeVm, HVA, PAGE, bytes, request } from "./support.ts";

/** Two blocks and some pages; areas of it fit into the bank however they fall into pages and blocks. */
const PAGES = 1200;
const KINDS: readonly AreaKind[] = ["anonymous", "thp", "file"];

interface Expected {
  value: number;
  writable: boolean;
  poisoned: boolean;
}

type Command =
  | { op: "map"; page: number; pages: number; kind: AreaKind; writable: boolean }
  | { op: "unmap" | "punch" | "share" | "collapse" | "split"; page: number; pages: number }
  | { op: "protect"; page: number; pages: number; writable: boolean }
  | { op: "poison"; page: number }
  | { op: "host" | "guest"; page: number; value: number; write: boolean };

const page = fc.oneof(
  fc.integer({ min: 0, max: PAGES - 1 }),
  fc.constantFrom(0, 511, 512, 513, 1023, 1024),
);
const pages = fc.oneof(fc.integer({ min: 1, max: 700 }), fc.constantFrom(1, 512, 1024));
const writable = fc.boolean();
const range = { page, pages };
const one = <T extends string>(...ops: T[]) => fc.constantFrom(...ops);

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: one("map"), ...range, kind: one(...KINDS), writable }) },
  {
    weight: 3,
    arbitrary: fc.record({ op: one("unmap", "punch", "share", "collapse", "split"), ...range }),
  },
  { weight: 1, arbitrary: fc.record({ op: one("protect"), ...range, writable }) },
  { weight: 1, arbitrary: fc.record({ op: one("poison"), page }) },
  {
    weight: 10,
    arbitrary: fc.record({
      op: one("host", "guest"),
      page,
      value: fc.integer({ min: 1, max: 255 }),
      write: fc.boolean(),
    }),
  },
);

/** The memory and the model side by side. */
class Pair {
  readonly engine: Engine;
  readonly ram: GuestMemory;
  readonly vm = new FakeVm();
  readonly model = new Map<number, Expected>();

  constructor(engine: Engine) {
    this.engine = engine;
    this.ram = GuestMemory.create(engine, BANK);
    this.ram.addVm(this.vm);
  }

  run(given: Command): void {
    switch (given.op) {
      case "host":
        return this.host(given);
      case "guest":
        return this.guest(given);
      case "poison":
        return this.poison(given.page);
      default:
        return this.change(given);
    }
  }

  change(given: Exclude<Command, { op: "host" | "guest" | "poison" }>): void {
    const size = Math.min(given.pages, PAGES - given.page) * PAGE;
    const range = { hva: HVA + given.page * PAGE, size };
    const all = Array.from({ length: size / PAGE }, (_, n) => given.page + n);
    const mapped = all.filter((n) => this.model.has(n));
    const needed = given.op === "map" ? 0 : given.op === "unmap" ? mapped.length : all.length;
    const code = codeOf(() => this.call(given, range));
    const wanted = given.op === "map" ? "EEXIST" : "EFAULT";
    expect(code).toBe(mapped.length === needed ? undefined : wanted);
    if (code !== undefined) return;
    for (const n of all) this.follow(given, n);
  }

  call(given: Command, range: { hva: number; size: number }): void {
    if (given.op === "map") this.ram.map({ ...range, kind: given.kind, writable: given.writable });
    else if (given.op === "unmap") this.ram.unmap(range);
    else if (given.op === "punch") this.ram.punch(range);
    else if (given.op === "share") this.ram.share(range);
    else if (given.op === "collapse") this.ram.collapse(range);
    else if (given.op === "split") this.ram.splitHuge(range);
    else if (given.op === "protect") this.ram.protect({ ...range, writable: given.writable });
  }

  follow(given: Command, n: number): void {
    const before = this.model.get(n);
    if (given.op === "map") {
      this.model.set(n, { value: 0, writable: given.writable, poisoned: false });
    } else if (given.op === "unmap") this.model.delete(n);
    else if (before === undefined) return;
    else if (given.op === "punch") Object.assign(before, { value: 0, poisoned: false });
    else if (given.op === "protect") before.writable = given.writable;
  }

  poison(n: number): void {
    const code = codeOf(() => this.ram.poison(HVA + n * PAGE));
    const expected = this.model.get(n);
    expect(code).toBe(expected === undefined ? "EFAULT" : undefined);
    if (expected !== undefined) Object.assign(expected, { value: 0, poisoned: true });
  }

  host({ page, value, write }: { page: number; value: number; write: boolean }): void {
    const expected = this.model.get(page);
    const there = expected !== undefined && !expected.poisoned && (!write || expected.writable);
    const data = bytes(1, value);
    const hva = HVA + page * PAGE + 9;
    expect(write ? this.ram.write(hva, data) : this.ram.read(hva, data)).toBe(there);
    if (expected === undefined || !there) return;
    if (write) expected.value = value;
    else expect(data[0]).toBe(expected.value);
  }

  guest({ page, value, write }: { page: number; value: number; write: boolean }): void {
    const expected = this.model.get(page);
    const hva = HVA + page * PAGE;
    const answer = this.ram.resolve(request(hva, write));
    if (expected === undefined) return expect(answer).toBe("unmapped");
    if (write && !expected.writable) return expect(answer).toBe("error");
    if (expected.poisoned) return expect(answer).toBe("poisoned");
    if (typeof answer !== "object" || !("pa" in answer)) throw new Error("no page");
    const byte = this.engine.memoryMap.bytes(answer.pa + 9, 1);
    expect(byte[0]).toBe(expected.value);
    if (write) expect(answer.writable).toBe(true);
    if (write) expected.value = byte[0] = value;
    this.vm.mapped.set(hva, answer);
  }

  /** A page that a guest may still use is the one that the host has there, and no frame is in two places or lost. */
  check(): void {
    for (const [hva, page] of this.vm.mapped) {
      const { pa, writable } = this.ram.state(hva);
      expect(pa).toBe(page.pa);
      if (page.writable) expect(writable).toBe(true);
    }
    const frames = new Set<number>();
    for (const n of this.model.keys()) {
      const { pa, state } = this.ram.state(HVA + n * PAGE);
      if (pa === undefined || state === "zero") continue;
      expect(frames.has(pa)).toBe(false);
      frames.add(pa);
    }
    expect(this.ram.counters.framesUsed).toBe(frames.size);
  }
}

function codeOf(action: () => void): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof Stage2Error) return error.code;
    throw error;
  }
}

describe("random commands", () => {
  it(
    "find every byte, and leave no guest with a page that is gone",
    { timeout: 120_000 },
    async () => {
      const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
      fc.assert(
        fc.property(fc.array(command, { maxLength: 60, size: "max" }), (commands) => {
          const pair = new Pair(engine);
          for (const one of commands) {
            pair.run(one);
            pair.check();
          }
          pair.ram.release();
          expect(pair.ram.counters.framesUsed).toBe(0);
          pair.ram.dispose();
        }),
        { numRuns: 60 },
      );
      engine.dispose();
    },
  );
});
