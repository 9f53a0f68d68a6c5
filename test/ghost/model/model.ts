/** The hypervisor as rules over plain records: each hypercall with what it answers and the state after it. */
import { HYPERCALL, NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";
import type { World } from "../world.ts";
import * as guest from "./guest.ts";
import * as hostHyp from "./host_hyp.ts";
import * as hostTable from "./host_table.ts";
import * as life from "./lifecycle.ts";
import * as own from "./protected.ts";
import { type Call, type Rule, State } from "./state.ts";

export type CallName = keyof typeof HYPERCALL;

/** By name, so that a test can put another rule in the place of one. */
export type Rules = Readonly<Record<CallName, Rule>>;

export const RULES: Rules = {
  SHARE_HYP: hostHyp.shareHyp,
  UNSHARE_HYP: hostHyp.unshareHyp,
  SHARE_GUEST: guest.shareGuest,
  UNSHARE_GUEST: guest.unshareGuest,
  RELAX_PERMS_GUEST: guest.relaxPermsGuest,
  WRPROTECT_GUEST: guest.wrprotectGuest,
  TEST_CLEAR_YOUNG_GUEST: guest.testClearYoungGuest,
  MKYOUNG_GUEST: guest.mkyoungGuest,
  TLB_FLUSH_VMID: guest.tlbFlushVmid,
  PROT_FINALIZE: life.protFinalize,
  RESERVE_VM: life.reserveVm,
  UNRESERVE_VM: life.unreserveVm,
  INIT_VM: life.initVm,
  INIT_VCPU: life.initVcpu,
  VCPU_LOAD: life.vcpuLoad,
  VCPU_PUT: life.vcpuPut,
  TEARDOWN_VM: life.teardownVm,
  START_TEARDOWN: life.startTeardown,
  RECLAIM_DYING_PAGE: own.reclaimDyingPage,
  DONATE_GUEST: own.donateGuest,
  FORCE_RECLAIM: own.forceReclaim,
  SHARE_FFA: hostHyp.shareFfa,
  UNSHARE_FFA: hostHyp.unshareFfa,
  EARLY_DONATE_HYP: hostHyp.earlyDonateHyp,
  GUEST_SHARE_HOST: own.guestShareHost,
  GUEST_UNSHARE_HOST: own.guestUnshareHost,
  DONATE_HYP: hostHyp.donateToHyp,
  HYP_DONATE_HOST: hostHyp.hypDonateHost,
  PIN: hostHyp.pin,
  UNPIN: hostHyp.unpin,
  RECLAIM_PAGE: own.reclaimPage,
  SHARE_GUEST_PAGE: guest.shareGuestPage,
  DONATE_GUEST_PAGE: own.donateGuestPage,
  UNSHARE_GUEST_PAGE: guest.unshareGuestPage,
  HOST_MAP: hostTable.hostMap,
  SET_OWNER: hostTable.setOwner,
  HOST_ABORT: hostTable.hostAbort,
};

/** Calls that came with protected guests. */
export const PROTECTED_CALLS: ReadonlySet<CallName> = new Set([
  "DONATE_GUEST",
  "FORCE_RECLAIM",
  "START_TEARDOWN",
  "RECLAIM_DYING_PAGE",
  "RECLAIM_PAGE",
  "DONATE_GUEST_PAGE",
  "GUEST_SHARE_HOST",
  "GUEST_UNSHARE_HOST",
]);

const NAMES = new Map(
  Object.entries(HYPERCALL).map(([name, number]) => [number, name as CallName]),
);

export const nameOf = (number: number): CallName | undefined => NAMES.get(number as 1);

export class Model {
  readonly state: State;
  readonly #rules: Rules;

  constructor(world: World, rules: Rules = RULES) {
    this.state = new State(world);
    this.#rules = rules;
  }

  /** What a hypercall by number answers; the state is that after it. */
  call(number: number, call: Call): number {
    const name = nameOf(number);
    if (name === undefined) return NOT_SUPPORTED;
    if (PROTECTED_CALLS.has(name) && !this.state.has("PROTECTED_GUESTS")) return NOT_SUPPORTED;
    return this.#rules[name](this.state, call);
  }
}
