/** Rules about what vCPUs do: use of what is gone, conflicts in a TLB, walks through freed tables and uneven groups. */
import { agrees, groupSize, isContiguous, isValid, sameButHardware } from "./_bits.ts";
import type { Case } from "./_case.ts";
import type { Residue } from "./_residue.ts";
import { type TablePage, type Written, valueIn } from "./_shadow.ts";
import type { Of } from "./_stream.ts";
import type { Agent } from "./rules.ts";

const ENTRY_BYTES = 8;

/**
 * A vCPU used a translation that memory no longer gives. It may until the invalidation of the old one is complete; not
 * after, nor when the operation ended without one. What a guest does to its own stage 1 is not judged.
 */
export function onStale(c: Case, event: Of<"tlbStale">): void {
  const residue = origin(c, event);
  if (residue === undefined || residue.reported) return;
  const user = c.agent;
  const [slot, address] = [residue.slot, residue.span[0]];
  if (residue.cleaned !== undefined) {
    residue.reported = true;
    const what = "a translation is used after its TLB invalidation was complete";
    const agents = [residue.cleaned.by, user] as const;
    c.report({ rule: "use-after-tlbi", what, agents, slot, address });
  } else if (isAbandoned(c, residue)) {
    residue.reported = true;
    const what =
      "a translation is used after the operation that took it away ended without a TLB invalidation";
    c.report({ rule: "missing-tlbi", what, agents: [residue.by, user], slot, address });
  }
}

/** The removal that a stale use goes back to: the latest one since the TLB took the entry in. */
function origin(c: Case, { cpu, entry, address, pa }: Of<"tlbStale">): Residue | undefined {
  const fill = c.holders.last(cpu, entry, address);
  const ipa = fill?.ipa ?? (entry === "stage2" || entry === "walkStage2" ? address : undefined);
  for (const residue of c.history()) {
    const { output, at, tree } = residue;
    if (pa < output[0] || pa >= output[1]) continue;
    if (ipa !== undefined && !residue.overlaps([ipa, ipa + 1])) continue;
    if (fill !== undefined && (fill.at > at || (tree?.vmid ?? fill.vmid) !== fill.vmid)) continue;
    return residue;
  }
  return undefined;
}

/** Whether who took the entry away went on to its last barrier with no invalidation. The first one may belong to it. */
function isAbandoned(c: Case, { by, barriers, soft, started, tree }: Residue): boolean {
  if (soft || started) return false;
  const needed = c.assumptions.impliedBarriers && tree?.format.hyp !== true ? 1 : 2;
  return c.cleaner.barriers(by) - barriers >= needed;
}

/** Two entries of a TLB match one address. */
export function onConflict(c: Case, event: Of<"tlbConflict">): void {
  const user = c.agent;
  const written = writerOf(c, event.other) ?? writerOf(c, event.pa);
  c.report({
    rule: "tlb-conflict",
    what: "two entries of a TLB match one address",
    agents: [written?.by ?? user, user],
    slot: written?.slot,
    address: event.address,
  });
}

/** Who took a translation to this output address away, else who wrote the one that is there. */
function writerOf(c: Case, pa: number): { readonly by: Agent; readonly slot: number } | undefined {
  for (const residue of c.history()) {
    const [from, to] = residue.output;
    if (!residue.isTable && pa >= from && pa < to) return residue;
  }
  const leaf = c.shadow.leafTo(pa);
  return leaf && { by: leaf.written.by, slot: leaf.slot };
}

/** A vCPU read a descriptor. */
export function onRead(c: Case, event: Of<"hwRead">): void {
  if (event.stage !== 2) return;
  const page = c.shadow.pageOf(event.slot);
  if (page === undefined) return;
  if (page.freed !== undefined) {
    const what = "a walk reads a table page that was freed";
    const agents = [page.freed.by, c.agent] as const;
    c.report({ rule: "early-reuse", what, agents, slot: event.slot, address: event.address });
  }
  checkGroup(c, event, page);
}

/** Hardware set an access flag or dirty state. In a log of many threads this may come late: then it changes nothing. */
export function onUpdate(c: Case, { stage, slot, pte }: Of<"hwUpdate">): void {
  const page = c.shadow.pageOf(slot);
  const written = page?.slots.get(slot);
  if (stage !== 2 || page === undefined || written === undefined) return;
  if (sameButHardware(written.value, pte)) page.slots.set(slot, { ...written, value: pte });
}

/** A walk meets an entry with the contiguous hint: its whole group must agree. Said once until a member changes. */
function checkGroup(c: Case, event: Of<"hwRead">, page: TablePage): void {
  const { slot, level, pte } = event;
  if (level === undefined || !isContiguous(pte) || !isValid(pte, level)) return;
  const format = c.formatOf(page);
  const size = groupSize(format.pageShift, level);
  if (size === 0) return;
  const base = slot - (slot % (size * ENTRY_BYTES));
  const first = valueIn(page, base);
  for (let i = 0; i < size && first !== undefined; i++) {
    const member = base + i * ENTRY_BYTES;
    const value = valueIn(page, member);
    if (value === undefined || agrees(first, value, i, level, format)) continue;
    reportGroup(c, c.agent, base, page.slots.get(member) ?? page.slots.get(base), event.address);
    return;
  }
}

/** The core saw a member of a group that disagrees. */
export function onContiguous(c: Case, event: Of<"contiguous">): void {
  const page = event.stage === 2 ? c.shadow.pageOf(event.slot) : undefined;
  const size = groupSize(c.formatOf(page).pageShift, event.level ?? 3) || 1;
  const base = event.slot - (event.slot % (size * ENTRY_BYTES));
  reportGroup(c, c.agent, base, page?.slots.get(event.slot), undefined);
}

function reportGroup(
  c: Case,
  user: Agent,
  base: number,
  written: Written | undefined,
  address: number | undefined,
): void {
  if ((c.groups.get(base) ?? -1) >= (written?.at ?? 0)) return;
  c.groups.set(base, c.now);
  const what = "entries of one contiguous group disagree";
  const agents = [written?.by ?? user, user] as const;
  c.report({ rule: "contiguous-group", what, agents, slot: base, address });
}
