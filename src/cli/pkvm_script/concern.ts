/** What a call is about: pages of physical memory, and pages of guests. */
import { type OwnershipMap, runAt } from "../ownership/map.ts";
import type { Call } from "./calls.ts";
import type { Span } from "./changes.ts";
import type { GuestChange, GuestView } from "./document.ts";
import type { ScriptMachine } from "./machine.ts";

export interface Concern {
  readonly pages: readonly Span[];
  readonly guests: readonly GuestPlace[];
}

interface GuestPlace {
  readonly handle: number;
  readonly gfn: number;
  /** The call does not name it: worth a word only if it changed. */
  readonly unnamed?: boolean;
}

/** More pages than any block has are no range that a call could take. */
const MOST_PAGES = 2n ** 20n;
/** Beyond it numbers are not exact, and no machine has memory. */
const MOST_FRAME = 2n ** 40n;

/** What the arguments name, as far as there is such memory. */
export function concernOf(
  machine: ScriptMachine,
  map: OwnershipMap,
  call: Call,
  words: readonly bigint[],
): Concern {
  const word = (kind: string): bigint | undefined =>
    words[call.arguments.findIndex((argument) => argument.kind === kind)];
  const pages = wholePages(word("n"));
  const named = guestPlaces(machine, word("handle"), word("gfn"));
  const frames = call.arguments
    .flatMap(({ kind }, i) => (kind === "pfn" ? [words[i] ?? MOST_FRAME] : []))
    .filter((frame) => frame < MOST_FRAME);
  const spans = frames.map((frame) => spanAt(Number(frame), pages, machine.pageSize));
  const all = [...spans, ...behind(machine, named, pages)];
  const guests = named.length > 0 ? named : frames.flatMap((frame) => usersOf(machine, map, frame));
  return { pages: all.flatMap((span) => inMemory(map, span)), guests };
}

/** Where guests have a page. */
function usersOf({ pageSize }: ScriptMachine, map: OwnershipMap, frame: bigint): GuestPlace[] {
  const pa = Number(frame) * pageSize;
  const run = runAt(map, pa);
  return (run?.guests ?? []).flatMap(({ handle, gfn }) =>
    gfn === undefined || run === undefined
      ? []
      : [{ handle, gfn: gfn + (pa - run.pa) / pageSize, unnamed: true }],
  );
}

function wholePages(n: bigint | undefined): number {
  return n === undefined || n === 0n || n > MOST_PAGES ? 1 : Number(n);
}

function guestPlaces(
  { loaded }: ScriptMachine,
  handle: bigint | undefined,
  gfn: bigint | undefined,
): GuestPlace[] {
  const whose = handle === undefined ? loaded?.handle : Number(handle);
  if (gfn === undefined || gfn >= MOST_FRAME || whose === undefined) return [];
  return [{ handle: whose, gfn: Number(gfn) }];
}

/** The pages that a guest has where the call is about it. */
function behind(machine: ScriptMachine, guests: readonly GuestPlace[], pages: number): Span[] {
  return guests.flatMap(({ handle, gfn }) => {
    const leaf = machine.guest(handle, gfn);
    if (leaf?.pa === undefined || leaf.size === undefined) return [];
    const inside = (gfn * machine.pageSize) % leaf.size;
    return [spanAt((leaf.pa + inside) / machine.pageSize, pages, machine.pageSize)];
  });
}

function spanAt(frame: number, pages: number, pageSize: number): Span {
  return { from: frame * pageSize, to: (frame + pages) * pageSize };
}

/** The parts of a span that are memory. */
function inMemory({ regions }: OwnershipMap, { from, to }: Span): Span[] {
  return regions
    .map(({ pa, size }) => ({ from: Math.max(from, pa), to: Math.min(to, pa + size) }))
    .filter((span) => span.from < span.to);
}

/** What a guest had and has. None if it is no guest, or no address. */
export function guestChange(
  { handle, gfn, unnamed }: GuestPlace,
  before: GuestView | undefined,
  after: GuestView | undefined,
): GuestChange[] {
  if (before === undefined && after === undefined) return [];
  if (unnamed === true && JSON.stringify(before) === JSON.stringify(after)) return [];
  const nothing = { state: "NOPAGE" } as const;
  return [{ handle, gfn, before: before ?? nothing, after: after ?? nothing }];
}
