/** Rules about stores to entries: break-before-make, what must be complete before a make, the locked marker. */
import {
  LOCKED,
  entrySize,
  isTable,
  isValid,
  needsBreak,
  outputAddress,
  tableAddress,
  takesRights,
} from "./_bits.ts";
import type { Case } from "./_case.ts";
import { reportLoose } from "./_page_rules.ts";
import { type Interval, type Residue, sameTree } from "./_residue.ts";
import { type TablePage, type Tree, type Written, valueIn } from "./_shadow.ts";
import type { Of } from "./_stream.ts";
import type { Agent } from "./rules.ts";

/** A store, and what it replaces. */
interface Store {
  readonly page: TablePage;
  readonly tree: Tree | undefined;
  readonly slot: number;
  readonly level: number | undefined;
  readonly span: Interval | undefined;
  readonly old: bigint;
  readonly next: bigint;
  readonly by: Agent;
  readonly before: Written | undefined;
}

/** An entry was stored: in a tree that hardware walks (`write`), or in a table that nobody sees yet. */
export function onWrite(c: Case, event: Of<"write"> | Of<"writeUnlinked">): void {
  const { slot, level, pte: next } = event;
  const page = c.shadow.pageOf(slot) ?? met(c, slot);
  const tree = c.shadow.treeOf(page);
  const by = c.agent;
  const address = event.kind === "write" ? event.ipa : undefined;
  c.works(tree);
  if (tree !== undefined) reportLoose(c, tree);
  const old = valueIn(page, slot);
  const before = page.slots.get(slot);
  const span = spanOf(c, page, address, level);
  if (page.freed !== undefined) reportFreed(c, page, slot, by);
  let residue: Residue | undefined;
  if (old !== undefined) {
    const store = { page, tree, slot, level, span, old, next, by, before };
    if (event.kind === "write") residue = judge(c, store);
    unlink(c, store, residue);
  }
  link(c, page, slot, level, next);
  page.slots.set(slot, { value: next, level, address, by, at: c.now });
}

/** A page that the events did not tell of before: what else is in it is unknown. */
function met(c: Case, slot: number): TablePage {
  return c.shadow.addPage(slot - (slot % 2 ** c.assumptions.format.pageShift), false);
}

function spanOf(
  c: Case,
  page: TablePage,
  address: number | undefined,
  level: number | undefined,
): Interval | undefined {
  if (address === undefined || level === undefined) return undefined;
  return [address, address + entrySize(c.formatOf(page).pageShift, level)];
}

/** Holds a store against the rules; what it leaves in TLBs. */
function judge(c: Case, store: Store): Residue | undefined {
  const { old, next, level, before, by, slot, span } = store;
  if (old === LOCKED && before !== undefined && before.by !== by) {
    const what =
      next === LOCKED
        ? "marks an entry that another agent holds"
        : "overwrites the marker of another agent";
    const agents = [by, before.by] as const;
    c.report({ rule: "locked-marker", what, agents, slot, address: span?.[0] });
  }
  if (isValid(next, level) && !isValid(old, level)) checkMake(c, store);
  if (!isValid(old, level) || old === next) return undefined;
  if (!isValid(next, level)) return leave(c, store, false);
  const reason = needsBreak(old, next, level, c.formatOf(store.page), c.assumptions.bbm);
  if (reason === undefined)
    return takesRights(old, next) && !isTable(old, level) ? leave(c, store, true) : undefined;
  const agents = [by, holderOf(c, store)] as const;
  c.report({
    rule: "break-before-make",
    what: `${reason} under a valid entry`,
    agents,
    slot,
    address: span?.[0],
  });
  return leave(c, store, true);
}

/** A new valid entry: nothing may be left of what translated its addresses before. */
function checkMake(c: Case, { span, tree, by, slot }: Store): void {
  if (span === undefined) return;
  for (const residue of c.pending.over(span)) {
    if (residue.soft || residue.reported || !sameTree(residue.tree, tree)) continue;
    residue.reported = true;
    const missing = residue.started
      ? "before the TLB invalidation of the old one is complete"
      : "with no TLB invalidation of the old one";
    const agents = [by, c.holder(residue, residue.by)] as const;
    const what = `a valid entry is written ${missing}`;
    c.report({ rule: "early-make", what, agents, slot, address: residue.span[0] });
    return;
  }
}

/** What the old value leaves behind in TLBs. */
function leave(c: Case, store: Store, soft: boolean): Residue | undefined {
  const { old, level, span, slot, by, tree, page } = store;
  if (span === undefined || level === undefined) return undefined;
  const format = c.formatOf(page);
  const table = isTable(old, level);
  const first = table ? tableAddress(old, format) : outputAddress(old, format, level);
  const size = table ? 2 ** format.pageShift : span[1] - span[0];
  const wide = table && c.shadow.hasLeaves(c.shadow.pageAt(first), format);
  return c.remove({
    tree,
    slot,
    level,
    span,
    output: [first, first + size],
    isTable: table,
    wide,
    soft,
    by,
    at: c.now,
    barriers: c.cleaner.barriers(by),
  });
}

/** The table that the entry pointed at is no longer reached through it. */
function unlink(
  c: Case,
  { old, next, level, slot, page }: Store,
  residue: Residue | undefined,
): void {
  if (!isTable(old, level) || residue === undefined) return;
  const format = c.formatOf(page);
  if (isTable(next, level) && tableAddress(next, format) === tableAddress(old, format)) return;
  const child = c.shadow.pageAt(tableAddress(old, format));
  if (child !== undefined && child.parent === slot) child.unlinked = residue;
}

function link(
  c: Case,
  page: TablePage,
  slot: number,
  level: number | undefined,
  next: bigint,
): void {
  if (!isTable(next, level)) return;
  const pa = tableAddress(next, c.formatOf(page));
  const child = c.shadow.pageAt(pa) ?? c.shadow.addPage(pa, false);
  child.parent = slot;
  child.unlinked = undefined;
}

function reportFreed(c: Case, { freed }: TablePage, slot: number, by: Agent): void {
  const agents = [by, freed?.by ?? by] as const;
  const what = "an entry is stored in a table page that was freed";
  c.report({ rule: "early-reuse", what, agents, slot, address: undefined });
}

/** Who may use the old value of an entry: a vCPU that took it in, else who wrote it. */
function holderOf(c: Case, { tree, span, by, before }: Store): Agent {
  const writer = before?.by ?? by;
  return span === undefined ? writer : c.holder({ tree, span, at: c.now }, writer);
}
