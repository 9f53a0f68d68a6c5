/** Rows P-10.1 to P-10.4: what the host's side owes to those beside it, as far as one thread can see. The races are explored by litmus. */
import { describe, expect, it } from "vitest";
import { Access, Fault, Prot } from "../../../src/index.ts";
import { errorOf } from "../../support.ts";
import { BLOCK_PFN, PAGE, beds, state } from "../support.ts";
import {
  ALL,
  GENERATIONS,
  IPA,
  block,
  forgeLeaves,
  guestOf,
  page,
  pagesOf,
  records,
} from "./support.ts";

describe("EPERM of share_guest (seed)", () => {
  const bed = beds({ generation: "seed" });

  it("P-10.1: has two causes that are told alike: again; how often in a row on one gfn is counted", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const [shared, lost] = [b.page(), b.page()];
    b.call("donateHyp", lost, 1);
    step(() => s2.map(page(0, shared)));
    for (let i = 0; i < 3; i++) expect(step(() => s2.map(page(0, shared)))).toBe("again"); // a race
    for (let i = 0; i < 5; i++) expect(step(() => s2.map(page(1, lost)))).toBe("again"); // for ever
    expect(s2.statistics).toMatchObject({ refusals: 8, refusalsInARow: 5, warnings: 0 });
    step(() => s2.map(page(0, shared))); // another gfn ends the row
    step(() => s2.map(page(1, lost)));
    expect(s2.statistics).toMatchObject({ refusals: 10, refusalsInARow: 5 });
  });

  it("P-10.1: a guest that faults for ever is found by a limit; what succeeds begins anew", () => {
    const b = bed();
    const { s2, step } = guestOf(b, { retryLimit: 4 });
    const pfn = b.page();
    const faults = (): string[] =>
      Array.from({ length: 6 }, () => {
        try {
          return step(() => s2.map(page(0, pfn)));
        } catch (error) {
          return (error as { code: string }).code;
        }
      });
    b.call("donateHyp", pfn, 1);
    expect(faults()).toEqual(["again", "again", "again", "again", "EPERM", "EPERM"]);
    expect(s2.statistics).toMatchObject({ refusals: 6, refusalsInARow: 6 });
    b.call("hypDonateHost", pfn, 1);
    expect(step(() => s2.map(page(0, pfn)))).toBe("ok");
    step(() => s2.unmap(ALL));
    b.call("donateHyp", pfn, 1);
    expect(faults().indexOf("EPERM")).toBe(4);
    expect(b.call("hypDonateHost", pfn, 1)).toBe(0);
  });
});

describe("EPERM of share_guest", () => {
  const bed = beds();

  it("P-10.1: is told apart: a record is a race, anything else is an error at once", () => {
    const b = bed();
    const { s2, step } = guestOf(b, { retryLimit: 4 });
    const [shared, lost] = [b.page(), b.page()];
    b.call("donateHyp", lost, 1);
    step(() => s2.map(page(0, shared)));
    for (let i = 0; i < 9; i++) expect(step(() => s2.map(page(0, shared)))).toBe("again");
    expect(errorOf(() => step(() => s2.map(page(1, lost)))).code).toBe("EPERM");
    expect(s2.statistics).toMatchObject({ refusals: 0, refusalsInARow: 0 });
  });
});

describe.each(GENERATIONS)("beside an unmap (%s)", (generation) => {
  const bed = beds({ generation });

  it("P-10.2: relax_perms and mkyoung of what is gone: the guest faults again, nothing gets a permission", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const vcpu = b.keep(b.engine.vcpu(s2));
    const [old, next] = [b.page(), b.page()];
    step(() => s2.map(page(0, old, Prot.R)));
    step(() => s2.map(page(1, next, Prot.R)));
    step(() => s2.unmap({ ipa: IPA, size: PAGE }));
    expect(step(() => s2.relaxPerms({ ipa: IPA, prot: Prot.W }))).toBe("again");
    expect(step(() => s2.mkyoung(IPA))).toBe(false);
    expect([pagesOf(s2), s2.warnings]).toEqual([[1], 0]);
    expect(vcpu.translate(IPA, Access.Read)).toBeInstanceOf(Fault);
    expect(vcpu.translate(IPA + PAGE, Access.Write)).toBeInstanceOf(Fault);
    expect(vcpu.translate(IPA + PAGE, Access.Read)).toBe(next * PAGE);
  });

  it("P-10.3: hypercall and record go together: after each call, also one that fails half way, both sides agree", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfns = Array.from({ length: 6 }, () => b.page());
    pfns.forEach((pfn, at) => step(() => s2.map(page(at, pfn))));
    for (const bad of [4, 2, 0]) {
      const pfn = pfns[bad] as number;
      const other = b.page();
      forgeLeaves(b, pfn, 0);
      expect(errorOf(() => s2.unmap({ ipa: IPA + bad * PAGE, size: 2 * PAGE })).code).toBe(
        "EINVAL",
      );
      forgeLeaves(b, pfn, 1);
      step(() => s2.unmap({ ipa: IPA + (bad + 1) * PAGE, size: PAGE }));
      step(() => s2.map(page(bad + 1, other)));
    }
    expect(pagesOf(s2)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it("P-10.4: a record goes only when its page was unshared", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfn = b.page();
    step(() => s2.map(page(0, pfn)));
    forgeLeaves(b, pfn, 0);
    for (let i = 0; i < 3; i++) expect(errorOf(() => s2.unmap(ALL)).code).toBe("EINVAL");
    expect(records(s2)).toEqual([[IPA / PAGE, pfn, 1]]);
    expect([...s2.leaves()]).toHaveLength(1);
    forgeLeaves(b, pfn, 1);
    step(() => s2.unmap(ALL));
    expect(pagesOf(s2)).toEqual([]);
    expect(state(b.pkvm, pfn).host).toBe("OWNED");
  });
});

describe.each(["default", "newest"] as const)("beside an unmap of a block (%s)", (generation) => {
  const bed = beds({ generation });

  it("P-10.4: the same of a block, all of whose pages stay", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    step(() => s2.map(block(0, BLOCK_PFN)));
    forgeLeaves(b, BLOCK_PFN + 300, 0);
    expect(errorOf(() => s2.unmap({ ipa: IPA, size: PAGE })).code).toBe("EINVAL");
    forgeLeaves(b, BLOCK_PFN + 300, 1);
    step(() => expect(pagesOf(s2)).toEqual([0]));
    expect(state(b.pkvm, BLOCK_PFN + 299).guestMappings).toBe(1);
  });
});
