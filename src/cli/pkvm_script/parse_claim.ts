/** `expect`: what should hold between two calls. */
import { type Names, readExpression } from "./expression.ts";
import type { Claim, Owner, StateName } from "./syntax.ts";
import type { Line } from "./words.ts";

/** States as the reference names them; what is lent and borrowed also in short. */
const STATES: ReadonlyMap<string, StateName> = new Map([
  ["OWNED", "OWNED"],
  ["SHARED_OWNED", "SHARED_OWNED"],
  ["SO", "SHARED_OWNED"],
  ["SHARED_BORROWED", "SHARED_BORROWED"],
  ["SB", "SHARED_BORROWED"],
  ["NOPAGE", "NOPAGE"],
]);
const GUESTS_STATES = new Map([...STATES, ["POISON", "POISON"] as const]);
const OWNERS: readonly Owner[] = ["host", "hyp", "nobody"];

type Reader = (line: Line, names: Names) => Claim;

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  [
    "host",
    (line, names) => ({ about: "host", page: pfn(line, names), state: state(line, STATES) }),
  ],
  ["hyp", (line, names) => ({ about: "hyp", page: pfn(line, names), state: state(line, STATES) })],
  ["guest", readGuest],
  ["count", (line, names) => ({ about: "count", ...readCount(line, names) })],
  ["references", (line, names) => ({ about: "references", ...readCount(line, names) })],
  [
    "owner",
    (line, names) => ({ about: "owner", page: pfn(line, names), owner: owner(line, names) }),
  ],
]);

/** Claims with commas between them, up to the end of the line. */
export function readClaims(line: Line, names: Names): Claim[] {
  const claims = [readClaim(line, names)];
  while (line.takeIf(",")) claims.push(readClaim(line, names));
  return claims;
}

function readClaim(line: Line, names: Names): Claim {
  const word = line.peek();
  const reader = word.kind === "word" ? READERS.get(word.text) : undefined;
  if (reader === undefined) throw line.expected([...READERS.keys()].join(", "));
  line.take();
  return reader(line, names);
}

function readGuest(line: Line, names: Names): Claim {
  const handle = readExpression(line, names, "the handle of a VM");
  const gfn = readExpression(line, names, "a gfn");
  return { about: "guest", handle, gfn, state: state(line, GUESTS_STATES) };
}

function readCount(line: Line, names: Names) {
  return { page: pfn(line, names), value: readExpression(line, names, "a number") };
}

function pfn(line: Line, names: Names) {
  return readExpression(line, names, "a pfn");
}

function state(line: Line, states: ReadonlyMap<string, StateName>): StateName {
  const word = line.peek();
  const found = word.kind === "word" ? states.get(word.text) : undefined;
  if (found === undefined) throw line.expected([...new Set(states.values())].join(", "));
  line.take();
  return found;
}

function owner(line: Line, names: Names): Owner {
  const word = line.peek();
  if (word.kind !== "word") return readExpression(line, names, "host, hyp, nobody or a handle");
  const found = OWNERS.find((name) => name === word.text);
  if (found === undefined) throw line.expected("host, hyp, nobody or a handle");
  line.take();
  return found;
}
