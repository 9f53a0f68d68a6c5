/**
 * What an event of TLB maintenance is made of, instruction by instruction. The engine logs KVM's flushes as one event
 * each; the rules about their order hold for what they stand for (`__kvm_tlb_flush_vmid_ipa` and its like).
 */
import type { EventLevel } from "../_event_record.ts";
import { type Observed, type Of } from "./_stream.ts";

/**
 * What is invalidated: stage 2 by address, what was combined with stage 2, all of a VMID, all, or a hypervisor's own stage 1
 * by address. Invalidations by a guest's virtual address clean no entry of a stage 2.
 */
export type TlbiScope = "stage2" | "combined" | "vmid" | "all" | "hyp";

/** One instruction. */
export type Step =
  /** `complete`: it waits for TLBIs too (DSB ISH), not for stores alone (DSB ISHST). */
  { readonly kind: "dsb"; readonly complete: boolean } | { readonly kind: "isb" } | Invalidation;

/** One TLBI that reaches every CPU. */
export interface Invalidation {
  readonly kind: "tlbi";
  readonly scope: TlbiScope;
  /** Input addresses that it covers. */
  readonly from: number;
  readonly to: number;
  /** The only level that it must act on, if it says one. */
  readonly level: EventLevel;
  /** Leaves alone: walk caches may stay. */
  readonly leaf: boolean;
}

const STORES: Step = { kind: "dsb", complete: false };
const ALL: Step = { kind: "dsb", complete: true };
const ISB: Step = { kind: "isb" };

/** The unit of a `tlbi` event. */
const TLBI_PAGE = 4096;

const FLAGS = { level: undefined, leaf: false } as const;
const whole = (scope: TlbiScope): Step => ({
  kind: "tlbi",
  scope,
  from: 0,
  to: Infinity,
  ...FLAGS,
});

/** By IPA, then what was combined with it: the other way round a CPU could combine anew what is about to go. */
function flush(from: number, to: number, level: EventLevel): readonly Step[] {
  const byAddress: Step = { kind: "tlbi", scope: "stage2", from, to, level, leaf: false };
  return [STORES, byAddress, ALL, whole("combined"), ALL, ISB];
}

/**
 * The instructions behind an event; none if it is of another kind. `page` is the page size of the table. `implied`: a `tlbi`
 * event comes with its barriers, as calls have no other way to give them.
 */
export function stepsOf(event: Observed, page: number, implied: boolean): readonly Step[] {
  switch (event.kind) {
    case "dsbIshst":
      return [STORES];
    case "dsbIsh":
      return [ALL];
    case "isb":
      return [ISB];
    case "tlbiIpa":
      return flush(event.ipa, event.ipa + page, event.level);
    case "tlbiRange":
      return flush(event.ipa, event.ipa + event.pages * page, undefined);
    case "tlbiVmid":
      return [STORES, whole("vmid"), ALL, ISB];
    case "tlbiVae2is":
    case "tlbiVale2is": {
      const { va: from, level } = event;
      const leaf = event.kind === "tlbiVale2is";
      return [{ kind: "tlbi", scope: "hyp", from, to: from + page, level, leaf }];
    }
    case "tlbi": {
      const step = instruction(event);
      if (step === undefined) return [];
      return implied ? [STORES, step, ALL] : [step];
    }
    default:
      return [];
  }
}

/** The invalidation that a `tlbi` event tells of; `undefined` if it cleans no entry of a stage 2 on every CPU. */
function instruction({ op, address, pages, level, broadcast }: Of<"tlbi">): Step | undefined {
  if (!broadcast) return undefined;
  const to = address + Math.max(1, pages) * TLBI_PAGE;
  switch (op) {
    case "IPAS2E1":
    case "RIPAS2E1":
      return { kind: "tlbi", scope: "stage2", from: address, to, level, leaf: false };
    case "IPAS2LE1":
    case "RIPAS2LE1":
      return { kind: "tlbi", scope: "stage2", from: address, to, level, leaf: true };
    case "VMALLE1":
      return whole("combined");
    case "VMALLS12E1":
      return whole("vmid");
    case "ALLE1":
      return whole("all");
    default:
      return undefined;
  }
}
