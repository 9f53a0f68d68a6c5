/** Rows P-2.20 to P-2.29: what a map does, case by case. */
import { describe, expect, it } from "vitest";
import { Prot, WalkFlag } from "../../../src/index.ts";
import { errorOf } from "../../support.ts";
import { BLOCK, BLOCK_PFN, PAGE, beds, openBed, snapshot, state } from "../support.ts";
import {
  BLOCK_BYTES,
  GENERATIONS,
  IPA,
  block,
  forgeLeaves,
  guestOf,
  page,
  pagesOf,
  records,
} from "./support.ts";

describe.each(GENERATIONS)("a map (%s)", (generation) => {
  const bed = beds({ generation });

  it("P-2.20: of a size that is no leaf: EINVAL, and no hypercall", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const before = snapshot(b.pkvm);
    const sizes = [2 * PAGE, BLOCK_BYTES - PAGE, BLOCK_BYTES + PAGE, 2 ** 30, PAGE + 1, 1];
    if (generation === "seed") sizes.push(BLOCK_BYTES);
    for (const size of sizes) {
      const request = { ipa: IPA, size, pa: BLOCK_PFN * PAGE, prot: Prot.RW };
      expect(errorOf(() => step(() => s2.map(request))).code).toBe("EINVAL");
    }
    expect(snapshot(b.pkvm)).toEqual(before);
    expect(s2.warnings).toBe(0);
  });

  it("P-2.21: that is shared: a record, by the one that the cache had", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const cache = b.keep(b.pkvm.memcache());
    const pfn = b.page();
    cache.topup(2);
    expect(step(() => s2.map({ ...page(3, pfn), cache }))).toBe("ok");
    expect(cache.hasMapping).toBe(false);
    expect(records(s2)).toEqual([[IPA / PAGE + 3, pfn, 1]]);
    expect(state(b.pkvm, pfn)).toMatchObject({ host: "SHARED_OWNED", guestMappings: 1 });
    expect(s2.warnings).toBe(0);
  });

  it("P-2.23: that fails otherwise: the error, no record, room for one as before", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const cache = b.keep(b.pkvm.memcache());
    cache.topup(2);
    const bad = { ...page(0, b.page(), Prot.R | Prot.DEVICE), cache };
    expect(errorOf(() => step(() => s2.map(bad))).code).toBe("EINVAL");
    expect([pagesOf(s2), cache.hasMapping]).toEqual([[], true]);
    const above = { ...page(0, b.page()), ipa: 2 ** 40, cache };
    expect(errorOf(() => step(() => s2.map(above))).code).toBe("ERANGE");
    expect([pagesOf(s2), cache.hasMapping]).toEqual([[], true]);
    expect(step(() => s2.map({ ...page(0, b.page()), cache }))).toBe("ok");
  });

  it("P-2.27: without room for a record: ENOMEM, and nothing is shared", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const cache = b.keep(b.pkvm.memcache());
    const pfn = b.page();
    for (const none of [null, cache]) {
      const request = { ...page(0, pfn), cache: none };
      expect(errorOf(() => step(() => s2.map(request))).code).toBe("ENOMEM");
    }
    expect(state(b.pkvm, pfn)).toMatchObject({ host: "OWNED", guestMappings: 0 });
  });

  it("P-2.28: the cache needs a page for each level below the root, and room for one record", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const levels = 4 - s2.startLevel;
    const cache = b.keep(b.pkvm.memcache());
    cache.topup(levels - 2);
    const request = { ...page(0, b.page()), cache };
    expect(errorOf(() => step(() => s2.map(request))).code).toBe("ENOMEM");
    cache.topup(levels - 1); // the hypervisor took the others, and wants no more than that
    expect(step(() => s2.map(request))).toBe("ok");
    expect(b.pkvm.vmState(s2.vmHandle)?.inMemcaches).toBe(0);
    expect([cache.pages, cache.hasMapping]).toEqual([levels - 2, false]);
  });

  it("P-2.28: what the host does not have: ENOMEM, and the cache keeps what could be had", async () => {
    const hostPages = { pa: 0x8000_0000, size: 5 * PAGE };
    const few = await openBed({ generation, hostPages });
    const cache = few.pkvm.memcache();
    expect(errorOf(() => cache.topup(6)).code).toBe("ENOMEM");
    expect(cache.pages).toBe(5);
    cache.dispose();
    expect(few.pkvm.hostPages).toEqual({ free: 5, all: 5 });
    expect(few.close()).toBe(0);
  });
});

describe.each(GENERATIONS)("a map beside a reader (%s)", (generation) => {
  const bed = beds({ generation }, "threads");

  it("P-2.2: a fault takes the side of the mmu_lock that its records need", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    b.keep(b.engine.vcpu(s2)); // where nobody else could be, no lock is looked at
    const request = { ...page(0, b.page()), flags: WalkFlag.SHARED | WalkFlag.HANDLE_FAULT };
    const beside = (): unknown => s2.mmuLock.read(() => s2.map(request));
    if (generation === "seed") expect(beside()).toBe("ok");
    else expect(errorOf(beside).code).toBe("EDEADLK");
    expect(step(() => s2.map(page(1, b.page())))).toBe("ok");
    expect(pagesOf(s2)).toEqual(generation === "seed" ? [0, 1] : [1]);
  });
});

