/** PkvmStage2 at the edges: ranges beyond its input space, and what a protected guest may do with its memory. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { BLOCK_PFN, PAGE, beds, snapshot } from "../support.ts";

const IPA = 0x4000_0000;
const RAM2_BLOCK = BLOCK_PFN * PAGE;

describe.each(MODES)("PkvmStage2 at its edges (%s)", (mode) => {
  const bed = beds({}, mode);

  it("leaves a range beyond its input space alone, where it is not one page's operation", () => {
    const b = bed();
    const s2 = b.keep(b.pkvm.stage2());
    const beyond = { ipa: 2 ** 40, size: PAGE };
    const before = snapshot(b.pkvm);
    expect(s2.testClearYoung(beyond)).toBe(false);
    for (const operation of ["unmap", "wrprotect", "flush", "tlbFlushRange"] as const) {
      s2[operation](beyond);
    }
    expect([...s2.mappings(beyond)]).toEqual([]);
    const request = { ...beyond, pa: RAM2_BLOCK, prot: Prot.RW };
    expect(errorOf(() => s2.map(request)).code).toBe("ERANGE");
    expect(errorOf(() => s2.relaxPerms({ ipa: 2 ** 40, prot: Prot.R })).code).toBe("ERANGE");
    expect(errorOf(() => s2.mkyoung(2 ** 40)).code).toBe("ERANGE");
    expect(snapshot(b.pkvm)).toMatchObject({ pages: (before as { pages: unknown }).pages });
  });
});

describe("a protected PkvmStage2", () => {
  const bed = beds({ generation: "newest" });

  it("may do all with its memory, whatever it is mapped with", () => {
    const b = bed();
    const s2 = b.keep(b.pkvm.stage2({ protectedGuest: true }));
    const pa = b.page() * PAGE;
    expect(s2.map({ ipa: IPA, size: PAGE, pa, prot: Prot.R })).toBe("ok");
    expect([...s2.leaves()].map(({ prot }) => prot & Prot.RWX)).toEqual([Prot.RWX]);
    expect(b.pkvm.hostStage2.vmid).toBe(0);
  });

  it("is neither write-protected nor aged", () => {
    const b = bed();
    const s2 = b.keep(b.pkvm.stage2({ protectedGuest: true }));
    const range = { ipa: IPA, size: PAGE };
    s2.map({ ...range, pa: b.page() * PAGE, prot: Prot.RWX });
    const [before] = [...s2.leaves()];
    const refused = [
      () => s2.wrprotect(range),
      () => s2.relaxPerms({ ipa: IPA, prot: Prot.R }),
      () => s2.mkyoung(IPA),
    ].map((operation) => errorOf(operation).code);
    expect(refused).toEqual(["EINVAL", "EINVAL", "EINVAL"]);
    expect(s2.warnings).toBeGreaterThanOrEqual(1);
    expect(s2.testClearYoung(range)).toBe(false);
    expect([...s2.leaves()]).toEqual([before]);
  });

  it("keeps the note of a page that was taken back by force, until it is unmapped", () => {
    const b = bed();
    const s2 = b.keep(b.pkvm.stage2({ protectedGuest: true }));
    const pfn = b.page();
    s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RWX });
    expect(b.call("forceReclaim", pfn)).toBe(0);
    expect([...s2.leaves()]).toEqual([]);
    expect([...s2.mappings()]).toEqual([{ ipa: IPA, pa: pfn * PAGE, size: PAGE }]);
    s2.unmap({ ipa: IPA, size: PAGE });
    expect([...s2.mappings()]).toEqual([]);
  });
});
