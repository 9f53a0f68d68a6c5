/** Changes in words: `host OWNED → SHARED_OWNED`. What stayed is named once. */
import { hex } from "../ownership/words.ts";
import type { GuestChange, GuestView, PageChange, PageView } from "./document.ts";

/** One thing that can be said of a page, before and after. */
export interface Fact {
  readonly what: string;
  readonly before: string;
  readonly after: string;
}

/** Host and hypervisor always; counts, references and guests where there are any. */
export function pageFacts({ before, after }: PageChange): Fact[] {
  const facts: (Fact & { always?: boolean })[] = [
    { what: "host", before: before.host, after: after.host, always: true },
    { what: "hyp", before: before.hyp, after: after.hyp, always: true },
    ...handlesOf(before, after).map((handle) => ({
      what: `guest ${hex(handle)}`,
      before: shareWords(before, handle),
      after: shareWords(after, handle),
    })),
    { what: "count", before: String(before.count), after: String(after.count) },
    { what: "references", before: String(before.references), after: String(after.references) },
  ];
  return facts.filter(
    (fact) =>
      fact.always === true || fact.before !== fact.after || !/^(0|NOPAGE)$/.test(fact.after),
  );
}

export function factWords({ what, before, after }: Fact): string {
  return before === after ? `${what} ${after}` : `${what} ${before} → ${after}`;
}

/** What a guest has at a gfn, before and after. */
export function guestWordsOf({ before, after }: GuestChange): { before: string; after: string } {
  return { before: viewWords(before), after: viewWords(after) };
}

function viewWords({ state, rights, accessed }: GuestView): string {
  if (rights === undefined) return state;
  return `${state} ${rights}${accessed === false ? " old" : ""}`;
}

function handlesOf(...views: readonly PageView[]): number[] {
  const handles = views.flatMap(({ guests }) => guests.map(({ handle }) => handle));
  return [...new Set(handles)].sort((a, b) => a - b);
}

function shareWords({ guests }: PageView, handle: number): string {
  const shares = guests.filter((share) => share.handle === handle);
  if (shares.length === 0) return "NOPAGE";
  return shares
    .map(({ state, leaves }) => (leaves > 1 ? `${state} ×${leaves}` : state))
    .join(" and ");
}
