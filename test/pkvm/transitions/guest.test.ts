/** Guests that borrow pages: each row of the table, each precondition failing alone, and what the rows promise together. */
import { describe, expect, it } from "vitest";
import { type Bench, type VmParts, benches, listOf } from "../../ghost/bench.ts";
import {
  E2BIG,
  EAGAIN,
  EBUSY,
  EINVAL,
  ENOENT,
  ENOMEM,
  EPERM,
  ERANGE,
} from "../../ghost/model/words.ts";
import { GENERATIONS, type Generation } from "../../ghost/world.ts";

const RWX = 7;
const R = 4;
const BLOCK = 512;
const GUEST_PAGES = 2 ** 28; // 40 bits of 4K pages
const HUGE = [2n ** 52n, 2n ** 52n + 5n, 2n ** 64n - 1n];
const BLOCKS: readonly Generation[] = ["default", "newest"];

/** A loaded guest with pages for its tables, which maps one page at `gfn`. */
function withLeaf(bench: Bench, gfn = 0, page = bench.base): VmParts {
  const vm = bench.loadedVm();
  expect(bench.callWith(bench.pages(8), "SHARE_GUEST", page, gfn, 1, RWX)).toBe(0);
  return vm;
}

describe.each(GENERATIONS)("share_guest (%s)", (generation) => {
  const lab = benches(generation);

  it("maps the page, young and with these rights, and counts it", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench, 3);
    expect(bench.record(bench.base)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.guest(handle, 3)).toBe("SHARED_BORROWED");
    for (let prot = 0; prot <= RWX; prot++)
      expect(bench.call("SHARE_GUEST", bench.base + prot, 16 + prot, 1, prot)).toBe(0); // compared with the model
  });

  it("needs a loaded vCPU of a guest that borrows: -EINVAL", () => {
    const { bench } = lab;
    bench.vm();
    bench.expectRefused(EINVAL, "SHARE_GUEST", bench.base, 0, 1, RWX);
    if (generation !== "newest") return;
    bench.loadedVm(true);
    bench.expectRefused(EINVAL, "SHARE_GUEST", bench.base, 0, 1, RWX);
  });

  it("refuses rights that are none, before anything else of the row: -EINVAL", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const prot of [8, 16, 32, 2n ** 32n + 7n, 2n ** 63n + 7n])
      bench.expectRefused(EINVAL, "SHARE_GUEST", 0, 1, 1, prot);
  });

  it("refuses pages beyond the address space: -EINVAL", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const pfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(EINVAL, "SHARE_GUEST", pfn, 1, 1, RWX);
  });

  it("refuses counts that are no size: -EINVAL", () => {
    const { bench } = lab;
    withLeaf(bench);
    const first = Math.ceil(bench.base / BLOCK) * BLOCK;
    for (const count of [0, 2, 511, 513, 1024, ...HUGE])
      bench.expectRefused(EINVAL, "SHARE_GUEST", first, BLOCK, count, RWX);
    bench.expectRefused(EINVAL, "SHARE_GUEST", first + 1, BLOCK, BLOCK, RWX);
    bench.expectRefused(EINVAL, "SHARE_GUEST", first, BLOCK + 1, BLOCK, RWX);
    if (generation === "seed") bench.expectRefused(EINVAL, "SHARE_GUEST", first, BLOCK, BLOCK, RWX);
  });

  it("refuses what is not memory, and what is nobody's: -EPERM", () => {
    const { bench } = lab;
    withLeaf(bench);
    const [low, , nobodys] = bench.pair.state.memory.regions;
    for (const pfn of [0, low?.end ?? 0, nobodys?.first ?? 0])
      bench.expectRefused(EPERM, "SHARE_GUEST", pfn, 1, 1, RWX);
  });

  it("refuses guest pages beyond the guest's address space: -ERANGE", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const gfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(ERANGE, "SHARE_GUEST", bench.base + 1, gfn, 1, RWX);
    expect(bench.call("SHARE_GUEST", bench.base + 1, GUEST_PAGES - 1, 1, RWX)).toBe(0);
  });

  it("refuses a guest page that maps something: -EPERM", () => {
    const { bench } = lab;
    withLeaf(bench, 5);
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base + 1, 5, 1, RWX);
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base, 5, 1, RWX);
  });

  it.each([
    { host: "SHARED_OWNED", guests: 0 }, // lent to others than guests
    { host: "SHARED_BORROWED" },
    { host: "NOPAGE" },
  ] as const)("refuses a page that is %j for the host: -EPERM", (fields) => {
    const { bench } = lab;
    withLeaf(bench);
    bench.forge(bench.base + 1, fields);
    lab.spoil();
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base + 1, 1, 1, RWX);
  });

  it("refuses a page that is mapped 2^32 - 1 times: -EBUSY", () => {
    const { bench } = lab;
    withLeaf(bench);
    bench.forge(bench.base, { guests: 2 ** 32 - 1 });
    lab.spoil();
    bench.expectRefused(EBUSY, "SHARE_GUEST", bench.base, 1, 1, RWX);
    bench.forge(bench.base, { guests: 2 ** 32 - 2 });
    expect(bench.raw("SHARE_GUEST", bench.base, 1, 1, RWX)).toBe(0);
    expect(bench.record(bench.base).guests).toBe(2 ** 32 - 1);
  });

  it("needs pages for the tables that are missing: -ENOMEM, and the rest goes by", () => {
    const { bench } = lab;
    bench.loadedVm();
    bench.expectRefused(ENOMEM, "SHARE_GUEST", bench.base, 0, 1, RWX);
    expect(bench.callWith(bench.pages(1), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
    expect(bench.callWith(bench.pages(2), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
    expect(bench.call("SHARE_GUEST", bench.base + 1, 1, 1, RWX)).toBe(0); // the same tables
    bench.expectRefused(ENOMEM, "SHARE_GUEST", bench.base + 2, BLOCK, 1, RWX);
  });

  it("P-5.2: maps a page at several guest pages, and in several guests", () => {
    const { bench } = lab;
    const first = withLeaf(bench, 0);
    expect(bench.call("SHARE_GUEST", bench.base, 1, 1, R)).toBe(0);
    bench.on(1);
    const second = withLeaf(bench, 0);
    expect(bench.record(bench.base)).toMatchObject({ host: "SHARED_OWNED", guests: 3 });
    expect(bench.call("UNSHARE_GUEST", first.handle, 0, 1)).toBe(0);
    expect(bench.call("UNSHARE_GUEST", second.handle, 0, 1)).toBe(0);
    expect(bench.record(bench.base)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.call("UNSHARE_GUEST", first.handle, 1, 1)).toBe(0);
    expect(bench.record(bench.base)).toMatchObject({ host: "OWNED", guests: 0 });
  });
});

describe.each(GENERATIONS)("the memcache of a vCPU (%s)", (generation) => {
  const lab = benches(generation);

  it("P-3.2: admits the host's pages one by one, and stops at a bad one: -ENOMEM, those before stay", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    const [good, late, bad] = [bench.fresh(), bench.fresh(), bench.fresh()];
    expect(bench.call("SHARE_FFA", bad, 1)).toBe(0);
    // taken from the end of the list
    expect(bench.callWith(listOf(late, bad, good), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(
      -ENOMEM,
    );
    expect(bench.record(good)).toMatchObject({ host: "NOPAGE", hyp: "OWNED", references: 1 });
    expect(bench.record(late)).toMatchObject({ host: "OWNED" });
    expect(bench.pair.machine.vcpu(handle, 0).memcache).toBe(1);
  });

  it.each([
    ["no memory", 0n],
    ["beyond the address space", 2n ** 28n],
    ["far beyond it", 2n ** 64n - 1n],
  ])("P-3.2: does not admit what is %s", (_, pfn) => {
    const { bench } = lab;
    bench.loadedVm();
    const before = bench.snapshot();
    expect(bench.callWith(listOf(pfn), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
    expect(bench.snapshot()).toEqual(before);
  });

  it("P-3.2: does not admit the same page twice", () => {
    const { bench } = lab;
    bench.loadedVm();
    const page = bench.fresh();
    expect(bench.callWith(listOf(page, page), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
    expect(bench.record(page)).toMatchObject({ hyp: "OWNED", references: 1 });
  });

  it("P-3.2: takes no list that claims more than 64 pages, and nothing of it", () => {
    const { bench } = lab;
    bench.loadedVm();
    const { pages } = bench.pages(64);
    for (const count of [65n, 2n ** 32n, 2n ** 64n - 1n]) {
      const before = bench.snapshot();
      expect(bench.callWith({ count, pages }, "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
      expect(bench.snapshot()).toEqual(before);
    }
    expect(bench.callWith({ count: 64n, pages }, "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
  });

  it("admits no more than the list had: what is there counts", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    expect(bench.callWith(bench.pages(6), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
    expect(bench.pair.machine.vcpu(handle, 0).memcache).toBe(4);
    const [unused, used] = [bench.fresh(3), bench.fresh(2)];
    const list = listOf(unused, unused + 1, unused + 2, used, used + 1);
    expect(bench.callWith(list, "SHARE_GUEST", bench.base + 1, 1, 1, RWX)).toBe(0);
    expect(bench.pair.machine.vcpu(handle, 0).memcache).toBe(5);
    expect(bench.record(used).host).toBe("OWNED");
    expect(bench.record(used + 1).hyp).toBe("OWNED");
  });

  it("pages of tables that went empty are used first", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    expect(bench.callWith(bench.pages(2), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
    expect(bench.call("UNSHARE_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ spare: 2, inMemcaches: 0 });
    expect(bench.call("SHARE_GUEST", bench.base, BLOCK, 1, RWX)).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ spare: 0 });
  });
});

describe.each(GENERATIONS)("unshare_guest (%s)", (generation) => {
  const lab = benches(generation);

  it("refuses a handle of no guest that borrows: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    const reserved = bench.call("RESERVE_VM");
    const handles = [
      0,
      0xfff,
      handle + 1,
      reserved,
      0x1000 + 255,
      BigInt(handle) + 2n ** 32n,
      ...HUGE,
    ];
    for (const name of ["UNSHARE_GUEST", "WRPROTECT_GUEST", "TEST_CLEAR_YOUNG_GUEST"] as const) {
      for (const other of handles) bench.expectRefused(EINVAL, name, other, 0, 1);
      if (generation !== "newest") continue;
      const owner = bench.vm(true);
      bench.expectRefused(EINVAL, name, owner.handle, 0, 1);
    }
  });

  it("refuses counts that are no size, and gfns beyond the guest's", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    for (const name of ["UNSHARE_GUEST", "WRPROTECT_GUEST", "TEST_CLEAR_YOUNG_GUEST"] as const) {
      for (const count of [0, 2, 511, 1024, ...HUGE])
        bench.expectRefused(EINVAL, name, handle, 0, count);
      bench.expectRefused(EINVAL, name, handle, 1, BLOCK);
      for (const gfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(ERANGE, name, handle, gfn, 1);
    }
  });

  it("refuses where nothing is mapped: -ENOENT", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    bench.expectRefused(ENOENT, "UNSHARE_GUEST", handle, 1, 1);
    bench.expectRefused(ENOENT, "UNSHARE_GUEST", handle, GUEST_PAGES - 1, 1);
  });

  it("refuses a leaf that the guest did not borrow: -EPERM", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    lab.spoil();
    for (const state of ["OWNED", "SHARED_OWNED"] as const) {
      bench.forgeGuest(handle, 0, state);
      bench.expectRefused(EPERM, "UNSHARE_GUEST", handle, 0, 1);
    }
  });

  it.each(["OWNED", "SHARED_BORROWED", "NOPAGE"] as const)(
    "refuses a page that the host has not lent (%s): -EPERM",
    (host) => {
      const { bench } = lab;
      const { handle } = withLeaf(bench);
      bench.forge(bench.base, { host, guests: 1 });
      lab.spoil();
      bench.expectRefused(EPERM, "UNSHARE_GUEST", handle, 0, 1);
    },
  );

  it("refuses a page that is counted nowhere: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    bench.forge(bench.base, { guests: 0 });
    lab.spoil();
    bench.expectRefused(EINVAL, "UNSHARE_GUEST", handle, 0, 1);
  });
});

describe.each(BLOCKS)("blocks (%s)", (generation) => {
  const lab = benches(generation);
  const blockOf = (bench: Bench): number => Math.ceil(bench.base / BLOCK) * BLOCK;

  function withBlock(bench: Bench): VmParts {
    const vm = bench.loadedVm();
    const list = bench.pages(4);
    expect(bench.callWith(list, "SHARE_GUEST", blockOf(bench), BLOCK, BLOCK, RWX)).toBe(0);
    return vm;
  }

  it("P-5.3: a block counts on each of its pages, and on each goes again", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    const first = blockOf(bench);
    for (const page of [first, first + 255, first + 511])
      expect(bench.record(page)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.call("SHARE_GUEST", first + 7, 0, 1, RWX)).toBe(0);
    expect(bench.record(first + 7).guests).toBe(2);
    expect(bench.call("UNSHARE_GUEST", handle, BLOCK, BLOCK)).toBe(0);
    expect(bench.record(first + 7)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.record(first + 8).host).toBe("OWNED");
  });

  it.each([0, 255, 511])("P-5.3: page %i alone is not the host's: nothing changes", (index) => {
    const { bench } = lab;
    bench.loadedVm();
    expect(bench.callWith(bench.pages(4), "SHARE_GUEST", bench.fresh(), 0, 1, RWX)).toBe(0);
    expect(bench.call("SHARE_HYP", blockOf(bench) + index)).toBe(0);
    bench.expectRefused(EPERM, "SHARE_GUEST", blockOf(bench), BLOCK, BLOCK, RWX);
  });

  it("P-5.3: one page of the guest's is mapped, or one page is counted to the end: nothing changes", () => {
    const { bench } = lab;
    withLeaf(bench, BLOCK + 511, bench.fresh());
    bench.expectRefused(EPERM, "SHARE_GUEST", blockOf(bench), BLOCK, BLOCK, RWX);
    bench.forge(blockOf(bench) + 3, { host: "SHARED_OWNED", guests: 2 ** 32 - 1 });
    lab.spoil();
    bench.expectRefused(EBUSY, "SHARE_GUEST", blockOf(bench), 2 * BLOCK, BLOCK, RWX);
  });

  it("unshare: a page of a block, or a block of pages, is another size: -E2BIG", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    bench.expectRefused(E2BIG, "UNSHARE_GUEST", handle, BLOCK, 1);
    bench.expectRefused(E2BIG, "UNSHARE_GUEST", handle, BLOCK + 9, 1);
    expect(bench.call("SHARE_GUEST", bench.fresh(), 0, 1, RWX)).toBe(0);
    bench.expectRefused(E2BIG, "UNSHARE_GUEST", handle, 0, BLOCK);
  });

  it("unshare: one page of the block is not as it has to be: nothing changes", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    lab.spoil();
    bench.forge(blockOf(bench) + 511, { guests: 0 });
    bench.expectRefused(EINVAL, "UNSHARE_GUEST", handle, BLOCK, BLOCK);
    bench.forge(blockOf(bench) + 511, { host: "OWNED" });
    bench.expectRefused(EPERM, "UNSHARE_GUEST", handle, BLOCK, BLOCK);
  });

  it("protection and age of a block change as a whole, by its first page or any", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, BLOCK + 77, 1, 1)).toBe(1);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, BLOCK, BLOCK, 0)).toBe(0);
    expect(bench.call("MKYOUNG_GUEST", BLOCK + 400)).toBe(0);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, BLOCK, BLOCK, 0)).toBe(1);
    expect(bench.call("WRPROTECT_GUEST", handle, BLOCK + 3, 1)).toBe(0);
    expect(bench.call("RELAX_PERMS_GUEST", BLOCK + 511, 2)).toBe(0);
  });
});

