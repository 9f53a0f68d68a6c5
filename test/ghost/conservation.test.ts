/** P-5.4: the laws of ownership by themselves, each broken alone. */
import { describe, expect, it } from "vitest";
import { violation } from "./model/conservation.ts";
import { NOPAGE, OWNED, type Page, SHARED_BORROWED, SHARED_OWNED } from "./model/memory.ts";
import type { Leaf } from "./model/vm.ts";

const PFN = 0x80000;
const page = (fields: Partial<Page> = {}): Page => ({
  pfn: PFN,
  host: OWNED,
  hyp: NOPAGE,
  references: 0,
  guests: 0,
  annotation: 0n,
  ...fields,
});
const leaf = (state: number, fields: Partial<Leaf> = {}): Leaf => ({
  gfn: 0,
  pfn: PFN,
  pages: 1,
  prot: 7,
  young: true,
  state,
  ...fields,
});
const wrong = (one: Page, ...leaves: Leaf[]) => violation({ pages: [one], leaves });

describe("P-5.4: what is in order", () => {
  it.each([
    ["the host's", page(), []],
    ["lent to the hypervisor", page({ host: SHARED_OWNED, hyp: SHARED_BORROWED }), []],
    ["the same, pinned", page({ host: SHARED_OWNED, hyp: SHARED_BORROWED, references: 2 }), []],
    ["lent to the secure world, which borrows without a record", page({ host: SHARED_OWNED }), []],
    ["the hypervisor's", page({ host: NOPAGE, hyp: OWNED }), []],
    [
      "lent to a guest twice",
      page({ host: SHARED_OWNED, guests: 2 }),
      [leaf(SHARED_BORROWED), leaf(SHARED_BORROWED)],
    ],
    ["a guest's", page({ host: NOPAGE }), [leaf(OWNED)]],
    ["a guest's, lent to the host", page({ host: SHARED_BORROWED }), [leaf(SHARED_OWNED)]],
  ])("%s", (_, one, leaves) => expect(wrong(one, ...leaves)).toBeUndefined());
});

describe("P-5.4: what is not", () => {
  it.each([
    ["no owner", page({ host: NOPAGE }), [], "0 owners"],
    ["host and hypervisor own it", page({ hyp: OWNED }), [], "2 owners"],
    ["host and guest own it", page(), [leaf(OWNED)], "2 owners"],
    ["two guests own it", page({ host: NOPAGE }), [leaf(OWNED), leaf(OWNED)], "2 owners"],
    ["the hypervisor borrows what is not lent", page({ hyp: SHARED_BORROWED }), [], "not lent"],
    ["a guest borrows what is not lent", page(), [leaf(SHARED_BORROWED)], "not lent"],
    [
      "a leaf that is not counted",
      page({ host: SHARED_OWNED, guests: 1 }),
      [leaf(SHARED_BORROWED), leaf(SHARED_BORROWED)],
      "counted as 1",
    ],
    ["a count without a leaf", page({ host: SHARED_OWNED, guests: 1 }), [], "counted as 1"],
    [
      "lent to both",
      page({ host: SHARED_OWNED, hyp: SHARED_BORROWED, guests: 1 }),
      [leaf(SHARED_BORROWED)],
      "to guests",
    ],
    [
      "the host borrows what no guest lends",
      page({ host: SHARED_BORROWED, hyp: OWNED }),
      [],
      "differ",
    ],
    [
      "a guest lends what the host has no access to",
      page({ host: NOPAGE }),
      [leaf(SHARED_OWNED)],
      "differ",
    ],
    ["references of a hypervisor without access", page({ references: 1 }), [], "no access"],
    [
      "a block that goes beyond memory",
      page({ host: SHARED_OWNED, guests: 1 }),
      [leaf(SHARED_BORROWED, { pages: 2 })],
      "no memory",
    ],
  ])("%s", (_, one, leaves, text) => expect(wrong(one, ...leaves)).toContain(text));
});
