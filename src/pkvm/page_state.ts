/** Who a page of physical memory belongs to, and who else has access: what the hypervisor notes of each page, read as it is. */
import type { PhysicalSpan } from "./memory.ts";

/** Access of the host or the hypervisor to a page (`enum pkvm_page_state`). */
export type AccessState = "OWNED" | "SHARED_OWNED" | "SHARED_BORROWED" | "NOPAGE";

/** Whose a page is. `nobody`: no memory, or memory that firmware keeps (NOMAP). */
export type PageOwner = "host" | "hyp" | "guest" | "nobody";

/** What is known of a page. */
export interface PkvmPageState {
  readonly host: AccessState;
  readonly hyp: AccessState;
  /** Leaves of guests that map it, of all VMs that it is shared with (`host_share_guest_count`). */
  readonly guestMappings: number;
  /** Uses by the hypervisor (`refcount`): a page with any is neither unshared nor given back. */
  readonly references: number;
  readonly owner: PageOwner;
  /** Who has access beside the owner. `ffa`: the secure world, of which only the host's side is known. */
  readonly sharedWith: "hyp" | "guests" | "ffa" | "host" | undefined;
}

/** Neighbouring pages of memory that are in the same state. */
export interface PkvmRange extends PkvmPageState {
  /** First address and bytes. */
  readonly pa: number;
  readonly size: number;
  /** Of a protected guest's page: whose, and where its memory has it; neighbours have neighbouring gfns. */
  readonly handle?: number;
  readonly gfn?: number;
}

/** A region of physical memory as the hypervisor has it. */
export interface PkvmRegion extends PhysicalSpan {
  readonly pa: number;
  readonly size: number;
  readonly noMap: boolean;
}

/** Names by PAGE_STATE. */
const NAMES: readonly AccessState[] = ["OWNED", "SHARED_OWNED", "SHARED_BORROWED", "NOPAGE"];
const NOPAGE = 3;

/** No memory that anybody may have. */
export const NOBODYS: PkvmPageState = {
  host: "NOPAGE",
  hyp: "NOPAGE",
  guestMappings: 0,
  references: 0,
  owner: "nobody",
  sharedWith: undefined,
};

/** A record of the core: +0 u16 references, +2 u8 host state, +3 u8 hypervisor state XOR 3, +4 u32 guest leaves. */
export function decodeRecord(low: number, leaves: number): PkvmPageState {
  const hostState = (low >>> 16) & 3;
  const hypState = ((low >>> 24) ^ NOPAGE) & 3;
  const [host, hyp] = [NAMES[hostState] as AccessState, NAMES[hypState] as AccessState];
  const guestMappings = host === "SHARED_OWNED" ? leaves : 0; // else the word means something else
  return {
    host,
    hyp,
    guestMappings,
    references: low & 0xffff,
    owner: ownerOf(host, hyp),
    sharedWith: borrowerOf(host, hyp, guestMappings),
  };
}

function ownerOf(host: AccessState, hyp: AccessState): PageOwner {
  if (host === "OWNED" || host === "SHARED_OWNED") return "host";
  if (host === "NOPAGE" && (hyp === "OWNED" || hyp === "SHARED_OWNED")) return "hyp";
  return "guest";
}

function borrowerOf(
  host: AccessState,
  hyp: AccessState,
  leaves: number,
): PkvmPageState["sharedWith"] {
  if (host === "SHARED_BORROWED") return "host";
  if (host !== "SHARED_OWNED") return undefined;
  if (hyp === "SHARED_BORROWED") return "hyp";
  return leaves > 0 ? "guests" : "ffa";
}
