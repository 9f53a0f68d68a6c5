/** The machine that a script runs on: directives, and what holds without them. */
import { readNumber, readSmall } from "./expression.ts";
import type { MachineRequest } from "./syntax.ts";
import type { Line } from "./words.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const GENERATIONS = ["seed", "default", "newest"] as const;
const GRANULES = ["4K", "16K", "64K"] as const;
const SWITCHES: ReadonlyMap<string, boolean> = new Map([
  ["on", true],
  ["off", false],
]);

/** Options over the generation, as scripts write them; the library's are without the underscores. */
const OPTIONS = [
  "mappings_lock",
  "blocks",
  "gfn_rounding",
  "eperm_is_again",
  "error_is_young",
  "map_shared_hyp",
  "ffa_unchecked",
  "protected_guests",
  "inject_host_aborts",
];

const DEFAULT_MEMORY = { pa: 0x8000_0000, size: 2 ** 26, noMap: false };
const LARGEST = 2 ** 52;

/** Collects the directives of a script. */
export class MachineReader {
  readonly #memory: { pa: number; size: number; noMap: boolean }[] = [];
  readonly #options: Record<string, boolean> = {};
  readonly #rest: Mutable<Omit<MachineRequest, "memory" | "options">> = {
    generation: "default",
    granule: "4K",
    paBits: 40,
  };
  #line: Line | undefined;

  readonly #readers: ReadonlyMap<string, (line: Line) => void> = new Map([
    ["memory", (line: Line) => void this.#memory.push(readRegion(line))],
    ["generation", (line) => void (this.#rest.generation = choice(line, GENERATIONS))],
    ["granule", (line) => void (this.#rest.granule = choice(line, GRANULES))],
    ["pa_bits", (line) => void (this.#rest.paBits = readSmall(line, "PARange in bits", 32, 52))],
    ["option", (line) => this.#readOption(line)],
  ]);

  /** Whether the line is about the machine. */
  takes(line: Line): boolean {
    return this.#readers.has(line.peek().text);
  }

  read(line: Line): void {
    this.#line = line;
    const reader = this.#readers.get(line.take().text);
    reader?.(line);
  }

  /** What was asked for, and the last line that did. */
  finish(): { request: MachineRequest; line: Line | undefined } {
    const memory = this.#memory.length === 0 ? [DEFAULT_MEMORY] : this.#memory;
    return { request: { ...this.#rest, memory, options: this.#options }, line: this.#line };
  }

  #readOption(line: Line): void {
    const name = choice(line, OPTIONS);
    const word = line.peek();
    const value = SWITCHES.get(word.text);
    if (value === undefined) throw line.expected("on or off");
    line.take();
    this.#options[camel(name)] = value;
  }
}

/** `memory <address> <bytes> [no_map]`. */
function readRegion(line: Line): { pa: number; size: number; noMap: boolean } {
  const pa = bounded(line, "the address of memory");
  const size = bounded(line, "the size of memory");
  return { pa, size, noMap: line.takeIf("no_map") };
}

function bounded(line: Line, what: string): number {
  const word = line.peek();
  const value = readNumber(line, what);
  if (value <= LARGEST) return Number(value);
  throw line.expected(`${what} up to 2^52`, word);
}

function choice<T extends string>(line: Line, choices: readonly T[]): T {
  const word = line.peek();
  const found = choices.find((name) => name === word.text);
  if (found === undefined) throw line.expected(choices.join(", "));
  line.take();
  return found;
}

function camel(name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}
