/** Rules about table pages: none is freed or used anew while a walk can come to it. */
import type { Case } from "./_case.ts";
import type { Tree } from "./_shadow.ts";
import type { Of } from "./_stream.ts";

/** A page was taken for a table, and is all zeroes. */
export function onAlloc(c: Case, event: Of<"alloc">): void {
  const before = c.shadow.pageAt(event.pa);
  if (before !== undefined && before.freed === undefined && c.shadow.isLinked(before)) {
    const agent = c.agent;
    const what = "a table page is handed out while an entry points at it";
    const agents = [agent, agent] as const;
    c.report({ rule: "early-reuse", what, agents, slot: event.pa, address: undefined });
  }
  c.shadow.addPage(event.pa, true);
}

/**
 * A table page was given back. One that is still linked is either freed too early or goes with all of its page table: the
 * next event of that table tells.
 */
export function onFree(c: Case, event: Of<"free">): void {
  const page = c.shadow.pageAt(event.pa);
  if (page === undefined) return;
  if (page.rootOf !== undefined) {
    c.dropTree(page.rootOf); // the root of a hypervisor's table goes like any page
    return;
  }
  const by = c.agent;
  const residue = c.shadow.unlinkedAbove(page);
  if (residue !== undefined) {
    if (residue.cleaned === undefined && !residue.reported) {
      residue.reported = true;
      const how = residue.started
        ? "before the TLB invalidation of the entry above it is complete"
        : "with no TLB invalidation of the entry above it";
      const agents = [by, c.holder(residue, residue.by)] as const;
      const what = `a table page is freed ${how}`;
      c.report({ rule: "early-reuse", what, agents, slot: page.pa, address: residue.span[0] });
    }
  } else if (c.shadow.isLinked(page)) {
    c.shadow.treeOf(page)?.loose.push({ page, by, at: c.now });
  }
  page.freed = { by, at: c.now };
  page.slots.clear();
}

/** The page table lives on: what was freed while linked was freed too early. */
export function reportLoose(c: Case, tree: Tree): void {
  for (const { page, by } of tree.loose.splice(0)) {
    const writer =
      page.parent === undefined ? undefined : c.shadow.pageOf(page.parent)?.slots.get(page.parent);
    const what = "a table page was freed while an entry pointed at it";
    const agents = [by, writer?.by ?? by] as const;
    c.report({ rule: "early-reuse", what, agents, slot: page.pa, address: writer?.address });
  }
}
