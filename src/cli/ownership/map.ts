/**
 * Who owns physical memory, and who else has it: runs of pages with the same answer.
 *
 *     host    hyp     guests      owner
 *     OWNED   -       -           host
 *     SO      SB      -           host, shared with the hypervisor
 *     SO      -       SB ...      host, shared with guests
 *     SO      -       -           host, shared with the secure world, which keeps no state here
 *     -       OWNED   -           hypervisor
 *     -       -       OWNED       guest
 *     SB      -       SO          guest, shared with the host
 *
 * SO is SHARED_OWNED, SB is SHARED_BORROWED, - is NOPAGE.
 */

export type PageState = "OWNED" | "SHARED_OWNED" | "SHARED_BORROWED" | "NOPAGE";

/** Memory as the hypervisor was told of it. */
export interface Region {
  readonly pa: number;
  readonly size: number;
  /** Nobody may use it. */
  readonly noMap: boolean;
}

/** Pages in a row with the same states of host and hypervisor. */
export interface PlainRun {
  readonly pa: number;
  readonly size: number;
  readonly host: PageState;
  readonly hyp: PageState;
  /** Pins of each page. */
  readonly references: number;
  /** Guest leaves that cover each page. */
  readonly count: number;
}

/** A leaf of a guest's table. */
export interface GuestLeaf {
  readonly handle: number;
  readonly gfn: number;
  readonly pa: number;
  readonly size: number;
  readonly state: PageState;
}

/** What a guest has of a run. */
export interface GuestShare {
  readonly handle: number;
  readonly state: PageState;
  /** Leaves of this guest that cover each page of the run. */
  readonly leaves: number;
  /** The guest's page of the run's first one, if there is one leaf a page and they ascend with the run. */
  readonly gfn: number | undefined;
}

export type OwnerKind = "host" | "hyp" | "guest" | "nobody";

export interface OwnershipRun extends PlainRun {
  /** By handle. */
  readonly guests: readonly GuestShare[];
  readonly owner: OwnerKind;
}

/** A guest, with what is not to be seen in physical memory. */
export interface GuestInfo {
  readonly handle: number;
  readonly protected: boolean;
  readonly dying: boolean;
  /** Leaves of its table. */
  readonly leaves: number;
  /** Its pages that were taken back by force. */
  readonly poisoned: readonly number[];
}

/** Physical memory at one moment. */
export interface OwnershipMap {
  readonly pageSize: number;
  readonly regions: readonly Region[];
  /** Ascending, without gaps inside a region. */
  readonly runs: readonly OwnershipRun[];
  readonly guests: readonly GuestInfo[];
}

/** The run that a page lies in. */
export function runAt({ runs }: OwnershipMap, pa: number): OwnershipRun | undefined {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const { pa: start, size } = runs[middle] as OwnershipRun;
    if (pa < start) high = middle;
    else if (pa >= start + size) low = middle + 1;
    else return runs[middle];
  }
  return undefined;
}

/** Who owns a page by its states; nobody if none of them says so. */
export function ownerOf(run: PlainRun, guests: readonly GuestShare[]): OwnerKind {
  if (run.hyp === "OWNED" || run.hyp === "SHARED_OWNED") return "hyp";
  if (guests.some(({ state }) => state === "OWNED" || state === "SHARED_OWNED")) return "guest";
  if (run.host === "OWNED" || run.host === "SHARED_OWNED") return "host";
  return "nobody";
}
