/** Guests that are not protected: the host lends them pages, as often as it likes (P-5.2). */
import { NOPAGE, OWNED, type Page, SHARED_BORROWED, SHARED_OWNED } from "./memory.ts";
import { refill } from "./refill.ts";
import type { Kind, Rule, State } from "./state.ts";
import type { Leaf, Vm } from "./vm.ts";
import { E2BIG, EAGAIN, EBUSY, EINVAL, ENOENT, ENOMEM, EPERM, word } from "./words.ts";

const RIGHTS = 7n;
const W = 2;
const MOST_GUESTS = 2 ** 32 - 1;

/** Nobody has it but guests. */
const isLendable = ({ host, hyp, guests }: Page): boolean =>
  host === OWNED || (host === SHARED_OWNED && hyp === NOPAGE && guests > 0);

const shareWith =
  (kind: Kind): Rule =>
  (state, { cpu, args, memcache }) => {
    const [pfn, gfn, count, prot] = [word(args, 0), word(args, 1), word(args, 2), word(args, 3)];
    const loaded = state.loadedOn(cpu, kind);
    if (loaded === undefined) return -EINVAL;
    const refused =
      refill(state, loaded, memcache) ||
      ((prot & ~RIGHTS) === 0n ? 0 : -EINVAL) ||
      (pfn + count > BigInt(state.memory.frames) ? -EINVAL : state.checkSize(count, pfn, gfn));
    if (refused !== 0) return refused;
    const pages = state.memory.range(pfn, count);
    if (typeof pages === "number") return pages;
    const first = state.guestPages(gfn, count);
    if (first < 0) return first;
    const { vm, vcpu } = loaded;
    if (!vm.isFree(first, pages.length) || !pages.every(isLendable)) return -EPERM;
    if (pages.some(({ host, guests }) => host === SHARED_OWNED && guests === MOST_GUESTS))
      return -EBUSY;
    if (vm.missingTables(first, pages.length) > vm.spare + vcpu.memcache) return -ENOMEM;
    for (const page of pages)
      state.memory.change(page, {
        host: SHARED_OWNED,
        guests: page.host === OWNED ? 1 : page.guests + 1,
      });
    const place = { gfn: first, pfn: Number(pfn), pages: pages.length };
    vm.put({ ...place, prot: Number(prot), young: true, state: SHARED_BORROWED }, vcpu);
    return 0;
  };

export const shareGuest = shareWith("not protected");
export const shareGuestPage = shareWith("either");

const unshareFrom =
  (kind: Kind): Rule =>
  (state, { args }) => {
    const found = rangeOf(state, args, kind);
    if (typeof found === "number") return found;
    const { vm, gfn, count } = found;
    const leaf = vm.leafAt(gfn);
    if (leaf === undefined) return -ENOENT;
    if (leaf.pages !== count) return -E2BIG;
    const pages = pagesOf(state, leaf);
    if (leaf.state !== SHARED_BORROWED) return -EPERM;
    if (pages.some(({ host }) => host !== SHARED_OWNED)) return -EPERM;
    if (pages.some(({ guests }) => guests === 0)) return -EINVAL;
    unshareLeaf(state, vm, leaf);
    return 0;
  };

export const unshareGuest = unshareFrom("not protected");
export const unshareGuestPage = unshareFrom("either");

/** One leaf less; pages that no guest maps any more are the host's alone. */
export function unshareLeaf(state: State, vm: Vm, leaf: Leaf): void {
  for (const page of pagesOf(state, leaf)) {
    const guests = page.guests - 1;
    state.memory.change(page, { guests, host: guests === 0 ? OWNED : SHARED_OWNED });
  }
  vm.remove(leaf);
}

/** The VM and the pages of a call by handle, gfn and count. */
function rangeOf(
  state: State,
  args: readonly bigint[],
  kind: Kind = "not protected",
): { vm: Vm; gfn: number; count: number } | number {
  const [gfn, count] = [word(args, 1), word(args, 2)];
  const vm = state.vmOf(kind, word(args, 0));
  if (vm === undefined) return -EINVAL;
  const refused = state.checkSize(count, gfn);
  if (refused !== 0) return refused;
  const first = state.guestPages(gfn, count);
  return first < 0 ? first : { vm, gfn: first, count: Number(count) };
}

function pagesOf(state: State, leaf: Leaf): Page[] {
  return Array.from({ length: leaf.pages }, (_, index) => {
    const page = state.memory.page(leaf.pfn + index);
    if (page === undefined) throw new Error(`a guest maps ${leaf.pfn + index}, which is no memory`);
    return page;
  });
}

/** Leaves change as a whole, also where the range meets them in part; holes are passed over (P-5.1). */
export const wrprotectGuest: Rule = (state, { args }) => {
  const found = rangeOf(state, args);
  if (typeof found === "number") return found;
  for (const leaf of found.vm.leavesIn(found.gfn, found.count)) leaf.prot &= ~W;
  return 0;
};

export const testClearYoungGuest: Rule = (state, { args }) => {
  const found = rangeOf(state, args);
  if (typeof found === "number") return found;
  const leaves = found.vm.leavesIn(found.gfn, found.count);
  const young = leaves.some((leaf) => leaf.young);
  if (word(args, 3) !== 0n) for (const leaf of leaves) leaf.young = false;
  return young ? 1 : 0;
};

export const relaxPermsGuest: Rule = (state, { cpu, args }) => {
  const loaded = state.loadedOn(cpu, "not protected");
  if (loaded === undefined) return -EINVAL;
  if ((word(args, 1) & ~RIGHTS) !== 0n) return -EINVAL;
  const gfn = state.guestPages(word(args, 0), 1n);
  if (gfn < 0) return gfn;
  const leaf = loaded.vm.leafAt(gfn);
  if (leaf === undefined) return -EAGAIN;
  leaf.prot |= Number(word(args, 1));
  return 0;
};

export const mkyoungGuest: Rule = (state, { cpu, args }) => {
  const loaded = state.loadedOn(cpu, "not protected");
  if (loaded === undefined) return -EINVAL;
  const gfn = state.guestPages(word(args, 0), 1n);
  if (gfn < 0) return gfn;
  const leaf = loaded.vm.leafAt(gfn);
  if (leaf !== undefined) leaf.young = true;
  return 0;
};

/** Nothing that could be seen from here; for whom it is not, nothing at all. */
export const tlbFlushVmid: Rule = () => 0;
