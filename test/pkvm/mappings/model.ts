/** What the ordered map of the EL1 pKVM MMU does is what an array with a place for every page does. */
import fc from "fast-check";
import { expect } from "vitest";
import { another, instantiate, type Instance } from "./build.ts";
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

/** What a thread does to one of the trees; in print, what it is. */
export class Step {
  constructor(
    readonly thread: number,
    readonly tree: number,
    readonly name: string,
    readonly run: (pair: Pair) => void,
  ) {}
  toString(): string {
    return `thread ${this.thread}, tree ${this.tree}: ${this.name}`;
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
/** What may happen next. */
export const steps = fc
  .tuple(fc.constantFrom(0, 1), fc.constantFrom(0, 0, 1), actions)
  .map(([thread, tree, [name, run]]) => new Step(thread, tree, name, run));

/** Two threads, of which one at a time has the trees for itself. */
export function play(module: WebAssembly.Module, script: readonly Step[], capacity: number): void {
  const first = instantiate(module, capacity, 4096);
  const threads = [first, another(module, first)];
  const models = [new Model(), new Model()];
  const pages = [0, 0];
  let highest = 0;
  for (const { thread, tree, run } of script) {
    const instance = threads[thread]!;
    const { core } = instance;
    core.use(tree);
    run({ ...instance, model: models[tree]! });
    check(instance);
    highest = Math.max(highest, core.height());
    pages[tree] = core.pages();
    expect(core.spares()).toBeLessThanOrEqual(highest + 1);
    expect(core.used()).toBe(1 + pages[0]! + pages[1]!);
  }
  models.forEach((model, tree) => {
    first.core.use(tree);
    expect([...recordsFrom(first.core, 0)]).toEqual(model.in(0, PAGES));
    clear({ ...first, model });
  });
  expect(first.core.used()).toBe(1);
}
