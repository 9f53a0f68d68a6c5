/** Guests that own pages: each row of the table, and each precondition failing alone. */
import { describe, expect, it } from "vitest";
import { NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";
import { type Bench, type VmParts, benches } from "../../ghost/bench.ts";
import {
  EAGAIN,
  EFAULT,
  EHWPOISON,
  EINVAL,
  ENOENT,
  ENOMEM,
  EPERM,
  ERANGE,
} from "../../ghost/model/words.ts";

const GUEST_PAGES = 2 ** 28;
const HUGE = [2n ** 52n, 2n ** 52n + 5n, 2n ** 64n - 1n];
const GFN = 0x20;

/** A loaded guest that owns one page. */
function withPage(bench: Bench, gfn = GFN, page = bench.base): VmParts {
  const vm = bench.loadedVm(true);
  expect(bench.callWith(bench.pages(8), "DONATE_GUEST", page, gfn)).toBe(0);
  return vm;
}

describe("generations without guests that own pages", () => {
  const lab = benches("default");

  it("P-3.1: do not know their calls, nor numbers that nobody knows", () => {
    const { bench } = lab;
    bench.loadedVm();
    for (const name of [
      "DONATE_GUEST",
      "FORCE_RECLAIM",
      "GUEST_SHARE_HOST",
      "GUEST_UNSHARE_HOST",
      "START_TEARDOWN",
      "RECLAIM_DYING_PAGE",
      "RECLAIM_PAGE",
    ] as const)
      expect(bench.call(name, bench.base, 0), name).toBe(NOT_SUPPORTED);
    for (const number of [0, 25, 39, 42, 63, 81, 255, 2 ** 31 - 1, -1])
      expect(bench.pair.machine.call(0, number, []), `${number}`).toBe(NOT_SUPPORTED);
    const [shared, struct, root] = [bench.fresh(), bench.fresh(), bench.fresh(2)];
    expect(bench.call("SHARE_HYP", shared)).toBe(0);
    expect(bench.call("INIT_VM", 0, shared, struct, root, 1, 1)).toBe(-EINVAL);
  });
});

describe("donate_guest", () => {
  const lab = benches("newest");

  it("gives the page for good: nobody else has it", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    expect(bench.record(bench.base)).toMatchObject({ host: "NOPAGE", hyp: "NOPAGE" });
    expect(bench.leaf(handle, GFN)).toMatchObject({ pfn: bench.base, prot: 7, young: true });
    expect(bench.call("HOST_ABORT", bench.base * 4096)).toBe(-EPERM);
  });

  it("needs a loaded vCPU of a guest that owns: -EINVAL", () => {
    const { bench } = lab;
    bench.vm(true);
    bench.expectRefused(EINVAL, "DONATE_GUEST", bench.base, GFN);
    bench.loadedVm();
    bench.expectRefused(EINVAL, "DONATE_GUEST", bench.base, GFN);
  });

  it("refuses what is no page of memory, and guest pages that are none", () => {
    const { bench } = lab;
    withPage(bench);
    const [low, , nobodys] = bench.pair.state.memory.regions;
    for (const pfn of [0, low?.end ?? 0, nobodys?.first ?? 0])
      bench.expectRefused(EPERM, "DONATE_GUEST", pfn, 1);
    for (const pfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(EINVAL, "DONATE_GUEST", pfn, 1);
    for (const gfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(ERANGE, "DONATE_GUEST", bench.base + 1, gfn);
  });

  it.each([{ host: "SHARED_OWNED" }, { host: "SHARED_BORROWED" }, { host: "NOPAGE" }] as const)(
    "refuses a page that is %j for the host: -EPERM",
    (fields) => {
      const { bench } = lab;
      withPage(bench);
      bench.forge(bench.base + 1, fields);
      lab.spoil();
      bench.expectRefused(EPERM, "DONATE_GUEST", bench.base + 1, GFN + 1);
    },
  );

  it("refuses a guest page that maps something, or was taken by force: -EPERM", () => {
    const { bench } = lab;
    withPage(bench);
    bench.expectRefused(EPERM, "DONATE_GUEST", bench.base + 1, GFN);
    expect(bench.call("FORCE_RECLAIM", bench.base)).toBe(0);
    bench.expectRefused(EPERM, "DONATE_GUEST", bench.base + 1, GFN);
  });

  it("needs as many pages in the memcache as there are levels below the root: -ENOMEM", () => {
    const { bench } = lab;
    bench.loadedVm(true);
    bench.expectRefused(ENOMEM, "DONATE_GUEST", bench.base, GFN);
    expect(bench.callWith(bench.pages(1), "DONATE_GUEST", bench.base, GFN)).toBe(-ENOMEM);
    expect(bench.callWith(bench.pages(2), "DONATE_GUEST", bench.base, GFN)).toBe(0);
    bench.expectRefused(ENOMEM, "DONATE_GUEST", bench.base + 1, GFN + 1); // though it needs none
  });
});

describe.each([
  ["GUEST_SHARE_HOST", [], { guest: "SHARED_OWNED", host: "SHARED_BORROWED" }],
  ["GUEST_UNSHARE_HOST", ["GUEST_SHARE_HOST"], { guest: "OWNED", host: "NOPAGE" }],
] as const)("%s", (name, before, after) => {
  const lab = benches("newest");

  function prepare(bench: Bench): VmParts {
    const vm = withPage(bench);
    for (const call of before) expect(bench.call(call, GFN)).toBe(0);
    return vm;
  }

  it("changes both sides, and what the host maps", () => {
    const { bench } = lab;
    const { handle } = prepare(bench);
    expect(bench.call(name, GFN)).toBe(0);
    expect(bench.guest(handle, GFN)).toBe(after.guest);
    expect(bench.record(bench.base).host).toBe(after.host);
    expect(bench.isInHost(bench.base)).toBe(after.host === "SHARED_BORROWED");
  });

  it("needs a loaded vCPU of a guest that owns: -EINVAL", () => {
    const { bench } = lab;
    prepare(bench);
    bench.on(1).expectRefused(EINVAL, name, GFN);
    bench.loadedVm();
    bench.expectRefused(EINVAL, name, GFN);
  });

  it("refuses a guest page that is none (-ERANGE), maps nothing (-ENOENT), was taken (-EHWPOISON)", () => {
    const { bench } = lab;
    prepare(bench);
    for (const gfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(ERANGE, name, gfn);
    bench.expectRefused(ENOENT, name, GFN + 1);
    expect(bench.call("DONATE_GUEST", bench.base + 1, GFN + 1)).toBe(0);
    expect(bench.call("FORCE_RECLAIM", bench.base + 1)).toBe(0);
    bench.expectRefused(EHWPOISON, name, GFN + 1);
  });

  it("refuses a state of the guest's that is another: -EPERM", () => {
    const { bench } = lab;
    const { handle } = prepare(bench);
    const right = bench.guest(handle, GFN);
    lab.spoil();
    for (const state of ["OWNED", "SHARED_OWNED", "SHARED_BORROWED"] as const) {
      if (state === right) continue;
      bench.forgeGuest(handle, GFN, state);
      bench.expectRefused(EPERM, name, GFN);
    }
  });

  it("refuses a state of the host's that is another: -EPERM", () => {
    const { bench } = lab;
    prepare(bench);
    const right = bench.record(bench.base).host;
    lab.spoil();
    for (const host of ["OWNED", "SHARED_OWNED", "SHARED_BORROWED", "NOPAGE"] as const) {
      if (host === right) continue;
      bench.forge(bench.base, { host });
      bench.expectRefused(EPERM, name, GFN);
    }
  });
});

describe("force_reclaim", () => {
  const lab = benches("newest");

  it("takes the page, and leaves a mark that stays", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    expect(bench.call("FORCE_RECLAIM", bench.base)).toBe(0);
    expect(bench.record(bench.base)).toMatchObject({ host: "OWNED", hyp: "NOPAGE" });
    expect(bench.guest(handle, GFN)).toBe("POISON");
    expect(bench.call("DONATE_GUEST", bench.base, GFN + 1)).toBe(0); // elsewhere it may go
  });

  it("refuses what is no memory: -EFAULT; beyond the address space: -EINVAL; nobody's: -EPERM", () => {
    const { bench } = lab;
    const [low, , nobodys] = bench.pair.state.memory.regions;
    for (const pfn of [0, low?.end ?? 0, GUEST_PAGES - 1])
      bench.expectRefused(EFAULT, "FORCE_RECLAIM", pfn);
    for (const pfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(EINVAL, "FORCE_RECLAIM", pfn);
    bench.expectRefused(EPERM, "FORCE_RECLAIM", nobodys?.first ?? 0);
  });

  it("refuses what the host has access to: -EAGAIN", () => {
    const { bench } = lab;
    withPage(bench);
    bench.expectRefused(EAGAIN, "FORCE_RECLAIM", bench.base + 1);
    expect(bench.call("SHARE_HYP", bench.base + 2)).toBe(0);
    bench.expectRefused(EAGAIN, "FORCE_RECLAIM", bench.base + 2);
    expect(bench.call("GUEST_SHARE_HOST", GFN)).toBe(0);
    bench.expectRefused(EAGAIN, "FORCE_RECLAIM", bench.base);
  });

  it("refuses what is the hypervisor's: -EPERM", () => {
    const { bench } = lab;
    const { donated } = withPage(bench);
    expect(bench.call("DONATE_HYP", bench.base + 1, 1)).toBe(0);
    for (const pfn of [bench.base + 1, ...donated])
      bench.expectRefused(EPERM, "FORCE_RECLAIM", pfn);
  });

  it("refuses a page that the guest does not say it owns: -EPERM", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    lab.spoil();
    for (const state of ["SHARED_OWNED", "SHARED_BORROWED"] as const) {
      bench.forgeGuest(handle, GFN, state);
      bench.expectRefused(EPERM, "FORCE_RECLAIM", bench.base);
    }
  });
});

describe("reclaim of a guest that ends", () => {
  const lab = benches("newest");

  it("gives owned and lent pages back, whole", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    expect(bench.call("DONATE_GUEST", bench.base + 1, GFN + 1)).toBe(0);
    expect(bench.call("GUEST_SHARE_HOST", GFN + 1)).toBe(0);
    for (const index of [0, 1]) {
      expect(bench.call("RECLAIM_PAGE", handle, GFN + index)).toBe(0);
      expect(bench.record(bench.base + index)).toMatchObject({ host: "OWNED", hyp: "NOPAGE" });
      expect(bench.guest(handle, GFN + index)).toBe("NOPAGE");
    }
  });

  it("refuses what is not mapped (-ENOENT), no guest page (-ERANGE), no guest that owns (-EINVAL)", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    const borrower = bench.on(1).vm();
    bench.expectRefused(ENOENT, "RECLAIM_PAGE", handle, GFN + 1);
    for (const gfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(ERANGE, "RECLAIM_PAGE", handle, gfn);
    for (const other of [0, borrower.handle, 0x1000 + 255, BigInt(handle) + 2n ** 32n])
      bench.expectRefused(EINVAL, "RECLAIM_PAGE", other, GFN);
  });

  it("passes over what was taken by force: 0, and the mark stays", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    expect(bench.call("FORCE_RECLAIM", bench.base)).toBe(0);
    expect(bench.call("RECLAIM_PAGE", handle, GFN)).toBe(0);
    expect(bench.guest(handle, GFN)).toBe("POISON");
  });

  it("refuses a page that the guest has only borrowed: -EPERM", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    bench.forgeGuest(handle, GFN, "SHARED_BORROWED");
    lab.spoil();
    bench.expectRefused(EPERM, "RECLAIM_PAGE", handle, GFN);
  });

  it("the host may only ask for pages of a guest that is ending: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    bench.expectRefused(EINVAL, "RECLAIM_DYING_PAGE", handle, GFN);
    expect(bench.call("VCPU_PUT")).toBe(0);
    expect(bench.call("START_TEARDOWN", handle)).toBe(0);
    expect(bench.call("RECLAIM_DYING_PAGE", handle, GFN)).toBe(0);
    expect(bench.record(bench.base).host).toBe("OWNED");
    const borrower = bench.vm();
    expect(bench.call("START_TEARDOWN", borrower.handle)).toBe(0);
    bench.expectRefused(EINVAL, "RECLAIM_DYING_PAGE", borrower.handle, GFN);
  });
});

