/** The generic walk is made in stretches: what it shows must be what one walk of the whole range shows. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Granule, Prot, type Stage2, type Visit, WalkFlag } from "../../src/index.ts";
import { Batch } from "../../src/iterate.ts";
import { MODES, errorOf, lab } from "../support.ts";

const ALL_VISITS = WalkFlag.LEAF | WalkFlag.TABLE_PRE | WalkFlag.TABLE_POST;
const MIDDLE = 2 ** 39;
const SHIFTS = { "4K": 12, "16K": 14 } as const;
const KINDS: Readonly<Record<number, string>> = { 1: "leaf", 2: "pre", 4: "post" };

interface Piece {
  readonly page: number;
  readonly pages: number;
  readonly forcePages: boolean;
}

/** What the core's recording visitor sees in one walk of the whole range. */
function atOnce(table: Stage2, ipa: number, size: number, flags: number): string[] {
  const { context, pointer } = table;
  const { core } = context;
  const lines: string[] = [];
  for (let visits = Infinity; lines.length < visits;) {
    expect(core.s2_walk(pointer, ipa, size, flags, lines.length, 0, 0)).toBe(0);
    visits = context.resultNumber(0);
    const batch = new Batch(context, Math.min(core.batch_capacity(), visits - lines.length));
    for (let i = 0; i < batch.length; i++) {
      const kind = KINDS[batch.visit(i)];
      const slot = context.physical(batch.slot(i));
      lines.push(`${kind} ${batch.level(i)} ${batch.address(i)} ${batch.pte(i)} ${slot}`);
    }
  }
  return lines;
}

function shown(table: Stage2, ipa: number, size: number, flags: number): string[] {
  const lines: string[] = [];
  const note = ({ kind, level, ipa: at, pte, slot }: Visit): void =>
    void lines.push(`${kind} ${level} ${at} ${pte} ${slot}`);
  expect(table.walk({ ipa, size, flags }, note)).toBe("ok");
  return lines;
}

describe.each(MODES)("a walk (%s)", (mode) => {
  const here = lab(mode);

  it.each(["4K", "16K"] as const)("of random tables is one walk (%s)", (granule: Granule) => {
    const shift = SHIFTS[granule as keyof typeof SHIFTS];
    const perTable = 2 ** (shift - 3);
    const [page, window] = [2 ** shift, 6 * perTable];
    const at = fc.oneof(
      fc.nat(window),
      fc.nat(6).map((tables) => tables * perTable),
    );
    const pieces = fc.array(
      fc.record<Piece>({ page: at, pages: fc.nat(3 * perTable), forcePages: fc.boolean() }),
      { maxLength: 6 },
    );
    const flags = fc.integer({ min: 1, max: ALL_VISITS });
    const offset = fc.integer({ min: 0, max: page - 1 });
    const law = fc.property(pieces, at, at, offset, flags, (mapped, a, b, inPage, asked) => {
      const table = here.engine.stage2({ granule });
      const base = MIDDLE - 3 * perTable * page; // around an entry of the level above
      for (const { page: first, pages, forcePages } of mapped) {
        const ipa = base + first * page;
        table.map({ ipa, size: (pages + 1) * page, pa: ipa, prot: Prot.RW, forcePages });
      }
      const ipa = base + Math.min(a, b) * page + inPage;
      const size = (Math.abs(a - b) + 1) * page;
      const [seen, wanted] = [shown, atOnce].map((list) => list(table, ipa, size, asked));
      expect(seen!.join("\n")).toBe(wanted!.join("\n"));
      table.dispose();
    });
    fc.assert(law, { numRuns: 20 });
  });

  it("shows small tables as worked out by hand", () => {
    const table = here.keep(here.engine.stage2());
    const two = 2 ** 21;
    table.map({ ipa: 0x1f_f000, size: 0x1000, pa: 0, prot: Prot.R });
    table.map({ ipa: two, size: two, pa: two, prot: Prot.R });
    table.map({ ipa: 2 * two, size: 0x1000, pa: 0, prot: Prot.R });
    const range = { ipa: 0x1f_f800, size: two + 0x1800, flags: ALL_VISITS };
    const visits: string[] = [];
    table.walk(range, ({ kind, level, ipa }) => void visits.push(`${kind} ${level} ${ipa}`));
    expect(visits).toEqual([
      `pre 1 ${0x1f_f000}`,
      `pre 2 ${0x1f_f000}`,
      `leaf 3 ${0x1f_f000}`,
      `post 2 ${0x1f_f000}`,
      `leaf 2 ${two}`,
      `pre 2 ${2 * two}`,
      `leaf 3 ${2 * two}`,
      `post 2 ${2 * two}`,
      `post 1 ${0x1f_f000}`,
    ]);
  });

  it("reports each page of a large range once, and jumps over what is one entry", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ipa: 0, size: 2 ** 30, pa: 0, prot: Prot.RW, forcePages: true });
    let next = 0;
    table.walk({ ipa: 0, size: 2 ** 30 }, ({ ipa }) => {
      if (ipa === next) next += 4096;
    });
    expect(next).toBe(2 ** 30);

    let visits = 0;
    table.walk({ ipa: 2 ** 30, size: 2 ** 40 - 2 ** 30 }, () => void visits++);
    expect(visits).toBe(1023);
  });

  it("ends at any errno of the visitor's, and refuses numbers that are none", () => {
    const table = here.keep(here.engine.stage2());
    const range = { ipa: 0, size: 4096 };
    const codes = { 5: "EIO", 6: "ENXIO", 8: "ENOEXEC", 17: "EEXIST", 38: "ENOSYS" };
    for (const [errno, code] of Object.entries(codes)) {
      const error = errorOf(() => table.walk(range, () => -Number(errno)));
      expect(error).toMatchObject({ code, errno: Number(errno) });
    }
    expect(errorOf(() => table.walk(range, () => -999)).code).toBe("BAD_OPTION");
    expect(errorOf(() => table.walk(range, undefined as never)).code).toBe("BAD_OPTION");
  });
});
