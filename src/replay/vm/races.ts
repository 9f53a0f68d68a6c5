/**
 * Calls of two vCPUs on the same entries: where each stands among the others, and which of them met an entry that the
 * other was changing.
 *
 * Only calls that hold the lock shared overlap. Those that may have met form a group. They are made one after the other:
 *
 *   committed something       at its last commit
 *   met the marker            right behind the call that had placed it; the marker is in the entry meanwhile
 *   lost its exchange         right behind the commit that it lost to, likewise
 *   had nothing to change     at its last visit
 */
import { LOCKED } from "../accesses.ts";
import { attributeExchange } from "../attributes.ts";
import { type Call, type Node, inside, isVisit } from "../calls.ts";
import type { TraceRecord } from "../record.ts";
import type { Threads } from "../threads.ts";

/** Where a call is made. */
export interface Place {
  readonly line: number;
  /** Orders those of one line. */
  readonly behind: number;
  /** An entry that somebody else was changing. */
  readonly marked?: { readonly address: number; readonly level: number };
}

interface Change {
  readonly line: number;
  readonly call: Call;
}

/** The place of every call in `calls` (in line order). */
export function placesOf(calls: readonly Call[], threads: Threads): Map<Call, Place> {
  const places = new Map<Call, Place>();
  for (const group of groupsOf(calls, threads)) {
    if (group.length > 1) new Group(group, places).place();
    else for (const call of group) places.set(call, { line: call.line, behind: 0 });
  }
  return places;
}

/** Calls that may have met, together; every other one alone. */
function* groupsOf(calls: readonly Call[], threads: Threads): Generator<Call[]> {
  let group: Call[] = [];
  let end = -1;
  for (const call of calls) {
    const last = Math.max(call.lastLine, threads.lastBefore(Number(call.record.t2)));
    if (call.line > end || call.table !== group[0]?.table) {
      yield group;
      [group, end] = [[], -1];
    }
    group.push(call);
    end = Math.max(end, last);
  }
  yield group;
}

class Group {
  readonly #calls: readonly Call[];
  readonly #places: Map<Call, Place>;
  /** Stores of markers, and of final values, by the entry. */
  readonly #markers = new Map<string, Change[]>();
  readonly #commits = new Map<string, Change[]>();
  /** Last commit of each call. */
  readonly #last = new Map<Call, number>();

  constructor(calls: readonly Call[], places: Map<Call, Place>) {
    this.#calls = calls;
    this.#places = places;
    for (const call of calls) for (const node of inside(call)) this.#read(call, node);
  }

  place(): void {
    for (const call of this.#calls) this.#places.set(call, this.#placeOf(call));
  }

  #read(call: Call, node: Node): void {
    const { record, line } = node;
    if (record.op === "break_pte" && record.ret === 1) add(this.#markers, record, { line, call });
    const exchange = attributeExchange(node, call.record);
    if (record.op !== "make_pte" && exchange?.won !== true) return;
    add(this.#commits, record, { line, call });
    this.#last.set(call, Math.max(line, this.#last.get(call) ?? 0));
  }

  #placeOf(call: Call): Place {
    const committed = this.#last.get(call);
    if (committed !== undefined) return { line: committed, behind: 0 };
    const visit = [...inside(call)].filter(isVisit).at(-1);
    if (visit === undefined) return { line: call.line, behind: 0 };
    const { line, record } = visit;
    if (record.old === LOCKED) return this.#behind(call, visit, this.#marking(record, line));
    if (lost(visit, call)) return this.#behind(call, visit, this.#nearest(call, record, line));
    return { line, behind: 0 };
  }

  /** The call that had placed the marker. */
  #marking({ pte_pa }: TraceRecord, line: number): Change | undefined {
    return this.#markers.get(pte_pa)?.findLast((change) => change.line < line);
  }

  /** The commit of another call that the exchange was lost to. */
  #nearest(call: Call, { pte_pa }: TraceRecord, line: number): Change | undefined {
    const others = this.#commits.get(pte_pa)?.filter((change) => change.call !== call) ?? [];
    const away = (change: Change): number => Math.abs(change.line - line);
    return others.reduce<Change | undefined>(
      (best, change) => (best && away(best) <= away(change) ? best : change),
      undefined,
    );
  }

  #behind(call: Call, visit: Node, other: Change | undefined): Place {
    const { addr, level, old } = visit.record;
    const winner = other && (this.#last.get(other.call) ?? other.line);
    const earliest = old === LOCKED ? 0 : visit.line;
    const line = Math.max(winner ?? visit.line, earliest);
    return { line, behind: call.line, marked: { address: Number(addr), level } };
  }
}

function add(to: Map<string, Change[]>, { pte_pa }: TraceRecord, change: Change): void {
  const changes = to.get(pte_pa);
  if (changes === undefined) to.set(pte_pa, [change]);
  else changes.push(change);
}

/** Whether somebody else had changed the entry since the visit read it. */
function lost(visit: Node, call: Call): boolean {
  if (attributeExchange(visit, call.record)?.won === false) return true;
  return visit.inner.some(({ record }) => record.op === "break_pte" && record.ret === 0);
}
