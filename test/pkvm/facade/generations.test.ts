/** What the generations of pKVM make of a guest's stage 2. */
import { describe, expect, it } from "vitest";
import { type PkvmStage2, type PkvmStage2Options, Prot } from "../../../src/index.ts";
import { errorOf } from "../../support.ts";
import { BLOCK, BLOCK_PFN, type Bed, PAGE, beds, state } from "../support.ts";

const IPA = 0x4000_0000;
const BLOCK_BYTES = BLOCK * PAGE;
const RAM2_BLOCK = BLOCK_PFN * PAGE;

function guest(bed: Bed, options: PkvmStage2Options = {}): PkvmStage2 {
  return bed.keep(bed.pkvm.stage2(options));
}

describe("PkvmStage2 of the seed", () => {
  const bed = beds({ generation: "seed" });

  it("P-2.20: maps pages alone", () => {
    const s2 = guest(bed());
    const block = { ipa: IPA, size: BLOCK_BYTES, pa: RAM2_BLOCK, prot: Prot.RW };
    expect(errorOf(() => s2.map(block)).code).toBe("EINVAL");
  });

  it("P-2.22, P-10.1: says again for ever of a page that is not the host's, or up to a limit", () => {
    const b = bed();
    const pfn = b.page();
    b.call("donateHyp", pfn, 1);
    const request = { ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW };
    const patient = guest(b);
    for (let i = 0; i < 100; i++) expect(patient.map(request)).toBe("again");
    expect(patient.statistics).toMatchObject({ refusals: 100, refusalsInARow: 100 });
    const limited = guest(b, { retryLimit: 3 });
    for (let i = 0; i < 3; i++) expect(limited.map(request)).toBe("again");
    expect(errorOf(() => limited.map(request)).code).toBe("EPERM");
  });
});

describe("a protected guest", () => {
  const bed = beds({ generation: "newest" });

  it("is given pages that the host loses", () => {
    const b = bed();
    const s2 = guest(b, { protectedGuest: true });
    const pfn = b.page();
    expect(s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RWX })).toBe("ok");
    expect(state(b.pkvm, pfn)).toMatchObject({ host: "NOPAGE", owner: "guest" });
    expect([...b.pkvm.ranges({ pa: pfn * PAGE, size: PAGE })][0]).toMatchObject({
      handle: s2.vmHandle,
      gfn: IPA / PAGE,
    });
    s2.dispose();
    expect(state(b.pkvm, pfn).host).toBe("OWNED");
  });
});
