/**
 * Mutant schemata: all wrong versions of the core in one binary, of which the host chooses one at a time. A mutant names
 * a piece of a source file, which must occur there exactly once, and what stands in its place:
 *
 *   find     slots.compareExchange(slot, old, next) != old
 *   replace  (MUTANT ? blind(slot, next) : ORIGINAL)
 *
 * MUTANT becomes a call of the host, true while this mutant is chosen; ORIGINAL the piece found (or what other mutants
 * have made of it).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import asc from "assemblyscript/asc";
import { agentBuild } from "../../src/instrument/agents.ts";
import { kept, sourcesIn } from "../../src/instrument/kept.ts";

export interface Edit {
  /** Below assembly/: "visit/age.ts". */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant extends Edit {
  readonly name: string;
  /** What is wrong with it, as a sentence. */
  readonly what: string;
  /** Further places that change with it. */
  readonly also?: readonly Edit[];
}

/** A place in a file, and what one mutant or several make of it. */
interface Place {
  readonly start: number;
  readonly end: number;
  readonly changes: { readonly id: number; readonly replace: string }[];
  readonly inner: Place[];
}

const DECLARATION = `
// @ts-ignore: decorator
@external("env", "mutant") declare function mutant(id: i32): i32;
`;

/** The sources that differ, with every mutant in them: by file, below assembly/. The number of a mutant is its index. */
export function schemata(
  mutants: readonly Mutant[],
  source: (file: string) => string,
): Map<string, string> {
  const edits = mutants.flatMap((mutant, id) =>
    [mutant, ...(mutant.also ?? [])].map((edit) => ({ id, name: mutant.name, ...edit })),
  );
  const files = [...new Set(edits.map((edit) => edit.file))];
  return new Map(
    files.map((file) => {
      const text = source(file);
      const places: Place[] = [];
      for (const { id, name, find, replace } of edits.filter((edit) => edit.file === file)) {
        const start = text.indexOf(find);
        if (find === "" || start < 0 || text.indexOf(find, start + 1) >= 0)
          throw new Error(`mutant ${name}: "${find}" must occur once in assembly/${file}`);
        put(
          places,
          { start, end: start + find.length, changes: [{ id, replace }], inner: [] },
          name,
        );
      }
      return [file, render(text, 0, text.length, places) + DECLARATION];
    }),
  );
}

/** Puts a place among others: beside them, into one of them, or around some. */
function put(places: Place[], place: Place, name: string): void {
  for (const other of places) {
    if (other.start === place.start && other.end === place.end)
      return void other.changes.push(...place.changes);
    if (other.start <= place.start && place.end <= other.end) return put(other.inner, place, name);
  }
  const inside = places.filter((other) => place.start <= other.start && other.end <= place.end);
  const apart = places.filter((other) => other.end <= place.start || place.end <= other.start);
  if (inside.length + apart.length !== places.length)
    throw new Error(`mutant ${name} overlaps another one in part`);
  place.inner.push(...inside);
  places.splice(0, places.length, ...apart, place);
}

function render(text: string, from: number, to: number, places: readonly Place[]): string {
  let result = "";
  let at = from;
  for (const place of [...places].sort((a, b) => a.start - b.start)) {
    result += text.slice(at, place.start);
    let piece = render(text, place.start, place.end, place.inner);
    for (const { id, replace } of place.changes) {
      const original = piece;
      piece = replace.replace(/\b(MUTANT|ORIGINAL)\b/g, (word) =>
        word === "MUTANT" ? `(mutant(${id}) != 0)` : original,
      );
    }
    result += piece;
    at = place.end;
  }
  return result + text.slice(at, to);
}

/** The agent build with every mutant in it. `root`: where assembly/ and build/ are. */
export async function mutantBuild(
  mutants: readonly Mutant[],
  root: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const source = (file: string): string => readFileSync(join(root, "assembly", file), "utf8");
  const changed = schemata(mutants, source);
  const all = ["", "sync", "visit", "vcpu", "vm", "pkvm", "pkvm/el1", "pkvm/mappings"].flatMap(
    (folder) => sourcesIn(join(root, "assembly", folder)),
  );
  const ingredients = [...all, ...changed.values(), ...sourcesIn(join(root, "src/instrument"))];
  const make = async (): Promise<Uint8Array> => agentBuild(await compile(changed, root));
  return kept("mutants", join(root, "build"), ingredients, make);
}

const ARGUMENTS = [
  "assembly/index.ts",
  "--target release --noConverge --optimizeLevel 2 --outFile mutants.wasm",
]
  .join(" ")
  .split(" ");

async function compile(changed: ReadonlyMap<string, string>, root: string): Promise<Uint8Array> {
  const files = new Map<string, string | Uint8Array>();
  const messages: string[] = [];
  const stderr = { write: (text: string | Uint8Array) => void messages.push(String(text)) };
  const { error } = await asc.main([...ARGUMENTS, "--baseDir", root], {
    stderr,
    readFile: (file, base) => {
      const patched = changed.get(file.replace(/^assembly\//, ""));
      if (file.startsWith("assembly/") && patched !== undefined) return patched;
      try {
        return readFileSync(join(base, file), "utf8");
      } catch {
        return null; // the compiler looks in several places
      }
    },
    writeFile: (file, contents) => void files.set(file, contents),
    listFiles: () => [],
  });
  const binary = files.get("mutants.wasm");
  if (error !== null || !(binary instanceof Uint8Array))
    throw new Error(`the mutants do not compile: ${messages.join("")}`);
  return binary;
}
