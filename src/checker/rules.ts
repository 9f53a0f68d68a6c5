/** What the checker can find, and how it says so. */

/** Rules, with what the architecture or the page-table software asks for. */
export const RULES = {
  "break-before-make":
    "a valid entry changes its address, size, memory type or shareability only by way of an invalid one (Arm ARM D8.16.1)",
  "early-make":
    "what replaces a broken entry is written when the TLB invalidation of the old one is complete: store, DSB, TLBI by IPA, " +
    "DSB, TLBI of what was combined with it, DSB (Arm ARM D8.14, D8.16.1)",
  "early-reuse":
    "a table page is freed, written or used anew only when no walk cache can lead to it: unlinked, and invalidated " +
    "(Arm ARM D8.16.1)",
  "missing-tlbi":
    "an operation that takes a translation away invalidates it before it ends (Arm ARM D8.14)",
  "use-after-tlbi":
    "when the DSB behind a TLBI is complete, no CPU uses what it covers (Arm ARM D8.14)",
  "tlb-conflict":
    "two entries of a TLB match one address: break-before-make or an invalidation was left out (Arm ARM D8.16)",
  "contiguous-group":
    "entries with the contiguous hint agree over their whole group (Arm ARM D8.6)",
  "locked-marker":
    "who puts the locked marker into an entry is who takes it out (KVM_INVALID_PTE_LOCKED)",
} as const;

/** Name of a rule. */
export type Rule = keyof typeof RULES;

/** Who did something: a thread that runs page-table code, or a vCPU. `"thread 0"`, `"vCPU 2"`. */
export type Agent = string;

/** What a violation tells beside its rule. */
export interface Finding {
  readonly rule: Rule;
  /** What happened, in plain words. */
  readonly what: string;
  /** Who did it, and who is hit: the holder of the old state. One and the same if nobody else is known. */
  readonly agents: readonly [culprit: Agent, holder: Agent];
  /** Physical address of the entry, or of the table page. */
  readonly slot: number | undefined;
  /** First input address concerned. */
  readonly address: number | undefined;
  /** Number of the event that gave it away, counted from 0 over all that the checker observed. */
  readonly event: number;
}

/** One violation of a rule. */
export class Violation implements Finding {
  readonly rule: Rule;
  readonly what: string;
  readonly agents: readonly [culprit: Agent, holder: Agent];
  readonly slot: number | undefined;
  readonly address: number | undefined;
  readonly event: number;

  constructor(finding: Finding) {
    this.rule = finding.rule;
    this.what = finding.what;
    this.agents = finding.agents;
    this.slot = finding.slot;
    this.address = finding.address;
    this.event = finding.event;
  }

  /** One line for people. */
  toString(): string {
    const [culprit, holder] = this.agents;
    const by = culprit === holder ? culprit : `${culprit} against ${holder}`;
    const where = [place("entry", this.slot), place("address", this.address)].join("");
    return `${this.rule}: ${this.what} (${by}${where}, event ${this.event})`;
  }
}

function place(name: string, value: number | undefined): string {
  return value === undefined ? "" : `, ${name} ${hex(value)}`;
}

/** A number as addresses are read. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
