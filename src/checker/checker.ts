/**
 * The checker: reads the event stream of an engine, keeps a shadow of every page table, and says where the rules for
 * changing live translations were broken, and by whom.
 *
 *     const s2 = engine.stage2({ events: Checker.EVENTS });
 *     const checker = new Checker();
 *     checker.watch(s2);
 *     ...                                       // operations, vCPUs with events: ["walks", "updates", "tlb"]
 *     for (const violation of checker.drain(engine)) console.log(String(violation));
 *
 * It judges the order of the log. Threads log after they store, so that two that change one entry at the same time may
 * stand in the log the other way round: then a verdict on that entry is about the log.
 */
import { KIND_HYP, OPTION } from "../_abi.ts";
import { type EventGroup, type Granule, pageShift } from "../_options.ts";
import { Stage2View } from "../_view.ts";
import type { Engine } from "../engine.ts";
import { Stage2Error } from "../errors.ts";
import { flagOption, integerOption, knownOptions } from "../range.ts";
import type { BbmLevel, Format } from "./_bits.ts";
import { Case } from "./_case.ts";
import { onConflict, onContiguous, onRead, onStale, onUpdate } from "./_cpu_rules.ts";
import { onWrite } from "./_entry_rules.ts";
import { onAlloc, onFree, reportLoose } from "./_page_rules.ts";
import type { Tree } from "./_shadow.ts";
import { stepsOf } from "./_steps.ts";
import type { Observed, Of } from "./_stream.ts";
import type { Violation } from "./rules.ts";

export type { BbmLevel } from "./_bits.ts";
export type { Observed } from "./_stream.ts";

/** What the checker is told of the machine and of the log. */
export interface CheckerOptions {
  /** ID_AA64MMFR2_EL1.BBM: changes of size that need no break. 1: of blocks with the nT bit, 2: all. Default 0. */
  bbm?: BbmLevel;
  /** Page size of page tables that are not {@link Checker.watch}ed. Default 4K. */
  granule?: Granule;
  /**
   * Whether every barrier is an event of its own. Default false: the calls that invalidate TLBs (`engine.tlbi`,
   * `vcpu.tlbi`) have their barriers in them, and so have KVM's flushes, which are one event each.
   */
  barriersLogged?: boolean;
}

/** A page table by its facts, for event lists that come from no engine. */
export interface WatchedTable {
  /** Physical address and bytes of the root. */
  readonly root: number;
  readonly rootBytes: number;
  /** Default 4K. */
  readonly granule?: Granule;
  /** 52-bit descriptors of 4K and 16K pages. Default off. */
  readonly lpa2?: boolean;
  /** A hypervisor's stage 1. Default off. */
  readonly hyp?: boolean;
  /** The VMID that events may name. */
  readonly vmid?: number;
}

const OPTIONS = ["bbm", "granule", "barriersLogged"];
const ENTRY_BYTES = 8;

/** Judges an event stream. Holds no memory of an engine: nothing need be disposed. */
export class Checker {
  /** Groups that a page table must log to be judged. */
  static readonly EVENTS: readonly EventGroup[] = ["tables", "maintenance", "barriers", "writes"];

  readonly #case: Case;
  #lost = 0;

  /** @throws Stage2Error `BAD_OPTION` */
  constructor(options: CheckerOptions = {}) {
    knownOptions("checker", options, OPTIONS);
    const bbm = integerOption("bbm", options.bbm ?? 0, 0, 2) as BbmLevel;
    const format = { pageShift: pageShift(options.granule), lpa2: false, hyp: false };
    const logged = flagOption("barriersLogged", options.barriersLogged ?? false);
    this.#case = new Case({ bbm, format, impliedBarriers: !logged });
  }

  /** All that was found so far. */
  get violations(): readonly Violation[] {
    return this.#case.violations;
  }

  /** Events observed so far. */
  get events(): number {
    return this.#case.now + 1;
  }

  /** Events that the log dropped. After some, what the entries hold is learnt anew, and less is found. */
  get lost(): number {
    return this.#lost;
  }

  /**
   * Gets to know a page table: its format, its VMID, and what it holds. Needed for pages other than 4K, for tables that
   * hold something before they log, and for the maintenance of several tables to be told apart.
   *
   * @throws Stage2Error `BAD_OPTION` if the table holds something and events are waiting: they would be about the past.
   */
  watch(table: Stage2View | WatchedTable): void {
    if (table instanceof Stage2View) this.#watchLive(table);
    else this.#case.shadow.addTree(treeOf(table), true);
  }