describe("a map (seed)", () => {
  const bed = beds({ generation: "seed" });

  it("P-2.22: of what the hypervisor refuses: again, and the record stays in the cache", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const cache = b.keep(b.pkvm.memcache());
    const pfn = b.page();
    step(() => s2.map(page(0, pfn)));
    cache.topup(2);
    for (const other of [pfn, b.page()]) {
      expect(step(() => s2.map({ ...page(0, other), cache }))).toBe("again");
    }
    expect(cache.hasMapping).toBe(true);
    expect(records(s2)).toEqual([[IPA / PAGE, pfn, 1]]);
    expect(s2.statistics).toMatchObject({ warnings: 0, refusals: 2 });
    expect(step(() => s2.map({ ...page(1, pfn), cache }))).toBe("ok");
  });

  it("P-2.29: two faults may be in map at once, so hypercall and record are one step under a lock", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const flags = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;
    for (let at = 0; at < 4; at++) {
      const request = { ...page(at, b.page()), flags };
      step(() => s2.mmuLock.read(() => expect(s2.map(request)).toBe("ok")));
      step(() => s2.mmuLock.read(() => expect(s2.map(request)).toBe("again")));
    }
    expect(pagesOf(s2)).toEqual([0, 1, 2, 3]);
  });
});

describe.each(["default", "newest"] as const)("a map (%s)", (generation) => {
  const bed = beds({ generation });

  it("P-2.24: over a record of the same size: again, and no hypercall", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const other = b.page();
    step(() => s2.map(page(0, b.page())));
    step(() => s2.map(block(1, BLOCK_PFN)));
    const cache = b.keep(b.pkvm.memcache());
    cache.topup(2);
    const before = snapshot(b.pkvm);
    for (const request of [page(0, other), page(0, other, Prot.R), block(1, BLOCK_PFN)]) {
      expect(step(() => s2.map({ ...request, cache }))).toBe("again");
    }
    expect(snapshot(b.pkvm)).toEqual(before);
    expect(s2.statistics).toMatchObject({ warnings: 0, refusals: 0 });
  });

  it("P-2.25: over records of other sizes: they are unshared first", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfns = [0, 7, 511].map((at) => [at, b.page()] as const);
    for (const [at, pfn] of pfns) step(() => s2.map(page(at, pfn)));
    const outside = b.page();
    step(() => s2.map(page(BLOCK, outside)));
    expect(step(() => s2.map(block(0, BLOCK_PFN)))).toBe("ok");
    for (const [, pfn] of pfns) expect(state(b.pkvm, pfn).host).toBe("OWNED");
    expect(records(s2)).toEqual([
      [IPA / PAGE, BLOCK_PFN, BLOCK],
      [IPA / PAGE + BLOCK, outside, 1],
    ]);
    expect(step(() => s2.map(page(5, BLOCK_PFN + 5)))).toBe("ok"); // and back: the block goes whole
    expect(pagesOf(s2)).toEqual([5, BLOCK]);
    expect(state(b.pkvm, BLOCK_PFN + 6).host).toBe("OWNED");
  });

  it("P-2.25: one that cannot be unshared: its error, and nothing is mapped", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfns = [b.page(), b.page(), b.page()];
    pfns.forEach((pfn, at) => step(() => s2.map(page(at, pfn))));
    forgeLeaves(b, pfns[1] as number, 0);
    expect(errorOf(() => s2.map(block(0, BLOCK_PFN))).code).toBe("EINVAL");
    forgeLeaves(b, pfns[1] as number, 1);
    step(() => expect(pagesOf(s2)).toEqual([1, 2]));
    expect(state(b.pkvm, BLOCK_PFN).host).toBe("OWNED");
    expect(s2.warnings).toBeGreaterThan(0);
    expect(step(() => s2.map(block(0, BLOCK_PFN)))).toBe("ok");
  });

  it("P-2.26: of what the hypervisor refuses: EPERM as it is, with a warning", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfn = b.page();
    b.call("donateHyp", pfn, 1);
    expect(errorOf(() => step(() => s2.map(page(0, pfn)))).code).toBe("EPERM");
    expect(s2.statistics).toMatchObject({ warnings: 1, refusals: 0, mappings: 0 });
    expect(b.call("hypDonateHost", pfn, 1)).toBe(0);
    expect(step(() => s2.map(page(0, pfn)))).toBe("ok");
  });
});

describe("what a map follows is an option each", () => {
  it.each([
    ["P-2.22: epermIsAgain", { epermIsAgain: true }, "again", 0],
    ["P-2.26: without it", { generation: "seed", epermIsAgain: false }, "EPERM", 1],
  ] as const)("%s", async (_name, options, wanted, warnings) => {
    const b = await openBed(options);
    const { s2, step } = guestOf(b);
    const pfn = b.page();
    b.call("donateHyp", pfn, 1);
    const map = (): string => step(() => s2.map(page(0, pfn)));
    expect(wanted === "again" ? map() : errorOf(map).code).toBe(wanted);
    expect(s2.warnings).toBe(warnings);
    expect(b.close()).toBe(0);
  });

  it("P-2.20: blocks", async () => {
    const b = await openBed({ generation: "seed", blocks: true });
    const { s2, step } = guestOf(b);
    expect(step(() => s2.map(block(0, BLOCK_PFN)))).toBe("ok");
    expect(errorOf(() => step(() => s2.map(block(1, BLOCK_PFN + 1)))).code).toBe("EINVAL");
    expect(b.close()).toBe(0);
  });
});
