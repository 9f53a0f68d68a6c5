/** demand_paging_test with vCPUs in threads: each brings the pages that it meets first, and the others wait for it. */
import { describe, expect, it } from "vitest";
import { crews } from "../harness/threads/crew.ts";
import { shapeOf } from "../harness/slot/shape.ts";

const PAGE = 4096;
const EACH = 1024;
const BYTE = 0xab;

describe("demand_paging_test in threads", () => {
  const withCrew = crews();
  const memory = (pages: number) => ({ size: pages * PAGE, bytes: (pages + 2) * PAGE });
  const args = { unit: 1, mode: "missing", byte: BYTE } as const;

  it("DP1: pages of its own for each", () =>
    withCrew({ threads: 3, kind: "anonymous", ...memory(3 * EACH) }, async (crew) => {
      const results = await crew.run("demand", (id) => ({
        ...{ ...args, seed: id, first: id * EACH, end: (id + 1) * EACH },
      }));
      expect(results).toMatchObject(Array(3).fill({ asked: EACH, wrong: 0 }));
      expect(crew.scene.ram.counters).toMatchObject({ missing: 3 * EACH, filled: 3 * EACH });
      expect(shapeOf(crew.scene.vm.stage2)).toEqual({ "L3 rw-": 3 * EACH });
    }));

  it("DP2: all need all pages", () =>
    withCrew({ threads: 3, kind: "anonymous", ...memory(EACH) }, async (crew) => {
      const results = await crew.run("demand", (id) => ({
        ...args,
        seed: id + 5,
        first: 0,
        end: EACH,
      }));
      expect(results.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
      expect(
        results.reduce((sum, { asked }) => sum + asked, 0),
        "each page once",
      ).toBe(EACH);
      expect(shapeOf(crew.scene.vm.stage2)).toEqual({ "L3 rw-": EACH });
    }));

  it("DP3: pages of the page cache", () =>
    withCrew({ threads: 2, kind: "file", ...memory(EACH) }, async (crew) => {
      const { ram, hva } = crew.scene;
      const bytes = new Uint8Array(PAGE).fill(BYTE);
      for (let n = 0; n < EACH; n++) ram.preload(hva + n * PAGE, bytes);
      const minor = { ...args, mode: "minor", first: 0, end: EACH } as const;
      const results = await crew.run("demand", (id) => ({ ...minor, seed: id + 9 }));
      expect(results.map(({ wrong }) => wrong)).toEqual([0, 0]);
      expect(ram.counters).toMatchObject({ minor: EACH, missing: 0 });
    }));

  it("DP4: huge pages", () =>
    withCrew(
      { threads: 2, kind: "hugetlb", pageSize: 2 ** 21, size: 2 ** 24, bytes: 2 ** 24 },
      async (crew) => {
        const unit = 512;
        const results = await crew.run("demand", (id) => ({
          ...{ ...args, unit, seed: id + 3, first: 0, end: 8 * unit },
        }));
        expect(results.map(({ wrong }) => wrong)).toEqual([0, 0]);
        expect(results.reduce((sum, { asked }) => sum + asked, 0)).toBe(8);
        expect(shapeOf(crew.scene.vm.stage2)).toEqual({ "L2 rw-": 8 });
      },
    ));

  it("DP5: the host invalidates meanwhile", () =>
    withCrew({ threads: 3, kind: "anonymous", ...memory(EACH) }, async (crew) => {
      const { vm, hva } = crew.scene;
      vm.setVmEvents([]); // faults that are retried meanwhile are more than a log holds
      const all = { ...args, first: 0, end: EACH };
      const results = await crew.runBeside(
        "demand",
        (id) => ({ ...all, seed: id + 1 }),
        (round) => {
          const at = hva + ((round * 37) % (EACH - 8)) * PAGE;
          vm.invalidate({ hva: at, size: 8 * PAGE }, () => {});
        },
      );
      expect(results.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
      expect(results.reduce((sum, { asked }) => sum + asked, 0)).toBe(EACH);
    }));
});