  /** Takes all waiting events of an engine, and returns what is new. */
  drain(engine: Engine): readonly Violation[] {
    const before = this.violations.length;
    for (const event of engine.events.drain()) this.observe(event);
    return this.violations.slice(before);
  }

  /** Takes one event. */
  observe(event: Observed): void {
    const c = this.#case;
    c.next(event);
    switch (event.kind) {
      case "allocExact":
        return this.#root(event);
      case "freeExact":
        return this.#rootGone(event.pa);
      case "alloc":
        return onAlloc(c, event);
      case "free":
        return onFree(c, event);
      case "write":
      case "writeUnlinked":
        return onWrite(c, event);
      case "hwRead":
        return onRead(c, event);
      case "hwUpdate":
        return onUpdate(c, event);
      case "tlbFill":
        return c.holders.fill(event, c.now);
      case "tlbStale":
        return onStale(c, event);
      case "tlbConflict":
        return onConflict(c, event);
      case "contiguous":
        return onContiguous(c, event);
      case "lost":
        this.#lost += event.count;
        return c.forget();
      default:
        return this.#maintain(event);
    }
  }

  /**
   * Every operation has returned: what is not invalidated by now will not be. Returns what that shows. Write-protecting
   * is exempt, as its invalidation is the caller's duty.
   */
  settle(): readonly Violation[] {
    const c = this.#case;
    const before = c.violations.length;
    for (const tree of c.shadow.trees) reportLoose(c, tree);
    for (const residue of c.pending.all()) {
      if (residue.soft || residue.reported) continue;
      residue.reported = true;
      const what =
        "an operation ended with no TLB invalidation of the translation that it took away";
      const agents = [residue.by, c.holder(residue, residue.by)] as const;
      const [slot, address] = [residue.slot, residue.span[0]];
      c.report({ rule: "missing-tlbi", what, agents, slot, address });
    }
    return c.violations.slice(before);
  }

  #watchLive(table: Stage2View): void {
    const { context, pointer, shape } = table;
    const format: Format = {
      pageShift: shape.pageShift,
      lpa2: (shape.bits & OPTION.LPA2) !== 0,
      hyp: shape.kind === KIND_HYP,
    };
    const entries = [...table.entries()];
    if (entries.length > 0 && context.core.events_count() > 0) {
      throw new Stage2Error(
        "BAD_OPTION",
        "drain the events of a table in use before it is watched",
      );
    }
    const { rootPhysical: root, rootBytes, startLevel } = shape;
    const vmid = context.core.pgt_vmid(pointer);
    this.#case.shadow.addTree({ root, rootBytes, format, vmid, loose: [] }, true);
    const bases = new Map([[startLevel, { pa: root, ipa: 0 }]]);
    for (const { level, ipa, size, pte, ...entry } of entries) {
      const base = bases.get(level) as { pa: number; ipa: number };
      const slot = base.pa + ((ipa - base.ipa) / size) * ENTRY_BYTES;
      if (entry.kind === "table") {
        this.#case.shadow.addPage(entry.pa, true);
        bases.set(level + 1, { pa: entry.pa, ipa });
      }
      onWrite(this.#case, { kind: "write", level, slot, pte, ipa });
    }
  }

  /** A page table was made. One that was announced keeps its format. */
  #root({ pa, pages }: Of<"allocExact">): void {
    const { shadow, assumptions } = this.#case;
    const known = shadow.treeAt(pa);
    if (known !== undefined) this.#case.dropTree(known);
    const { format, vmid } = known ?? { format: assumptions.format, vmid: undefined };
    const rootBytes = pages * 2 ** format.pageShift;
    shadow.addTree({ root: pa, rootBytes, format, vmid, loose: [] }, true);
  }

  #rootGone(pa: number): void {
    const tree = this.#case.shadow.treeAt(pa);
    if (tree !== undefined) this.#case.dropTree(tree);
  }

  #maintain(event: Observed): void {
    const c = this.#case;
    const agent = c.agent;
    const tree = c.concerns(event);
    if (tree === null) return;
    if (event.kind === "dsbIsh" || event.kind === "dsbIshst") c.cleaner.countBarrier(agent);
    const page = 2 ** (tree?.format ?? c.assumptions.format).pageShift;
    for (const step of stepsOf(event, page, c.assumptions.impliedBarriers)) {
      c.cleaner.step(step, agent, tree, c.now);
    }
  }
}

function treeOf(table: WatchedTable): Tree {
  const { root, rootBytes, granule, lpa2 = false, hyp = false, vmid } = table;
  const format: Format = { pageShift: pageShift(granule), lpa2, hyp };
  return { root, rootBytes, format, vmid, loose: [] };
}
