/** The life of one page, row by row: what is called, what it answers, and whose the page is after it. */
import type { StateName } from "../../ghost/bench.ts";
import { EBUSY, EHWPOISON, ENOENT, EPERM } from "../../ghost/model/words.ts";

/** Calls on the page, by the names of the rules; `next`: at the guest page behind. The guest's are those for either kind of guest. */
export type Verb =
  | "donate_hyp"
  | "hyp_donate_host"
  | "share_hyp"
  | "unshare_hyp"
  | "share_ffa"
  | "unshare_ffa"
  | "pin"
  | "unpin"
  | "share_guest"
  | "share_guest next"
  | "unshare_guest"
  | "unshare_guest next"
  | "donate_guest"
  | "donate_guest next"
  | "guest_share_host"
  | "guest_unshare_host"
  | "force_reclaim"
  | "reclaim_page next";

export type GuestState = StateName | "POISON";

/** Whose the page is; what the guest has at its page and at the one behind. */
export interface PageStates {
  readonly host: StateName;
  readonly hyp: StateName;
  readonly references: number;
  readonly guests: number;
  readonly guest: readonly [GuestState, GuestState];
}

export interface Row {
  readonly row: number;
  readonly calls: readonly (readonly [Verb, number])[];
  readonly after: PageStates;
}

const NONE = ["NOPAGE", "NOPAGE"] as const;
const state = (host: StateName, hyp: StateName, more: Partial<PageStates> = {}): PageStates => ({
  host,
  hyp,
  references: 0,
  guests: 0,
  guest: NONE,
  ...more,
});

const all = (result: number, ...verbs: Verb[]): [Verb, number][] =>
  verbs.map((verb) => [verb, result]);

const WITH_HYP = state("NOPAGE", "OWNED");
const WITH_HOST = state("OWNED", "NOPAGE");
const SHARED = state("SHARED_OWNED", "SHARED_BORROWED");
const PINNED = { ...SHARED, references: 1 };
const WITH_FFA = state("SHARED_OWNED", "NOPAGE");
const lent = (guests: number, ...guest: [GuestState, GuestState]): PageStates =>
  state("SHARED_OWNED", "NOPAGE", { guests, guest });
const LENT = lent(1, "SHARED_BORROWED", "NOPAGE");
const GIVEN = state("NOPAGE", "NOPAGE", { guest: ["OWNED", "NOPAGE"] });
const LENT_BACK = state("SHARED_BORROWED", "NOPAGE", { guest: ["SHARED_OWNED", "NOPAGE"] });
const POISONED = state("OWNED", "NOPAGE", { guest: ["POISON", "NOPAGE"] });

const TO_OTHERS = all(
  -EPERM,
  "share_hyp",
  "donate_hyp",
  "share_ffa",
  "hyp_donate_host",
  "share_guest",
  "donate_guest",
);
const WHILE_GIVEN = all(
  -EPERM,
  "donate_guest",
  "donate_guest next",
  "share_guest",
  "share_guest next",
  "share_ffa",
  "donate_hyp",
  "share_hyp",
  "unshare_hyp",
  "hyp_donate_host",
);

/** Rows 20 and after need guests that own pages. */
export const FIRST_PROTECTED_ROW = 20;

// prettier-ignore
export const ROWS: readonly Row[] = [
  { row: 1, calls: all(-EPERM, "donate_hyp", "share_hyp", "unshare_hyp", "share_ffa", "unshare_ffa", "pin", "share_guest", "donate_guest"), after: WITH_HYP },
  { row: 2, calls: all(-ENOENT, "unshare_guest"), after: WITH_HYP },
  { row: 3, calls: all(0, "hyp_donate_host"), after: WITH_HOST },
  { row: 4, calls: all(-EPERM, "hyp_donate_host", "unshare_hyp", "unshare_ffa", "pin"), after: WITH_HOST },
  { row: 5, calls: all(-ENOENT, "unshare_guest"), after: WITH_HOST },
  { row: 6, calls: all(0, "share_hyp"), after: SHARED },
  { row: 7, calls: TO_OTHERS, after: SHARED },
  { row: 8, calls: all(0, "pin", "pin", "unpin"), after: PINNED },
  { row: 9, calls: all(-EBUSY, "unshare_hyp"), after: PINNED },
  { row: 10, calls: TO_OTHERS, after: PINNED },
  { row: 11, calls: all(0, "unpin", "unshare_hyp"), after: WITH_HOST },
  { row: 12, calls: all(0, "share_ffa"), after: WITH_FFA },
  { row: 13, calls: all(-EPERM, "share_ffa", "donate_hyp", "share_hyp", "unshare_hyp", "hyp_donate_host", "share_guest", "donate_guest", "pin"), after: WITH_FFA },
  { row: 14, calls: [["unshare_ffa", 0], ["unshare_ffa", -EPERM]], after: WITH_HOST },
  { row: 15, calls: all(0, "share_guest"), after: LENT },
  { row: 16, calls: all(-EPERM, "share_guest", "share_ffa", "donate_hyp", "share_hyp", "unshare_hyp", "hyp_donate_host", "donate_guest", "pin"), after: LENT },
  { row: 17, calls: all(0, "share_guest next"), after: lent(2, "SHARED_BORROWED", "SHARED_BORROWED") },
  { row: 18, calls: all(0, "unshare_guest"), after: lent(1, "NOPAGE", "SHARED_BORROWED") },
  { row: 19, calls: all(0, "unshare_guest next"), after: WITH_HOST },
  { row: 20, calls: all(0, "donate_guest"), after: GIVEN },
  { row: 21, calls: WHILE_GIVEN, after: GIVEN },
  { row: 22, calls: [["guest_share_host", 0], ["guest_share_host", -EPERM]], after: LENT_BACK },
  { row: 23, calls: WHILE_GIVEN, after: LENT_BACK },
  { row: 24, calls: [["guest_unshare_host", 0], ["guest_unshare_host", -EPERM]], after: GIVEN },
  { row: 25, calls: all(0, "force_reclaim"), after: POISONED },
  { row: 26, calls: all(-EPERM, "donate_guest", "share_guest"), after: POISONED },
  { row: 27, calls: all(-EHWPOISON, "guest_share_host", "guest_unshare_host"), after: POISONED },
  { row: 28, calls: all(0, "donate_guest next", "reclaim_page next"), after: POISONED },
  { row: 29, calls: all(-EPERM, "donate_guest"), after: POISONED },
  { row: 30, calls: all(0, "donate_hyp"), after: state("NOPAGE", "OWNED", { guest: ["POISON", "NOPAGE"] }) },
];
