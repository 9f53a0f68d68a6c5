/** Pages between the host and the hypervisor or the secure world: lend, give, pin. Preconditions in the order of the rules. */
import { OWNER } from "../../../src/pkvm/_abi.ts";
import {
  NOPAGE,
  OWNED,
  type Page,
  SHARED_BORROWED,
  SHARED_OWNED,
  type State as PageState,
} from "./memory.ts";
import type { Rule, State } from "./state.ts";
import { EBUSY, EINVAL, EPERM, word } from "./words.ts";
import { NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";

const MOST_REFERENCES = 0xffff;

type Change = (page: Page) => Partial<Omit<Page, "pfn">>;

/** What a rule over pages asks of all of them, in this order, and what it makes of each. */
interface Transition {
  readonly host?: PageState;
  readonly hyp?: PageState;
  /** Of each page, when the states are right: 0 or -errno. */
  readonly also?: (page: Page, state: State) => number;
  readonly change: Change;
}

/** All or nothing: the first page that is not as it has to be decides (P-4.3). */
function apply(state: State, pages: readonly Page[], transition: Transition): number {
  const { host, hyp, also, change } = transition;
  if (host !== undefined && pages.some((page) => page.host !== host)) return -EPERM;
  if (hyp !== undefined && pages.some((page) => page.hyp !== hyp)) return -EPERM;
  for (const page of pages) {
    const refused = also?.(page, state) ?? 0;
    if (refused !== 0) return refused;
  }
  for (const page of pages) state.memory.change(page, change(page));
  return 0;
}

/** A transition of the pages that the first two arguments name, or of the page that the first names. */
const onRange =
  (transition: Transition): Rule =>
  (state, { args }) => {
    const pages = state.memory.range(word(args, 0), word(args, 1));
    return typeof pages === "number" ? pages : apply(state, pages, transition);
  };

const onPage =
  (transition: Transition): Rule =>
  (state, call) =>
    onRange(transition)(state, { ...call, args: [word(call.args, 0), 1n] });

const unused = ({ references }: Page): number => (references === 0 ? 0 : -EBUSY);

export const HYP_ANNOTATION = BigInt(OWNER.HYP) << 2n;

const donateHyp: Transition = {
  host: OWNED,
  hyp: NOPAGE,
  change: () => ({ host: NOPAGE, hyp: OWNED, annotation: HYP_ANNOTATION }),
};

export const shareHyp = onPage({
  host: OWNED,
  hyp: NOPAGE,
  change: () => ({ host: SHARED_OWNED, hyp: SHARED_BORROWED, guests: 0 }),
});

export const unshareHyp = onPage({
  host: SHARED_OWNED,
  hyp: SHARED_BORROWED,
  also: unused,
  change: () => ({ host: OWNED, hyp: NOPAGE }),
});

export const donateToHyp = onRange(donateHyp);

export const hypDonateHost = onRange({
  hyp: OWNED,
  host: NOPAGE,
  also: unused,
  change: () => ({ host: OWNED, hyp: NOPAGE, annotation: 0n }),
});

export const shareFfa = onRange({
  host: OWNED,
  change: () => ({ host: SHARED_OWNED, guests: 0 }),
});

/** Only what is shared with nobody that the records know; the first generations did not look at the hypervisor's. */
export const unshareFfa = onRange({
  host: SHARED_OWNED,
  also: ({ guests, hyp }, state) =>
    guests === 0 && (hyp === NOPAGE || state.has("FFA_UNCHECKED")) ? 0 : -EPERM,
  change: () => ({ host: OWNED }),
});

export const pin = onRange({
  host: SHARED_OWNED,
  hyp: SHARED_BORROWED,
  also: ({ references }) => (references === MOST_REFERENCES ? -EBUSY : 0),
  change: ({ references }) => ({ references: references + 1 }),
});

export const unpin = onRange({
  also: ({ hyp, references }) => (hyp !== SHARED_BORROWED || references === 0 ? -EINVAL : 0),
  change: ({ references }) => ({ references: references - 1 }),
});

/** Until protection is final on any CPU. */
export const earlyDonateHyp: Rule = (state, call) =>
  state.final.size > 0 ? NOT_SUPPORTED : donateToHyp(state, call);

/** The hypervisor takes a page of the host's for a VM: 0 or -errno. */
export function admit(state: State, pfn: bigint, count = 1n): readonly Page[] | number {
  const pages = state.memory.range(pfn, count);
  if (typeof pages === "number") return pages;
  const refused = apply(state, pages, donateHyp);
  if (refused !== 0) return refused;
  for (const page of pages) state.memory.change(page, { references: 1 });
  return pages;
}

/** A page goes back to the host, whoever had it. */
export function giveBack(state: State, page: Page): void {
  state.memory.change(page, { host: OWNED, hyp: NOPAGE, references: 0, annotation: 0n });
}

/** Room for a VM to pin the host's struct: 0 or -errno. */
export function pinOne(state: State, pfn: bigint): number {
  return pin(state, { cpu: 0, args: [pfn, 1n] });
}

export function unpinOne(state: State, page: Page): void {
  state.memory.change(page, { references: page.references - 1 });
}
