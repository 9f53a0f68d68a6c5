/** The ordered map of the EL1 pKVM MMU against an array with a place for every page. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { compile, instantiate, type Instance } from "./build.ts";
import { check, found, type Record, recordsFrom } from "./check.ts";

const PAGES = 2048;

/** What is mapped where, page by page. */
class Model {
  readonly #pages = new Array<Record | undefined>(PAGES).fill(undefined);

  /** The records that have a page in [from, end). */
  in(from: number, end: number): Record[] {
    const records = this.#pages.slice(from, end).filter((record) => record !== undefined);
    return [...new Set(records)];
  }

  insert(record: Record): boolean {
    const end = record.gfn + 2 ** record.order;
    if (this.in(record.gfn, end).length !== 0) return false;
    this.#pages.fill(record, record.gfn, end);
    return true;
  }

  erase({ gfn, order }: Record): void {
    this.#pages.fill(undefined, gfn, gfn + 2 ** order);
  }

  clear(): void {
    this.#pages.fill(undefined);
  }
}

/** One of the two trees, and what it should hold. */
interface Pair extends Instance {
  readonly model: Model;
}

function put({ core, model }: Pair, record: Record): void {
  if (core.reserve() !== 1) throw new Error("no memory");
  const done = core.put(BigInt(record.gfn), BigInt(record.pfn), record.order) === 1;
  if (done !== model.insert(record)) throw new Error(`put of gfn ${record.gfn}: ${done}`);
}

/** A run of pages, `stride` apart, upwards or downwards. */
function putRun(pair: Pair, from: number, pages: number, stride: number): void {
  for (let i = 0, gfn = from; i < pages; i++, gfn += stride)
    if (gfn >= 0 && gfn < PAGES) put(pair, { gfn, pfn: 7 * gfn + i, order: 0 });
}

/** Visits the records of a range, and erases every so-manieth. */
function eraseSome({ core, model }: Pair, from: number, end: number, every: number): void {
  const there = model.in(from, end);
  const seen: Record[] = [];
  for (let more = core.seek(BigInt(from)); more !== 0; more = core.next()) {
    const record = found(core);
    if (record.gfn >= end) break;
    if (seen.push(record) % every === 0) core.erase();
  }
  expect(seen).toEqual(there);
  there.filter((_, i) => (i + 1) % every === 0).forEach((record) => model.erase(record));
}

function lookAt({ core, model }: Pair, from: number, pages: number): void {
  const there = model.in(from, from + pages);
  expect(core.overlaps(BigInt(from), BigInt(pages))).toBe(Number(there.length !== 0));
  if (there.length !== 0) expect(found(core)).toEqual(there[0]);
  const [next] = model.in(from, PAGES);
  expect(core.seek(BigInt(from))).toBe(Number(next !== undefined));
  if (next !== undefined) expect(found(core)).toEqual(next);
}

function clear({ core, model }: Pair): void {
  core.clear();
  expect([core.records(), core.pages(), core.height(), core.finger()]).toEqual([0, 0, 0, 0]);
  model.clear();
}

/** What happens to one of the trees; in print, what it is. */
class Step {
  constructor(
    readonly tree: number,
    readonly name: string,
    readonly run: (pair: Pair) => void,
  ) {}
  toString(): string {
    return `${this.tree}: ${this.name}`;
  }
}

const gfns = fc.nat(PAGES - 1);
const pfns = fc.oneof(fc.nat(2 ** 20), fc.constant(2 ** 40 - 1));
const actions: fc.Arbitrary<readonly [string, (pair: Pair) => void]> = fc.oneof(
  fc.tuple(gfns, pfns, fc.constantFrom(0, 0, 0, 1, 3, 9)).map(([at, pfn, order]) => {
    const record = { gfn: at - (at % 2 ** order), pfn, order };
    return [`put ${record.gfn}, order ${order}`, (pair: Pair) => put(pair, record)] as const;
  }),
  fc.tuple(gfns, fc.nat(160), fc.constantFrom(-3, -1, 1, 2)).map(([from, n, stride]) => {
    const run = (pair: Pair): void => putRun(pair, from, n, stride);
    return [`put ${n} from ${from} by ${stride}`, run] as const;
  }),
  fc
    .tuple(gfns, fc.integer({ min: 1, max: 700 }), fc.constantFrom(1, 1, 2, 3, 16))
    .map(([from, n, every]) => {
      const run = (pair: Pair): void => eraseSome(pair, from, Math.min(from + n, PAGES), every);
      return [`erase every ${every} of ${from}+${n}`, run] as const;
    }),
  fc.tuple(gfns, fc.integer({ min: 1, max: 64 })).map(([from, n]) => {
    return [`look at ${from}+${n}`, (pair: Pair) => lookAt(pair, from, n)] as const;
  }),
  fc.constant(["clear", clear] as const),
);
const steps = fc
  .tuple(fc.constantFrom(0, 0, 1), actions)
  .map(([tree, [name, run]]) => new Step(tree, name, run));

let module: WebAssembly.Module;
beforeAll(async () => {
  module = await compile();
});

function play(script: readonly Step[], capacity: number): void {
  const instance = instantiate(module, capacity, 4096);
  const { core } = instance;
  const pairs = [0, 1].map(() => ({ ...instance, model: new Model() }));
  const pages = [0, 0];
  let highest = 0;
  for (const { tree, run } of script) {
    core.use(tree);
    run(pairs[tree]!);
    check(instance);
    highest = Math.max(highest, core.height());
    pages[tree] = core.pages();
    expect(core.spares()).toBeLessThanOrEqual(highest + 1);
    expect(core.used()).toBe(1 + pages[0]! + pages[1]!);
  }
  pairs.forEach((pair, tree) => {
    core.use(tree);
    expect([...recordsFrom(core, 0)]).toEqual(pair.model.in(0, PAGES));
    clear(pair);
  });
  expect(core.used()).toBe(1);
}

describe("the map of gfns to pfns does what an array does", () => {
  it.each([
    ["4 entries", 4, 60],
    ["7 entries", 7, 60],
    ["254 entries", 254, 40],
  ])("with nodes of %s", (_, capacity, numRuns) => {
    const scripts = fc.array(steps, { maxLength: 60, size: "max" });
    const property = fc.property(scripts, (script) => play(script, capacity));
    fc.assert(property, { numRuns });
  });
});
