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
});
