/** The ordered map of the EL1 pKVM MMU: that it is one, and what it costs: nodes that are full where they can be, and none too many. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { another, compile, type Exports, instantiate, type Instance } from "./build.ts";
import { check, found, recordsFrom } from "./check.ts";
import { play, steps } from "./model.ts";

const CAPACITY = 254;

let module: WebAssembly.Module;
beforeAll(async () => {
  module = await compile();
}, 120_000);

describe("the map of gfns to pfns does what an array does", () => {
  it.each([
    ["4 entries", 4, 60],
    ["7 entries", 7, 60],
    ["254 entries", 254, 40],
  ])("with nodes of %s", (_, capacity, numRuns) => {
    const scripts = fc.array(steps, { maxLength: 60, size: "max" });
    const property = fc.property(scripts, (script) => play(module, script, capacity));
    fc.assert(property, { numRuns });
  });
});

function put(core: Exports, gfn: number): void {
  if (core.reserve() !== 1) throw new Error("no memory");
  if (core.put(BigInt(gfn), BigInt(gfn), 0) !== 1) throw new Error(`gfn ${gfn} is there`);
}

/** 0 to count - 1, each once, in no order. */
function shuffled(count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = state % (i + 1);
    [numbers[i], numbers[other]] = [numbers[other]!, numbers[i]!];
  }
  return numbers;
}

/** Nodes that are not spare. */
const nodes = ({ core }: Instance): number => core.pages() - core.spares();

/** Leaves that hold so many records when all but the last are full, and what is above them. */
const full = (records: number): number => {
  let all = 0;
  let level = records;
  do all += level = Math.ceil(level / CAPACITY);
  while (level > 1);
  return all;
};

describe("pages", () => {
  const COUNT = 100_000;

  it.each([
    ["ascending", (i: number) => i],
    ["descending", (i: number) => COUNT - i],
    ["ascending below others", (i: number) => (i === 0 ? 2 ** 40 : i)],
    ["descending above others", (i: number) => (i === 0 ? 0 : 2 ** 40 - i)],
    ["ascending in two places", (i: number) => (i % 2 === 0 ? i : 2 ** 40 + i)],
  ])("are full of records that come in order: %s", (_, gfnOf) => {
    const map = instantiate(module, CAPACITY, 4096);
    for (let i = 0; i < COUNT; i++) put(map.core, gfnOf(i));
    check(map);
    expect(nodes(map) / full(COUNT)).toBeLessThan(1.01);
  });

  it("are two thirds full of records that come in no order, and go as they go", () => {
    const map = instantiate(module, CAPACITY, 4096);
    const { core } = map;
    const gfns = shuffled(COUNT);
    for (const gfn of gfns) put(core, gfn);
    check(map);
    expect(nodes(map) / full(COUNT)).toBeLessThan(1.55);
    for (const [i, gfn] of gfns.entries()) {
      if (core.seek(BigInt(gfn)) !== 1 || found(core).gfn !== gfn) throw new Error(`no gfn ${gfn}`);
      core.erase();
      if (i % 20_000 === 0) check(map);
      const left = COUNT - 1 - i;
      if (nodes(map) > 1 + (left / 63) * (1 + 1 / 63) + core.height()) throw new Error(`${left}`);
    }
    expect([core.height(), core.records()]).toEqual([0, 0]);
    core.clear();
    expect(core.used()).toBe(1);
  });

  it("are few for the few records that are left here and there", () => {
    const map = instantiate(module, CAPACITY, 4096);
    const { core } = map;
    for (let gfn = 0; gfn < COUNT; gfn++) put(core, gfn);
    let visited = 0;
    for (let more = core.seek(0n); more !== 0; more = core.next())
      if (visited++ % 1000 !== 0) core.erase();
    expect(visited).toBe(COUNT);
    check(map);
    expect([...recordsFrom(core, 0)].map(({ gfn }) => gfn)).toEqual(
      Array.from({ length: 100 }, (_, i) => 1000 * i),
    );
    expect(nodes(map)).toBe(1);
  });
});

describe("a pool without pages", () => {
  it("refuses a reserve, and nothing else, whenever it runs out", () => {
    const map = instantiate(module, 4, 4096);
    const { core } = map;
    const gfns = shuffled(300);
    let refusals = 0;
    for (const [records, gfn] of gfns.entries()) {
      for (let budget = core.used(); core.reserve() === 0; budget++) {
        check(map);
        expect(core.records()).toBe(records);
        refusals++;
        core.setBudget(budget);
      }
      core.setBudget(core.used());
      expect(core.put(BigInt(gfn), 1n, 0)).toBe(1);
    }
    expect(refusals).toBeGreaterThan(50);
    for (const gfn of gfns) {
      expect(core.seek(BigInt(gfn))).toBe(1);
      core.erase();
      core.setBudget(core.used());
    }
    check(map);
    core.clear();
    expect(core.used()).toBe(1);
  });
});

describe("a lookup", () => {
  it("writes nothing but the finger, which any thread may", () => {
    const { core, memory, trees } = instantiate(module, 4, 4096);
    for (const gfn of shuffled(500)) put(core, 2 * gfn);
    const words = new Int32Array(memory.buffer);
    const before = words.slice();
    for (const gfn of shuffled(1001)) {
      core.seek(BigInt(gfn));
      core.next();
      core.overlaps(BigInt(gfn), 3n);
    }
    const changed = [...words.keys()].filter((i) => words[i] !== before[i]);
    expect(changed).toHaveLength(1);
    expect(words[changed[0]!]).toBe(core.finger());
    expect(changed[0]! * 4 - trees).toBeLessThan(64);
  });

  it("does not find what another thread has erased since, where it has looked before", () => {
    const map = instantiate(module, CAPACITY, 64);
    const other = another(module, map).core;
    const { core } = map;
    for (let gfn = 0; gfn < 10; gfn++) put(core, gfn);
    other.use(0);
    expect(other.seek(5n)).toBe(1);
    for (let gfn = 9; gfn > 3; gfn--) {
      core.seek(BigInt(gfn));
      core.erase();
    }
    expect(other.seek(5n)).toBe(0);
    expect(other.overlaps(3n, 9n)).toBe(1);
    expect(found(other).gfn).toBe(3);
  });
});
