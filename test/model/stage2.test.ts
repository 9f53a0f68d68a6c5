/** Random operations on a page table and on the plain model: same answers, same leaves, and no page left at the end. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Engine, type Granule, Prot, Stage2, WalkFlag } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { type Cell, PlainStage2, type Span } from "./plain.ts";

const SIZES = {
  "4K": { page: 2 ** 12, block: 2 ** 21, runs: 600 },
  "16K": { page: 2 ** 14, block: 2 ** 25, runs: 200 },
  "64K": { page: 2 ** 16, block: 2 ** 29, runs: 100 },
} as const;
/** The model works in a window of this many blocks, which crosses into another table a level up. */
const WINDOW_BLOCKS = 3;

/** One operation, on the page table and on the model. */
class Step implements fc.Command<PlainStage2, Stage2> {
  readonly #name: string;
  readonly #real: (table: Stage2) => unknown;
  readonly #plain: (model: PlainStage2) => unknown;

  constructor(
    name: string,
    real: (table: Stage2) => unknown,
    plain: (model: PlainStage2) => unknown,
  ) {
    this.#name = name;
    this.#real = real;
    this.#plain = plain;
  }

  check(): boolean {
    return true;
  }

  run(model: PlainStage2, table: Stage2): void {
    expect(this.#real(table)).toEqual(this.#plain(model));
    expect(listed(table)).toBe(expected(model));
  }

  toString(): string {
    return this.#name;
  }
}

/** What the page table holds, and what the model holds, in the same words, one line an entry. */
function listed(table: Stage2): string {
  const lines: string[] = [];
  for (const entry of table.entries(undefined, { tables: false })) {
    const { ipa, size } = entry;
    if (entry.kind === "leaf") {
      lines.push(`${ipa} ${size} ${entry.pa} ${entry.prot} ${entry.accessed}`);
    } else if (entry.kind === "annotation") lines.push(`${ipa} ${size} ${entry.owner}`);
    else lines.push(entry.kind);
  }
  return lines.join("\n");
}

function expected(model: PlainStage2): string {
  const line = ([ipa, cell]: [number, Cell]): string =>
    "pa" in cell
      ? `${ipa} ${cell.size} ${cell.pa} ${cell.prot} ${cell.young}`
      : `${ipa} ${cell.size} ${cell.owner}`;
  return [...model.cells]
    .sort(([a], [b]) => a - b)
    .map(line)
    .join("\n");
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/** Operations over the window of one granule; sizes favour single pages and the edges of blocks. */
function steps(granule: Granule): fc.Arbitrary<fc.Command<PlainStage2, Stage2>>[] {
  const { page, block } = SIZES[granule];
  const base = 2 ** 39 - block; // below the middle of a 40-bit space: into the next root entry for every granule
  const pages = (WINDOW_BLOCKS * block) / page;
  const edge = fc
    .tuple(fc.nat(WINDOW_BLOCKS), fc.integer({ min: -2, max: 2 }))
    .map(([blocks, shift]) => Math.min(pages, Math.max(0, (blocks * block) / page + shift)));
  const span: fc.Arbitrary<Span> = fc
    .tuple(edge, edge)
    .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
    .map(([a, b]) => [Math.min(a, pages - 1), Math.max(b, a + 1)] as const)
    .map(([a, b]) => ({
      ipa: base + a * page,
      size: (Math.min(b, pages) - Math.min(a, pages - 1)) * page,
    }));
  const point = fc.tuple(edge, fc.nat(page - 1)).map(([at, inside]) => base + at * page + inside);
  const prot = fc
    .tuple(fc.nat(7), fc.constantFrom(0, 0, Prot.SW0, Prot.SW3))
    .map(([rights, software]) => rights | software);
  const memory = fc.constantFrom(0, 0, 0, Prot.DEVICE, Prot.NORMAL_NC);
  const kind = fc
    .tuple(prot, memory)
    .map(([rights, type]) => (type === 0 ? rights : (rights & ~Prot.X) | type));
  const shift = fc.constantFrom(0, 0, 0, page, block);
  const text = ({ ipa, size }: Span): string => `ipa ${hex(ipa)} size ${hex(size)}`;

  const map = fc
    .tuple(span, kind, shift, fc.boolean(), fc.boolean(), fc.boolean())
    .map(([{ ipa, size }, bits, off, handleFault, shared, force]) => {
      const forcePages = force && size < block;
      const request = { ipa, size, pa: ipa + off, prot: bits, forcePages };
      const flags = (handleFault ? WalkFlag.HANDLE_FAULT : 0) | (shared ? WalkFlag.SHARED : 0);
      return new Step(
        `map ${text(request)} pa +${hex(off)} prot ${bits} flags ${flags} pages ${forcePages}`,
        (table) => table.map({ ...request, flags }),
        (model) => model.map({ ...request, handleFault }),
      );
    });
  const ranged = span.chain((range) => {
    const make = (
      name: string,
      real: (t: Stage2) => unknown,
      plain: (m: PlainStage2) => unknown,
    ): Step => new Step(`${name} ${text(range)}`, real, plain);
    return fc.constantFrom(
      make(
        "unmap",
        (t) => t.unmap(range),
        (m) => m.unmap(range),
      ),
      make(
        "wrprotect",
        (t) => t.wrprotect(range),
        (m) => m.wrprotect(range),
      ),
      make(
        "flush",
        (t) => t.flush(range),
        () => undefined,
      ),
      make(
        "age",
        (t) => t.testClearYoung(range),
        (m) => m.testClearYoung(range, true),
      ),
      make(
        "test",
        (t) => t.testClearYoung(range, { clear: false }),
        (m) => m.testClearYoung(range, false),
      ),
    );
  });
  const owner = fc.tuple(span, fc.nat(1)).map(([range, who]) => {
    const request = { ipa: range.ipa, size: Math.min(range.size, 4 * page), owner: who };
    return new Step(
      `setOwner ${text(request)} ${who}`,
      (table) => table.setOwner(request),
      (model) => model.setOwner(request),
    );
  });
  const pointed = fc.tuple(point, prot).chain(([ipa, bits]) => {
    const rights = bits & 7;
    return fc.constantFrom(
      new Step(
        `relaxPerms ${hex(ipa)} ${rights}`,
        (table) => table.relaxPerms({ ipa, prot: rights }),
        (model) => model.relaxPerms({ ipa, prot: rights }),
      ),
      new Step(
        `mkyoung ${hex(ipa)}`,
        (t) => t.mkyoung(ipa),
        (m) => m.mkyoung(ipa),
      ),
      new Step(
        `lookup ${hex(ipa)}`,
        (t) => t.lookup(ipa),
        (m) => m.lookup(ipa),
      ),
    );
  });
  const split = point.map((ipa) => {
    const range = { ipa: ipa - (ipa % page), size: page };
    return new Step(
      `split ${hex(ipa)}`,
      (table) => table.split(range),
      (model) => (model.split(range), "ok"),
    );
  });
  return [map, map, map, ranged, ranged, owner, pointed, pointed, split];
}

describe.each(MODES)("a page table against a plain Map (%s)", (mode) => {
  it.each(Object.keys(SIZES) as Granule[])("does the same, with %s pages", async (granule) => {
    const { page, block, runs } = SIZES[granule];
    const engine = await Engine.create({ mode, maxTablePages: 8192 });
    fc.assert(
      fc.property(
        fc.commands(steps(granule), { maxCommands: 40 }),
        fc.boolean(),
        (commands, fwb) => {
          const table = engine.stage2({ granule, fwb, tlbiRange: fwb });
          try {
            fc.modelRun(() => ({ model: new PlainStage2(page, block), real: table }), commands);
          } finally {
            table.dispose();
          }
          expect(engine.memoryUsage().used).toBe(0);
        },
      ),
      { numRuns: runs },
    );
    engine.dispose();
  });
});
