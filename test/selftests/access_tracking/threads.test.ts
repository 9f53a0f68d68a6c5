/**
 * AT6 with vCPUs in threads: they touch what they share while this thread ages it. Every access flag that was set is told by
 * exactly one clearing, or is still there (M-7.11).
 */
import { describe, expect, it } from "vitest";
import { Access } from "../../../src/index.ts";
import { configuration } from "../harness/configurations.ts";
import { type Crew, crews } from "../harness/threads/crew.ts";
import { Tracker } from "./tracker.ts";

const PAGE = 4096;
const PAGES = 256;
const THREADS = 3;

describe("access tracking in threads", () => {
  const withCrew = crews();
  const slot = { threads: THREADS, kind: "file", size: PAGES * PAGE } as const;

  /** Ages everything while the guests touch it; how often each page was told. */
  async function aged(crew: Crew, flush: boolean) {
    const { vm, hva } = crew.scene;
    const told = new Uint32Array(PAGES);
    const share = { first: 0, end: PAGES, passes: 40 };
    const results = await crew.runBeside(
      "touch",
      (id) => ({ ...share, seed: id + 1, access: id === 0 ? Access.Write : Access.Read }),
      (round) => {
        for (let n = 0; n < 16; n++) {
          const page = (round * 16 + n) % PAGES;
          const range = { hva: hva + page * PAGE, size: PAGE };
          const young = flush ? vm.clearFlushYoung(range) : vm.clearYoung(range);
          if (young) told[page] = (told[page] as number) + 1;
        }
      },
    );
    return { told, results };
  }

  it.each([
    ["clear", false, "no TLB"],
    ["clear", false, "TLB of 8"],
    ["clear and flush", true, "large TLB"],
  ] as const)("hardware flags, %s, %s", (_name, flush, tlb) => {
    const machine = configuration("4K", 40, true, tlb);
    const cpu = { hafdbs: 2, tlb: machine.tlb };
    return withCrew({ ...slot, machine, cpu }, async (crew) => {
      const { told, results } = await aged(crew, flush);
      const sum = (of: (result: (typeof results)[0]) => number) =>
        results.reduce((total, result) => total + of(result), 0);
      const updates = sum(({ updates }) => updates);
      const { length: left } = [...new Tracker(crew.scene).flagged()];
      const all = told.reduce((total, n) => total + n, 0) + left;
      const made = sum(({ counts }) => counts.maps - counts.again);
      const lost = sum(({ counts }) => counts.again); // each may have made a flag that was cleared meanwhile (M-5.73)
      expect(all).toBeGreaterThanOrEqual(made + updates);
      expect(all).toBeLessThanOrEqual(made + updates + lost);
      expect(sum(({ counts }) => counts.accessFlag)).toBe(0);
      expect(sum(({ conflicts }) => conflicts)).toBe(0);
    });
  });

  it("flags set by faults: none is lost", () => {
    const machine = configuration("4K", 40, false, "TLB of 8");
    const cpu = { hafdbs: 0, tlb: machine.tlb };
    return withCrew({ ...slot, machine, cpu }, async (crew) => {
      const { told, results } = await aged(crew, true);
      const left = new Tracker(crew.scene).flagged();
      let [made, faults, lost] = [0, 0, 0];
      for (const { counts } of results) {
        made += counts.maps - counts.again;
        faults += counts.accessFlag;
        lost += counts.again;
      }
      const all = told.reduce((total, n) => total + n, 0) + left.size;
      expect(all, "two faults on one page set one flag").toBeLessThanOrEqual(made + faults + lost);
      expect(all).toBeGreaterThanOrEqual(PAGES);
      for (let page = 0; page < PAGES; page++) {
        if (told[page] === 0) expect(left.has(page), `page ${page} was used`).toBe(true);
      }
      expect(faults).toBeGreaterThan(0);
      expect(results.every(({ updates }) => updates === 0)).toBe(true);
    });
  });
});
