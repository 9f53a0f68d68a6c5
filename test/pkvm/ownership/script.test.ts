/**
 * One page from hand to hand: hypervisor, host, secure world, a guest that borrows (CPU 0), a guest that owns (CPU 1). Each row is a test
 * that begins at the start, so that a row that fails does not hide those behind it. The model runs along: after every call
 * all pages, tables and guests are as it says.
 */
import { describe, expect, it } from "vitest";
import { NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";
import { type Bench, type VmParts, benches } from "../../ghost/bench.ts";
import { GENERATIONS } from "../../ghost/world.ts";
import { EPERM } from "../../ghost/model/words.ts";
import { FIRST_PROTECTED_ROW, type PageStates, ROWS, type Row, type Verb } from "./rows.ts";

const GFN = 0x10;
const RWX = 7;

/** A page with two guests around it. */
class Scene {
  readonly #bench: Bench;
  readonly #page: number;
  readonly #borrower: VmParts;
  /** None where guests own nothing. */
  readonly #owner: VmParts | undefined;

  constructor(bench: Bench, withOwner: boolean) {
    this.#bench = bench;
    this.#page = bench.base;
    this.#borrower = bench.on(0).loadedVm();
    this.#owner = withOwner ? bench.on(1).loadedVm(true) : undefined;
    expect(bench.on(0).call("DONATE_HYP", this.#page, 1)).toBe(0);
    this.#bringTables();
  }

  /** Both vCPUs have pages for their tables before the first row: what is tested is the page. */
  #bringTables(): void {
    const bench = this.#bench;
    const elsewhere = bench.fresh();
    expect(bench.on(0).callWith(bench.pages(4), "SHARE_GUEST", elsewhere, GFN + 2, 1, RWX)).toBe(0);
    if (this.#owner === undefined) return;
    const other = bench.fresh();
    expect(bench.on(1).callWith(bench.pages(8), "DONATE_GUEST", other, GFN + 2)).toBe(0);
  }

  call(verb: Verb): number {
    const [bench, page] = [this.#bench, this.#page];
    const [, name, next] = /^(\w+)( next)?$/.exec(verb) ?? [];
    const gfn = next === undefined ? GFN : GFN + 1;
    switch (name) {
      case "share_guest":
        return bench.on(0).call("SHARE_GUEST", page, gfn, 1, RWX);
      case "unshare_guest":
        return bench.on(0).call("UNSHARE_GUEST", this.#borrower.handle, gfn, 1);
      case "donate_guest":
        return bench.on(1).call("DONATE_GUEST", page, gfn);
      case "guest_share_host":
        return bench.on(1).call("GUEST_SHARE_HOST", gfn);
      case "guest_unshare_host":
        return bench.on(1).call("GUEST_UNSHARE_HOST", gfn);
      case "reclaim_page":
        return bench.on(1).call("RECLAIM_PAGE", this.#owner?.handle ?? 0, gfn);
      case "force_reclaim":
        return bench.on(0).call("FORCE_RECLAIM", page);
      default:
        return bench.on(0).call(PAGE_CALLS[name as keyof typeof PAGE_CALLS], page, 1);
    }
  }

  states(): PageStates {
    const { host, hyp, references, guests } = this.#bench.record(this.#page);
    const of = (vm: VmParts | undefined, gfn: number) =>
      vm === undefined ? "NOPAGE" : this.#bench.guest(vm.handle, gfn);
    return {
      host,
      hyp,
      references,
      guests,
      lent: [of(this.#borrower, GFN), of(this.#borrower, GFN + 1)] as PageStates["lent"],
      own: [of(this.#owner, GFN), of(this.#owner, GFN + 1)] as PageStates["own"],
    };
  }
}

const PAGE_CALLS = {
  donate_hyp: "DONATE_HYP",
  hyp_donate_host: "HYP_DONATE_HOST",
  share_hyp: "SHARE_HYP",
  unshare_hyp: "UNSHARE_HYP",
  share_ffa: "SHARE_FFA",
  unshare_ffa: "UNSHARE_FFA",
  pin: "PIN",
  unpin: "UNPIN",
} as const;

const calls = ({ calls }: Row): string => {
  const results = [...new Set(calls.map(([, result]) => result))].join(", ");
  return `${calls.map(([verb]) => verb).join(", ")}: ${results}`;
};

/** In generations where guests own nothing, what would give them a page is not there. */
const expected = (verb: Verb, result: number, withOwner: boolean): number =>
  verb.startsWith("donate_guest") && !withOwner ? NOT_SUPPORTED : result;

describe.each(GENERATIONS)("the ownership script (%s)", (generation) => {
  const withOwner = generation === "newest";
  const lab = benches(generation);
  const rows = ROWS.filter(({ row }) => withOwner || row < FIRST_PROTECTED_ROW);

  it.each(rows.map((row) => [row.row, calls(row), row] as const))("row %i: %s", (_, __, row) => {
    const scene = new Scene(lab.bench, withOwner);
    for (const earlier of rows) {
      if (earlier === row) break;
      for (const [verb] of earlier.calls) scene.call(verb);
      expect(scene.states(), `after row ${earlier.row}`).toEqual(earlier.after);
    }
    for (const [verb, result] of row.calls) {
      const before = scene.states();
      const answer = expected(verb, result, withOwner);
      expect(scene.call(verb), verb).toBe(answer);
      if (answer < 0) expect(scene.states(), `${verb} is refused`).toEqual(before);
    }
    expect(scene.states()).toEqual(row.after);
  });
});

describe("what a guest whose page was taken by force refuses", () => {
  const lab = benches("newest");

  it("row 26: share_guest is refused on a poisoned guest page: -EPERM", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    const page = bench.base;
    expect(bench.callWith(bench.pages(3), "SHARE_GUEST", page, GFN, 1, RWX)).toBe(0);
    expect(bench.call("SHARE_GUEST", page, GFN + 1, 1, RWX)).toBe(0);
    bench.forgeGuest(handle, GFN, "POISON"); // only guests that own pages come to it by themselves
    lab.spoil();
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base + 1, GFN, 1, RWX);
    expect(bench.guest(handle, GFN)).toBe("POISON");
  });
});
