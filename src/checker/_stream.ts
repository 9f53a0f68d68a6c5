/** The events that the checker reads, and who each of them speaks of. */
import type { Event, EventLevel } from "../_event_record.ts";
import type { Agent } from "./rules.ts";

/** What a TLB entry holds: both stages, stage 2 alone, or where a walk may go on. */
export type TlbEntryKind = "combined" | "stage2" | "walkStage2" | "walkStage1";

type VcpuEvent =
  | {
      readonly kind: "hwRead" | "hwUpdate";
      readonly cpu: number;
      readonly stage: number;
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      readonly address: number;
    }
  | {
      readonly kind: "tlbFill";
      readonly cpu: number;
      readonly entry: TlbEntryKind;
      readonly vmid: number;
      readonly address: number;
      readonly ipa: number;
    }
  | {
      readonly kind: "tlbStale";
      readonly cpu: number;
      readonly entry: TlbEntryKind;
      readonly address: number;
      readonly pa: number;
      readonly now: number | undefined;
    }
  | {
      readonly kind: "tlbConflict";
      readonly cpu: number;
      readonly entry: TlbEntryKind;
      readonly address: number;
      readonly pa: number;
      readonly other: number;
    }
  | {
      readonly kind: "contiguous";
      readonly cpu: number;
      readonly stage: number;
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      readonly member: bigint;
    }
  | {
      readonly kind: "tlbi";
      readonly cpu: number | undefined;
      readonly op: string;
      readonly level: EventLevel;
      readonly vmid: number;
      readonly address: number;
      readonly pages: number;
      readonly broadcast: boolean;
    };

/** An event, with what an engine can say of its origin. */
export type Observed = (Event | VcpuEvent) & {
  /** Number of the thread that logged it. Default 0. */
  readonly thread?: number;
  /** VMID of the page table that it is about. Default: the table that this thread wrote to last. */
  readonly vmid?: number;
};

/** An event of one kind. */
export type Of<K extends Observed["kind"]> = Extract<Observed, { readonly kind: K }>;

/** Who logged the event. */
export function agentOf(event: Observed): Agent {
  if ("cpu" in event && event.cpu !== undefined) return `vCPU ${event.cpu}`;
  return `thread ${event.thread ?? 0}`;
}
