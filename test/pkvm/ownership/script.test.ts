/**
 * One page from hand to hand: hypervisor, host, secure world, a guest that borrows and owns. Each row is a test
 * that begins at the start, so that a row that fails does not hide those behind it. The model runs along: after every call
 * all pages, tables and guests are as it says.
 */
import { describe, expect, it } from "vitest";
import { NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";
import { type Bench, type VmParts, benches } from "../../ghost/bench.ts";
import { GENERATIONS } from "../../ghost/world.ts";
import { FIRST_PROTECTED_ROW, type PageStates, ROWS, type Row, type Verb } from "./rows.ts";

const GFN = 0x10;
const RWX = 7;

/** A page with a guest beside it. */
class Scene {
  readonly #bench: Bench;
  readonly #page: number;
  readonly #vm: VmParts;

  /** `isProtected`: the guest may own pages. */
  constructor(bench: Bench, isProtected: boolean) {
    this.#bench = bench;
    this.#page = bench.base;
    this.#vm = bench.loadedVm(isProtected);
    expect(bench.call("DONATE_HYP", this.#page, 1)).toBe(0);
    // the vCPU has pages for its tables before the first row: what is tested is the page
    const other = bench.fresh();
    const list = bench.pages(8);
    expect(bench.callWith(list, "SHARE_GUEST_PAGE", other, GFN + 2, 1, RWX)).toBe(0);
  }

  call(verb: Verb): number {
    const [bench, page, { handle }] = [this.#bench, this.#page, this.#vm];
    const [, name, next] = /^(\w+)( next)?$/.exec(verb) ?? [];
    const gfn = next === undefined ? GFN : GFN + 1;
    switch (name) {
      case "share_guest":
        return bench.call("SHARE_GUEST_PAGE", page, gfn, 1, RWX);
      case "unshare_guest":
        return bench.call("UNSHARE_GUEST_PAGE", handle, gfn, 1);
      case "donate_guest":
        return bench.call("DONATE_GUEST_PAGE", page, gfn);
      case "guest_share_host":
        return bench.call("GUEST_SHARE_HOST", gfn);
      case "guest_unshare_host":
        return bench.call("GUEST_UNSHARE_HOST", gfn);
      case "reclaim_page":
        return bench.call("RECLAIM_PAGE", handle, gfn);
      case "force_reclaim":
        return bench.call("FORCE_RECLAIM", page);
      default:
        return bench.call(PAGE_CALLS[name as keyof typeof PAGE_CALLS], page, 1);
    }
  }

  states(): PageStates {
    const { host, hyp, references, guests } = this.#bench.record(this.#page);
    const at = (gfn: number) => this.#bench.guest(this.#vm.handle, gfn);
    return { host, hyp, references, guests, guest: [at(GFN), at(GFN + 1)] };
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
