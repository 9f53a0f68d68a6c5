/**
 * Hypercalls by name: what a kernel that does not trust its guests, or is not trusted itself, may ask the hypervisor for. Their numbers are this
 * library's own; what they mean is the reference's `__pkvm_*`.
 */
import { Stage2Error } from "../errors.ts";
import { HYPERCALL, NOT_SUPPORTED } from "./_abi.ts";

export { NOT_SUPPORTED };

/** Who makes a call: the host's kernel, the guest on the loaded vCPU, or the hypervisor itself, of its own accord. */
export type Caller = "host" | "guest" | "hyp";

/** A hypercall, for people and for tools. */
export interface HypercallInfo {
  readonly number: number;
  readonly name: HypercallName;
  readonly caller: Caller;
  /** Names of its arguments, in order. `pfn` and `gfn` count pages of the machine's granule, `n` is a number of pages. */
  readonly parameters: readonly string[];
  /** Whether it refills the loaded vCPU's memcache from a list of pages. */
  readonly memcache: boolean;
}

/** Parameters of the calls, by their names in the core. */
// prettier-ignore
const PARAMETERS = {
  SHARE_HYP: ["pfn"],
  UNSHARE_HYP: ["pfn"],
  SHARE_GUEST: ["pfn", "gfn", "n", "prot"],
  UNSHARE_GUEST: ["handle", "gfn", "n"],
  RELAX_PERMS_GUEST: ["gfn", "prot"],
  WRPROTECT_GUEST: ["handle", "gfn", "n"],
  TEST_CLEAR_YOUNG_GUEST: ["handle", "gfn", "n", "mkold"],
  MKYOUNG_GUEST: ["gfn"],
  TLB_FLUSH_VMID: ["handle"],
  PROT_FINALIZE: ["cpu"],
  RESERVE_VM: [],
  UNRESERVE_VM: ["handle"],
  INIT_VM: ["handle", "kvmPfn", "vmPfn", "rootPfn", "vcpus", "flags"],
  INIT_VCPU: ["handle", "pfn"],
  VCPU_LOAD: ["handle", "index"],
  VCPU_PUT: [],
  TEARDOWN_VM: ["handle"],
  START_TEARDOWN: ["handle"],
  RECLAIM_DYING_PAGE: ["handle", "gfn"],
  DONATE_GUEST: ["pfn", "gfn"],
  FORCE_RECLAIM: ["pfn"],
  SHARE_FFA: ["pfn", "n"],
  UNSHARE_FFA: ["pfn", "n"],
  EARLY_DONATE_HYP: ["pfn", "n"],
  GUEST_SHARE_HOST: ["gfn"],
  GUEST_UNSHARE_HOST: ["gfn"],
  DONATE_HYP: ["pfn", "n"],
  HYP_DONATE_HOST: ["pfn", "n"],
  PIN: ["pfn", "n"],
  UNPIN: ["pfn", "n"],
  RECLAIM_PAGE: ["handle", "gfn"],
  HOST_MAP: ["pa", "size", "prot"],
  SET_OWNER: ["pa", "size", "owner"],
  SHARE_GUEST_PAGE: ["pfn", "gfn", "n", "prot"],
  DONATE_GUEST_PAGE: ["pfn", "gfn"],
  UNSHARE_GUEST_PAGE: ["handle", "gfn", "n"],
  HOST_ABORT: ["pa"],
} as const satisfies Record<keyof typeof HYPERCALL, readonly string[]>;

/** SHARE_HYP as shareHyp. */
type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}${Capitalize<Camel<Tail>>}`
  : Lowercase<S>;

/** Name of a hypercall: `shareHyp`, `unshareGuest`, … */
export type HypercallName = Camel<keyof typeof HYPERCALL>;

/** First numbers of the guest's calls, and of what the hypervisor does itself. */
const GUESTS = HYPERCALL.GUEST_SHARE_HOST;
const HYPS = HYPERCALL.DONATE_HYP;
const REFILLS: readonly number[] = [
  HYPERCALL.SHARE_GUEST,
  HYPERCALL.DONATE_GUEST,
  HYPERCALL.SHARE_GUEST_PAGE,
  HYPERCALL.DONATE_GUEST_PAGE,
];

/** All hypercalls, by number. */
export const HYPERCALLS: readonly HypercallInfo[] = Object.entries(HYPERCALL)
  .map(([name, number]) => ({
    number,
    name: camel(name) as HypercallName,
    caller: callerOf(number),
    parameters: PARAMETERS[name as keyof typeof HYPERCALL],
    memcache: REFILLS.includes(number),
  }))
  .sort((a, b) => a.number - b.number);

/** By name. The seed's text has another name for one of them, no kernel has it. */
const NUMBERS = new Map<string, number>([
  ...HYPERCALLS.map(({ name, number }) => [name, number] as const),
  ["relaxGuestPerms", HYPERCALL.RELAX_PERMS_GUEST],
]);

/** The number of a call that is named. @throws Stage2Error `BAD_OPTION` */
export function hypercallNumber(name: string): number {
  const number = NUMBERS.get(name);
  if (number !== undefined) return number;
  throw new Stage2Error("BAD_OPTION", `there is no hypercall "${name}"`, { hypercall: name });
}

/** Whether the call looks at a list of pages for the memcache. */
export function refills(call: number): boolean {
  return REFILLS.includes(call);
}

function callerOf(number: number): Caller {
  if (number >= HYPS) return "hyp";
  return number >= GUESTS ? "guest" : "host";
}

function camel(name: string): string {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}
