/** Row M-11.7: pages that the host shares with a protected hypervisor are counted. */
import { describe, expect, it } from "vitest";
import { type Hypercall, Prot } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { LINEAR, PAGE, TOP_BIT, VMALLOC, hypLab, mapped } from "./hyp_support.ts";

/** Address of a page of the linear map, by its frame number. */
const at = (pfn: number): bigint => LINEAR + BigInt(pfn * PAGE);

describe.each(MODES)("pages shared with the hypervisor (%s)", (mode) => {
  const here = hypLab(mode);
  const calls: string[] = [];

  /** Mappings that pKVM owns; what it is asked goes to `calls`. */
  const owned = (answer: Hypercall = () => 0, options: object = {}) => {
    calls.length = 0;
    const hypercall: Hypercall = (call, pfn) => {
      calls.push(`${call} ${pfn}`);
      return answer(call, pfn);
    };
    const hyp = here.make({ protected: true, hypercall, ...options });
    hyp.handOver();
    return hyp;
  };
  const asked = () => calls.splice(0);

  it("M-11.7: a hypercall on the first share of a page and the last unshare, none between", () => {
    const hyp = owned();
    hyp.share(at(5), at(7));
    expect(asked()).toEqual(["share 5", "share 6"]);
    hyp.share(at(6) + 8n, at(6) + 16n); // bytes of a page are the page
    hyp.share(at(6), at(8));
    expect(asked()).toEqual(["share 7"]);
    expect([5, 6, 7, 8].map((pfn) => hyp.shareCount(pfn))).toEqual([1, 3, 1, 0]);
    hyp.unshare(at(5), at(8));
    expect(asked()).toEqual(["unshare 5", "unshare 7"]);
    hyp.unshare(at(6), at(7));
    expect(asked()).toEqual([]);
    hyp.unshare(at(6), at(6) + 1n);
    expect(asked()).toEqual(["unshare 6"]);
    expect(hyp.sharedPages).toBe(0);
    hyp.share(at(6), at(7));
    expect(asked()).toEqual(["share 6"]);
    expect(mapped(hyp)).toEqual([]); // the table is the hypervisor's
  });

  it("M-11.7: frame numbers are physical, in pages of the table", () => {
    const linear = { va: LINEAR, pa: 0x8000_0000, size: 0x1000_0000 };
    const hyp = owned(() => 0, { granule: "64K", linear });
    hyp.share(LINEAR + 0xffffn, LINEAR + 0x1_0001n);
    expect(asked()).toEqual(["share 32768", "share 32769"]);
  });

  it("M-11.7: unshare of a page that is not shared is ENOENT, and changes nothing", () => {
    const hyp = owned();
    expect(errorOf(() => hyp.unshare(at(5), at(6)))).toMatchObject({ code: "ENOENT", errno: 2 });
    hyp.share(at(5), at(7));
    asked();
    const error = errorOf(() => hyp.unshare(at(5), at(8)));
    expect(error).toMatchObject({ code: "ENOENT", details: { pfn: 7 } });
    expect(asked()).toEqual([]);
    expect([5, 6, 7].map((pfn) => hyp.shareCount(pfn))).toEqual([1, 1, 0]);
    hyp.unshare(at(5), at(7));
    expect(errorOf(() => hyp.unshare(at(5), at(6))).code).toBe("ENOENT");
  });

  it("M-11.7: vmalloc addresses are EINVAL, at either end, and so is what lies outside of the linear map", () => {
    const linear = { va: LINEAR, pa: 0, size: 0x10_0000 };
    const hyp = owned(() => 0, { linear, vmalloc: () => 0x5000 });
    const full = owned();
    for (const call of ["share", "unshare"] as const) {
      const code = (from: bigint, to: bigint) => errorOf(() => hyp[call](from, to)).code;
      expect(code(VMALLOC, VMALLOC + 1n)).toBe("EINVAL");
      expect(code(VMALLOC + 0x5000n, VMALLOC + 0x9000n)).toBe("EINVAL");
      expect(code(2n ** 64n - 1n, 2n ** 64n)).toBe("EINVAL");
      expect(errorOf(() => full[call](VMALLOC - 1n, VMALLOC + 1n)).code).toBe("EINVAL");
      expect(code(at(0xff), at(0x101))).toBe("EINVAL");
      expect(code(at(1), at(1))).toBe("BAD_SIZE");
      expect(code(5n, 6n)).toBe("BAD_ADDRESS");
    }
    expect(asked()).toEqual([]);
    full.share(VMALLOC - 1n, VMALLOC); // the last page of the linear map
    expect(asked()).toEqual([`share ${TOP_BIT / PAGE - 1}`]);
  });

  it("M-11.7: a share that the hypervisor refuses is not counted; those before it are", () => {
    let refuse = true;
    const hyp = owned((_, pfn) => (refuse && pfn === 6 ? -1 : 0));
    expect(errorOf(() => hyp.share(at(5), at(8)))).toMatchObject({ code: "EPERM", errno: 1 });
    expect(asked()).toEqual(["share 5", "share 6"]);
    expect([5, 6, 7].map((pfn) => hyp.shareCount(pfn))).toEqual([1, 0, 0]);
    refuse = false;
    hyp.share(at(6), at(8));
    refuse = true;
    asked();
    expect(errorOf(() => hyp.unshare(at(5), at(8))).code).toBe("EPERM");
    expect(asked()).toEqual(["unshare 5", "unshare 6"]);
    expect([5, 6, 7].map((pfn) => hyp.shareCount(pfn))).toEqual([0, 1, 1]);
  });

  it.each([1, -4000, Number.NaN, undefined, "0"])(
    "M-11.7: an answer that is no errno is refused: %s",
    (answer) => {
      const hyp = owned(() => answer as number);
      expect(errorOf(() => hyp.share(at(5), at(6))).code).toBe("BAD_OPTION");
      expect(hyp.sharedPages).toBe(0);
    },
  );

  it("M-11.7: a hypercall that throws leaves the counts, one that shares itself is EDEADLK", () => {
    let nested: string | undefined;
    const hyp = owned(() => {
      nested = errorOf(() => hyp.share(at(9), at(10))).code;
      throw new RangeError("from the hypervisor");
    });
    expect(() => hyp.share(at(5), at(6))).toThrow(RangeError);
    expect(nested).toBe("EDEADLK");
    expect(hyp.sharedPages).toBe(0);
    expect(() => hyp.share(at(5), at(6))).toThrow(RangeError); // not EDEADLK: it is over
  });

  it("M-11.7: while the host owns the tables it maps what it shares, RW, and counts nothing", () => {
    const hyp = here.make();
    hyp.share(at(5), at(7));
    hyp.share(at(6), at(7));
    expect(mapped(hyp)).toEqual([
      { va: TOP_BIT + 5 * PAGE, size: PAGE, pa: 5 * PAGE, prot: Prot.RW },
      { va: TOP_BIT + 6 * PAGE, size: PAGE, pa: 6 * PAGE, prot: Prot.RW },
    ]);
    expect(hyp.sharedPages).toBe(0);
    hyp.unshare(at(5), at(9)); // nothing: the mappings stay
    expect(mapped(hyp)).toHaveLength(2);
    expect(errorOf(() => hyp.share(VMALLOC, VMALLOC + 1n)).code).toBe("EINVAL");
  });

  it("M-11.7: with VHE nothing happens", () => {
    const hyp = here.make({ vhe: true });
    hyp.share(at(5), at(7));
    hyp.unshare(at(5), at(7));
    expect([hyp.sharedPages, here.engine.memoryUsage().used]).toEqual([0, 0]);
  });
});
