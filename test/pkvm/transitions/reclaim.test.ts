/** Pages that guests own and that go back to the host: by force, or as the guest ends; and nothing private with them. */
import { describe, expect, it } from "vitest";
import { type Bench, type VmParts, benches } from "../../ghost/bench.ts";
import { EAGAIN, EFAULT, EINVAL, ENOENT, EPERM, ERANGE } from "../../ghost/model/words.ts";
import { GFN, withPage } from "./page.ts";

const GUEST_PAGES = 2 ** 28;
const HUGE = [2n ** 52n, 2n ** 52n + 5n, 2n ** 64n - 1n];

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