describe.each(GENERATIONS)("rights and age of a guest's pages (%s)", (generation) => {
  const lab = benches(generation);

  it("P-5.1: where nothing is mapped relax is -EAGAIN, the others 0", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    expect(bench.call("RELAX_PERMS_GUEST", 1, RWX)).toBe(-EAGAIN);
    expect(bench.call("WRPROTECT_GUEST", handle, 1, 1)).toBe(0);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, 1, 1, 1)).toBe(0);
    expect(bench.call("MKYOUNG_GUEST", 1)).toBe(0);
  });

  it("P-5.1: whether the host still lends the page is not asked", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    bench.forge(bench.base, { host: "NOPAGE" });
    lab.spoil();
    expect(bench.raw("RELAX_PERMS_GUEST", 0, RWX)).toBe(0);
    expect(bench.raw("WRPROTECT_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.raw("TEST_CLEAR_YOUNG_GUEST", handle, 0, 1, 0)).toBe(1);
    expect(bench.raw("MKYOUNG_GUEST", 0)).toBe(0);
  });

  it("relax and mkyoung need a loaded vCPU of a guest that borrows: -EINVAL", () => {
    const { bench } = lab;
    bench.vm();
    bench.expectRefused(EINVAL, "RELAX_PERMS_GUEST", 0, RWX);
    bench.expectRefused(EINVAL, "MKYOUNG_GUEST", 0);
    if (generation !== "newest") return;
    bench.loadedVm(true);
    bench.expectRefused(EINVAL, "RELAX_PERMS_GUEST", 0, RWX);
    bench.expectRefused(EINVAL, "MKYOUNG_GUEST", 0);
  });

  it("relax refuses rights that are none (-EINVAL) and guest pages that are none (-ERANGE)", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const prot of [8, 32, 2n ** 32n + 1n, 2n ** 63n])
      bench.expectRefused(EINVAL, "RELAX_PERMS_GUEST", 0, prot);
    for (const gfn of [GUEST_PAGES, ...HUGE]) {
      bench.expectRefused(ERANGE, "RELAX_PERMS_GUEST", gfn, RWX);
      bench.expectRefused(ERANGE, "MKYOUNG_GUEST", gfn);
    }
  });

  it("write protection takes W alone, relax only adds", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    expect(bench.call("WRPROTECT_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.leaf(handle, 0)).toMatchObject({ prot: 5 });
    expect(bench.call("RELAX_PERMS_GUEST", 0, 0)).toBe(0);
    expect(bench.call("RELAX_PERMS_GUEST", 0, 2)).toBe(0);
    expect(bench.leaf(handle, 0)).toMatchObject({ prot: RWX });
  });

  it("a flush by handle says nothing, whosever the handle is", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    for (const any of [handle, 0, 0xfff, BigInt(handle) + 2n ** 32n, ...HUGE])
      expect(bench.call("TLB_FLUSH_VMID", any)).toBe(0);
  });
});
