/** What must hold in every state, whatever the calls were (P-5.4, P-2.4): found from the state alone, without the rules. */
import { NOPAGE, OWNED, type Page, SHARED_BORROWED, SHARED_OWNED } from "./memory.ts";
import type { Leaf } from "./vm.ts";

/** What was read of a machine, or what a model holds. */
export interface Holdings {
  readonly pages: Iterable<Page>;
  /** Of all guests. */
  readonly leaves: Iterable<Leaf>;
}

const owns = (state: number): boolean => state === OWNED || state === SHARED_OWNED;

/** Guest leaves over each page, by what they are. */
function leavesByPage(leaves: Iterable<Leaf>): Map<number, Leaf[]> {
  const found = new Map<number, Leaf[]>();
  for (const leaf of leaves)
    for (let pfn = leaf.pfn; pfn < leaf.pfn + leaf.pages; pfn++) {
      const here = found.get(pfn);
      if (here === undefined) found.set(pfn, [leaf]);
      else here.push(leaf);
    }
  return found;
}

/** The first thing that does not hold, in words. */
export function violation({ pages, leaves }: Holdings): string | undefined {
  const mapped = leavesByPage(leaves);
  for (const page of pages) {
    const wrong = wrongWith(page, mapped.get(page.pfn) ?? []);
    if (wrong !== undefined) return `page 0x${page.pfn.toString(16)}: ${wrong}`;
    mapped.delete(page.pfn);
  }
  for (const pfn of mapped.keys()) return `a guest maps 0x${pfn.toString(16)}, which is no memory`;
  return undefined;
}

function wrongWith(
  { host, hyp, guests, references }: Page,
  leaves: readonly Leaf[],
): string | undefined {
  const guestOwners = leaves.filter(({ state }) => owns(state)).length;
  const owners = Number(owns(host)) + Number(owns(hyp)) + guestOwners;
  if (owners !== 1) return `${owners} owners`;
  const borrowers = leaves.filter(({ state }) => state === SHARED_BORROWED).length;
  const lent = host === SHARED_OWNED;
  if ((hyp === SHARED_BORROWED || borrowers > 0) && !lent) return "borrowed, and not lent";
  if (lent && guests !== borrowers) return `${borrowers} leaves are counted as ${guests}`;
  if (hyp === SHARED_BORROWED && borrowers > 0) return "lent to the hypervisor and to guests";
  const lentByGuest = leaves.some(({ state }) => state === SHARED_OWNED);
  if ((host === SHARED_BORROWED) !== lentByGuest) return "guest and host differ on what is lent";
  if (references > 0 && hyp === NOPAGE) return "in use by a hypervisor that has no access";
  return undefined;
}
