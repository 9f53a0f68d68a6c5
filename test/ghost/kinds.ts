/** What random calls are like: how often each comes, which guests it needs, which pages it can work on. */
import { NOPAGE, OWNED, type Page, SHARED_BORROWED, SHARED_OWNED } from "./model/memory.ts";
import type { CallName } from "./model/model.ts";

/** How often a call comes, among all: those that make and end what others need come by plan as well. */
const WEIGHTS: Readonly<Record<CallName, number>> = {
  SHARE_HYP: 6,
  UNSHARE_HYP: 6,
  SHARE_GUEST: 22,
  UNSHARE_GUEST: 14,
  RELAX_PERMS_GUEST: 3,
  WRPROTECT_GUEST: 3,
  TEST_CLEAR_YOUNG_GUEST: 4,
  MKYOUNG_GUEST: 3,
  TLB_FLUSH_VMID: 1,
  PROT_FINALIZE: 1,
  RESERVE_VM: 1,
  UNRESERVE_VM: 1,
  INIT_VM: 1,
  INIT_VCPU: 2,
  VCPU_LOAD: 5,
  VCPU_PUT: 2,
  TEARDOWN_VM: 1,
  START_TEARDOWN: 1,
  RECLAIM_DYING_PAGE: 2,
  DONATE_GUEST: 14,
  FORCE_RECLAIM: 3,
  SHARE_FFA: 4,
  UNSHARE_FFA: 4,
  EARLY_DONATE_HYP: 2,
  GUEST_SHARE_HOST: 6,
  GUEST_UNSHARE_HOST: 5,
  DONATE_HYP: 4,
  HYP_DONATE_HOST: 5,
  PIN: 4,
  UNPIN: 3,
  RECLAIM_PAGE: 2,
  SHARE_GUEST_PAGE: 3,
  DONATE_GUEST_PAGE: 3,
  UNSHARE_GUEST_PAGE: 3,
  HOST_MAP: 2,
  SET_OWNER: 1,
  HOST_ABORT: 6,
};

/** Every call, as often as it should come. */
export const NAMES = Object.entries(WEIGHTS).flatMap(([name, weight]) =>
  Array.from({ length: weight }, () => name as CallName),
);

/** Calls that are for nothing without a vCPU of this kind. */
export const NEEDS_VCPU: Readonly<Partial<Record<CallName, "protected" | "not">>> = {
  SHARE_GUEST: "not",
  RELAX_PERMS_GUEST: "not",
  MKYOUNG_GUEST: "not",
  DONATE_GUEST: "protected",
  GUEST_SHARE_HOST: "protected",
  GUEST_UNSHARE_HOST: "protected",
};

const isHosts = ({ host }: Page): boolean => host === OWNED;
const isWithHyp = ({ hyp }: Page): boolean => hyp === SHARED_BORROWED;

/** The pages that calls can work on. */
export const LIKES: Readonly<Partial<Record<CallName, (page: Page) => boolean>>> = {
  SHARE_HYP: isHosts,
  SHARE_FFA: isHosts,
  DONATE_HYP: isHosts,
  EARLY_DONATE_HYP: isHosts,
  SHARE_GUEST: ({ host, guests, hyp }) => host === OWNED || (guests > 0 && hyp === NOPAGE),
  DONATE_GUEST: isHosts,
  UNSHARE_HYP: isWithHyp,
  PIN: isWithHyp,
  UNPIN: ({ references, hyp }) => references > 0 && hyp === SHARED_BORROWED,
  HYP_DONATE_HOST: ({ references, hyp }) => references === 0 && hyp === OWNED,
  UNSHARE_FFA: ({ host, hyp, guests }) => host === SHARED_OWNED && hyp === NOPAGE && guests === 0,
  FORCE_RECLAIM: ({ host, hyp }) => host === NOPAGE && hyp === NOPAGE,
};
