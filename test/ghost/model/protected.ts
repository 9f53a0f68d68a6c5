/** Protected guests: the host gives them pages for good, and gets them back as the guest allows, or by force. */
import { OWNER } from "../../../src/pkvm/_abi.ts";
import { giveBack } from "./host_hyp.ts";
import { NOPAGE, OWNED, type Page, SHARED_BORROWED, SHARED_OWNED } from "./memory.ts";
import { refill } from "./refill.ts";
import type { Call, Kind, Rule, State } from "./state.ts";
import type { Leaf, Vm } from "./vm.ts";
import {
  E2BIG,
  EAGAIN,
  EFAULT,
  EHWPOISON,
  EINVAL,
  ENOENT,
  ENOMEM,
  EPERM,
  below,
  word,
} from "./words.ts";

const RWX = 7;

/** The guest's side is looked at before the host's; that the page is memory is part of the latter (P-4.2). */
const donateTo =
  (kind: Kind): Rule =>
  (state, { cpu, args, memcache }) => {
    const pfn = word(args, 0);
    const loaded = state.loadedOn(cpu, kind);
    if (loaded === undefined) return -EINVAL;
    const refused = refill(state, loaded, memcache);
    if (refused !== 0) return refused;
    if (pfn >= BigInt(state.memory.frames)) return -EINVAL;
    const gfn = state.guestPages(word(args, 1), 1n);
    if (gfn < 0) return gfn;
    const { vm, vcpu } = loaded;
    const page = state.memory.page(Number(pfn));
    if (!vm.isFree(gfn, 1) || page?.host !== OWNED) return -EPERM;
    if (vcpu.memcache < state.geometry.levels - 1) return -ENOMEM;
    state.memory.change(page, { host: NOPAGE, annotation: vm.annotation(gfn) });
    vm.put({ gfn, pfn: page.pfn, pages: 1, prot: RWX, young: true, state: OWNED }, vcpu);
    return 0;
  };

export const donateGuest = donateTo("protected");
export const donateGuestPage = donateTo("either");

/** What a guest says of a page of its own: the leaf behind it, or -errno. */
function ownLeaf(vm: Vm, gfn: number): Leaf | number {
  if (vm.poison.has(gfn)) return -EHWPOISON;
  const leaf = vm.leafAt(gfn);
  if (leaf === undefined) return -ENOENT;
  return leaf.pages === 1 ? leaf : -E2BIG;
}

const pageOf = (state: State, { pfn }: Leaf): Page => {
  const page = state.memory.page(pfn);
  if (page === undefined) throw new Error(`a guest maps ${pfn}, which is no memory`);
  return page;
};

/** A guest lends a page to the host, or takes it back: both sides must be as they are before. */
const between =
  (
    from: readonly [guest: number, host: number],
    to: readonly [guest: number, host: number],
  ): Rule =>
  (state, { cpu, args }) => {
    const loaded = state.loadedOn(cpu, "protected");
    if (loaded === undefined) return -EINVAL;
    const gfn = state.guestPages(word(args, 0), 1n);
    if (gfn < 0) return gfn;
    const leaf = ownLeaf(loaded.vm, gfn);
    if (typeof leaf === "number") return leaf;
    const page = pageOf(state, leaf);
    if (leaf.state !== from[0] || page.host !== from[1]) return -EPERM;
    leaf.state = to[0];
    const annotation = to[1] === NOPAGE ? loaded.vm.annotation(gfn) : 0n;
    state.memory.change(page, { host: to[1], annotation });
    return 0;
  };

export const guestShareHost = between([OWNED, NOPAGE], [SHARED_OWNED, SHARED_BORROWED]);
export const guestUnshareHost = between([SHARED_OWNED, SHARED_BORROWED], [OWNED, NOPAGE]);

/** By physical page: the guest that has it learns of it when it looks (P-5.5). */
export const forceReclaim: Rule = (state, { args }) => {
  const pfn = below(word(args, 0), state.memory.frames);
  if (pfn === undefined) return -EINVAL;
  const region = state.memory.regionAt(pfn);
  if (region === undefined) return -EFAULT;
  const page = state.memory.page(pfn);
  if (page === undefined) return -EPERM;
  if (page.host !== NOPAGE) return -EAGAIN;
  if (((page.annotation >> 2n) & 0xffn) !== BigInt(OWNER.GUEST)) return -EPERM;
  for (const vm of state.vms.values())
    for (const leaf of vm.leaves.values()) {
      if (leaf.pfn !== pfn) continue;
      if (leaf.state !== OWNED) return -EPERM;
      vm.poisonAt(leaf);
      giveBack(state, page);
      return 0;
    }
  return -EAGAIN;
};

/** A page of a guest that ends. */
function reclaim(state: State, vm: Vm, gfnWord: bigint): number {
  const gfn = state.guestPages(gfnWord, 1n);
  if (gfn < 0) return gfn;
  if (vm.poison.has(gfn)) return 0;
  const leaf = vm.leafAt(gfn);
  if (leaf === undefined) return -ENOENT;
  if (leaf.pages !== 1) return -E2BIG; // as for what a guest says of its pages: it owns no blocks
  if (leaf.state !== OWNED && leaf.state !== SHARED_OWNED) return -EPERM;
  reclaimLeaf(state, vm, leaf);
  return 0;
}

export function reclaimLeaf(state: State, vm: Vm, leaf: Leaf): void {
  giveBack(state, pageOf(state, leaf));
  vm.remove(leaf);
}

const reclaimOf =
  (isAllowed: (vm: Vm) => boolean): Rule =>
  (state: State, { args }: Call) => {
    const vm = state.vm(word(args, 0));
    return vm !== undefined && isAllowed(vm) ? reclaim(state, vm, word(args, 1)) : -EINVAL;
  };

export const reclaimPage = reclaimOf((vm) => vm.isProtected);
export const reclaimDyingPage = reclaimOf((vm) => vm.isProtected && vm.isDying);