describe("P-5.5: what was private is gone before the host sees the page", () => {
  const PAGE = 4096;
  const SECRET = 0x5ec2e7;
  const bank = { pa: 0x8000_0000, size: 2 ** 20 };
  const lab = benches("newest", {}, { guestRam: bank });

  /** A guest's page with something in it. */
  function withSecret(bench: Bench): { vm: VmParts; word: () => number } {
    const vm = withPage(bench);
    const [cpu] = bench.cpus;
    const bytes = () => cpu?.memoryMap.bytes(bench.base * PAGE, PAGE) as Uint8Array;
    const word = (): number => new DataView(bytes().buffer, bytes().byteOffset).getUint32(PAGE - 4);
    new DataView(bytes().buffer, bytes().byteOffset).setUint32(PAGE - 4, SECRET);
    return { vm, word };
  }

  it("taken by force", () => {
    const { word } = withSecret(lab.bench);
    expect(lab.bench.call("FORCE_RECLAIM", lab.bench.base)).toBe(0);
    expect(word()).toBe(0);
  });

  it("reclaimed from a guest that ends", () => {
    const { vm, word } = withSecret(lab.bench);
    expect(lab.bench.call("RECLAIM_PAGE", vm.handle, GFN)).toBe(0);
    expect(word()).toBe(0);
  });

  it("with the guest as a whole", () => {
    const { vm, word } = withSecret(lab.bench);
    expect(lab.bench.call("VCPU_PUT")).toBe(0);
    expect(lab.bench.call("TEARDOWN_VM", vm.handle)).toBe(0);
    expect(word()).toBe(0);
  });

  it("but not what the guest shows to the host, nor while it owns the page", () => {
    const { vm, word } = withSecret(lab.bench);
    expect(word()).toBe(SECRET);
    expect(lab.bench.call("GUEST_SHARE_HOST", GFN)).toBe(0);
    expect(word()).toBe(SECRET);
    expect(lab.bench.call("RECLAIM_PAGE", vm.handle, GFN)).toBe(0);
    expect(word()).toBe(SECRET);
  });
});
