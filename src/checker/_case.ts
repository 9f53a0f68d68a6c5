/** What the rules share: the shadow of all page tables, what TLBs may hold, who does what, and what was found. */
import type { BbmLevel, Format } from "./_bits.ts";
import { Cleaner } from "./_cleaner.ts";
import { Holders } from "./_holders.ts";
import { Pending } from "./_pending.ts";
import { Residue, type Removal } from "./_residue.ts";
import { Shadow, type TablePage, type Tree } from "./_shadow.ts";
import { type Observed, Threads, agentOf } from "./_stream.ts";
import { type Agent, type Finding, Violation } from "./rules.ts";

/** What the checker takes for granted. */
export interface Assumptions {
  readonly bbm: BbmLevel;
  /** Format of page tables that nobody announced. */
  readonly format: Format;
  /** A `tlbi` event stands for the instruction and the barriers around it. */
  readonly impliedBarriers: boolean;
}

/** Residues that are remembered after they were cleaned, for what a late user of them says. */
const HISTORY = 1024;

export class Case {
  readonly assumptions: Assumptions;
  readonly shadow = new Shadow();
  readonly pending = new Pending();
  readonly cleaner = new Cleaner(this.pending);
  readonly holders = new Holders();
  readonly violations: Violation[] = [];
  /** Contiguous groups that were reported, by their first entry: when. */
  readonly groups = new Map<number, number>();
  /** Number of the event that is being observed, and whose it is. */
  now = -1;
  agent: Agent = "thread 0";
  readonly #threads = new Threads();
  #history: Residue[] = [];
  readonly #current = new Map<Agent, Tree>();

  constructor(assumptions: Assumptions) {
    this.assumptions = assumptions;
  }

  /** The next event is looked at. */
  next(event: Observed): void {
    this.now++;
    this.agent = agentOf(event, this.#threads.of(event));
  }

  report(finding: Omit<Finding, "event">): void {
    this.violations.push(new Violation({ ...finding, event: this.now }));
  }

  /** A translation is gone from memory, not from TLBs. */
  remove(removal: Removal): Residue {
    const residue = new Residue(removal);
    if (removal.soft) this.#dropOlder(residue);
    this.pending.add(residue);
    this.#history.push(residue);
    if (this.#history.length > 2 * HISTORY) this.#history = this.#history.slice(-HISTORY);
    return residue;
  }

  /** The latest removals first. */
  *history(): Generator<Residue, void, undefined> {
    for (let i = this.#history.length - 1; i >= 0; i--) yield this.#history[i] as Residue;
  }

  /** Whose event this is is at work on this page table. */
  works(tree: Tree | undefined): void {
    if (tree !== undefined) this.#current.set(this.agent, tree);
  }

  /** The page table that maintenance is about; `undefined`: any of them, `null`: none that is known. */
  concerns(event: Observed): Tree | undefined | null {
    const named = event.vmid === undefined ? undefined : this.withVmid(event.vmid);
    if (named !== undefined) return named;
    const possible = (tree: Tree): boolean => event.vmid === undefined || tree.vmid === undefined;
    const current = this.#current.get(this.agent);
    if (current !== undefined && possible(current)) return current;
    const [only, ...others] = [...this.shadow.trees].filter(possible);
    return others.length === 0 ? only : undefined;
  }

  /** The page table of a VMID; `undefined`: perhaps one whose VMID is unknown, `null`: none. */
  withVmid(vmid: number): Tree | undefined | null {
    let unknown = false;
    for (const tree of this.shadow.trees) {
      if (tree.vmid === vmid) return tree;
      unknown ||= tree.vmid === undefined;
    }
    return unknown ? undefined : null;
  }

  formatOf(page: TablePage | undefined): Format {
    return this.shadow.treeOf(page)?.format ?? this.assumptions.format;
  }

  /** A page table is gone, and its VMID with it. */
  dropTree(tree: Tree): void {
    for (const residue of this.pending.all())
      if (residue.tree === tree) this.pending.delete(residue);
    for (const [agent, current] of this.#current) if (current === tree) this.#current.delete(agent);
    this.#history = this.#history.filter((residue) => residue.tree !== tree);
    this.shadow.dropTree(tree);
  }

  /** Events are missing: what is known is no longer so. */
  forget(): void {
    this.shadow.forget();
    this.pending.clear();
    this.cleaner.forget();
    this.groups.clear();
    this.#history = [];
  }

  /** A vCPU that may hold a translation of these addresses that is older than now, else the given agent. */
  holder({ tree, span, at }: Pick<Residue, "tree" | "span" | "at">, otherwise: Agent): Agent {
    return this.holders.of(tree?.vmid, span, at) ?? otherwise;
  }

  /** One entry that loses rights again and again needs one invalidation. */
  #dropOlder({ slot, span }: Residue): void {
    for (const older of this.pending.over(span)) {
      if (older.soft && older.slot === slot) this.pending.delete(older);
    }
  }
}
