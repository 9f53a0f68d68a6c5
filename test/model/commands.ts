/** Random operations, each a step on the page table and on the model. */
import fc from "fast-check";
import { expect } from "vitest";
import { Prot, type Stage2, WalkFlag } from "../../src/index.ts";
import type { Cell, PlainStage2, Span } from "./plain.ts";

/** Where the operations work: a window of blocks that crosses into another table a level up. */
export interface Window {
  readonly page: number;
  readonly block: number;
}

const WINDOW_BLOCKS = 3;
const MOST_OWNED_PAGES = 4;
/** The middle of a 40-bit space: the first entry of a table, for every granule. */
const MIDDLE = 2 ** 39;

type Command = fc.Command<PlainStage2, Stage2>;
type Real = (table: Stage2) => unknown;
type Plain = (model: PlainStage2) => unknown;

/** One operation, on the page table and on the model. */
class Step implements Command {
  readonly #name: string;
  readonly #real: Real;
  readonly #plain: Plain;

  constructor(
    name: string,
    real: (table: Stage2) => unknown,
    plain: (model: PlainStage2) => unknown,
  ) {
    this.#name = name;
    this.#real = real;
    this.#plain = plain;
  }

  check(): boolean {
    return true;
  }

  run(model: PlainStage2, table: Stage2): void {
    expect(this.#real(table)).toEqual(this.#plain(model));
    expect(listed(table)).toBe(expected(model));
  }

  toString(): string {
    return this.#name;
  }
}

/** What the page table holds, and what the model holds, in the same words, one line an entry. */
function listed(table: Stage2): string {
  const lines: string[] = [];
  for (const entry of table.entries(undefined, { tables: false })) {
    const { ipa, size } = entry;
    if (entry.kind === "leaf") {
      lines.push(`${ipa} ${size} ${entry.pa} ${entry.prot} ${entry.accessed}`);
    } else if (entry.kind === "annotation") lines.push(`${ipa} ${size} ${entry.owner}`);
    else lines.push(entry.kind);
  }
  return lines.join("\n");
}

function expected(model: PlainStage2): string {
  const line = ([ipa, cell]: [number, Cell]): string =>
    "pa" in cell
      ? `${ipa} ${cell.size} ${cell.pa} ${cell.prot} ${cell.young}`
      : `${ipa} ${cell.size} ${cell.owner}`;
  return [...model.cells]
    .sort(([a], [b]) => a - b)
    .map(line)
    .join("\n");
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const text = ({ ipa, size }: Span): string => `ipa ${hex(ipa)} size ${hex(size)}`;

/** Page numbers in the window: at the edges of blocks, or up to two pages off. */
function edges({ page, block }: Window): fc.Arbitrary<number> {
  const pages = (WINDOW_BLOCKS * block) / page;
  return fc
    .tuple(fc.nat(WINDOW_BLOCKS), fc.integer({ min: -2, max: 2 }))
    .map(([blocks, shift]) => (blocks * block) / page + shift)
    .map((at) => Math.min(pages - 1, Math.max(0, at)));
}

function spans(window: Window): fc.Arbitrary<Span> {
  const base = MIDDLE - window.block;
  return fc.tuple(edges(window), edges(window), fc.boolean()).map(([a, b, last]) => {
    const [from, to] = [Math.min(a, b), Math.max(a, b) + (a === b || last ? 1 : 0)];
    return { ipa: base + from * window.page, size: (to - from) * window.page };
  });
}

function points(window: Window): fc.Arbitrary<number> {
  const base = MIDDLE - window.block;
  return fc
    .tuple(edges(window), fc.nat(window.page - 1))
    .map(([page, inside]) => base + page * window.page + inside);
}

/** Rights with a memory type and software bits that may go with them. */
function protections(): fc.Arbitrary<number> {
  const software = fc.constantFrom(0, 0, Prot.SW0, Prot.SW3);
  const memory = fc.constantFrom(0, 0, 0, Prot.DEVICE, Prot.NORMAL_NC);
  return fc
    .tuple(fc.nat(Prot.RWX), software, memory)
    .map(([rights, bits, type]) => (type === 0 ? rights : (rights & ~Prot.X) | type) | bits);
}

function maps(window: Window): fc.Arbitrary<Command> {
  const shift = fc.constantFrom(0, 0, 0, window.page, window.block);
  return fc
    .tuple(spans(window), protections(), shift, fc.boolean(), fc.boolean(), fc.boolean())
    .map(([{ ipa, size }, prot, off, handleFault, shared, force]) => {
      const forcePages = force && size < window.block;
      const request = { ipa, size, pa: ipa + off, prot, forcePages };
      const flags = (handleFault ? WalkFlag.HANDLE_FAULT : 0) | (shared ? WalkFlag.SHARED : 0);
      return new Step(
        `map ${text(request)} pa +${hex(off)} prot ${prot} flags ${flags} pages ${forcePages}`,
        (table) => table.map({ ...request, flags }),
        (model) => model.map({ ...request, handleFault }),
      );
    });
}

/** What works on a whole range. */
function sweeps(window: Window): fc.Arbitrary<Command> {
  const kinds: [string, (t: Stage2, s: Span) => unknown, (m: PlainStage2, s: Span) => unknown][] = [
    ["unmap", (t, s) => t.unmap(s), (m, s) => m.unmap(s)],
    ["wrprotect", (t, s) => t.wrprotect(s), (m, s) => m.wrprotect(s)],
    ["flush", (t, s) => t.flush(s), () => undefined],
    ["age", (t, s) => t.testClearYoung(s), (m, s) => m.testClearYoung(s, true)],
    ["test", (t, s) => t.testClearYoung(s, { clear: false }), (m, s) => m.testClearYoung(s, false)],
  ];
  return fc.tuple(fc.constantFrom(...kinds), spans(window)).map(([[name, real, plain], span]) => {
    return new Step(
      `${name} ${text(span)}`,
      (t) => real(t, span),
      (m) => plain(m, span),
    );
  });
}

function owners(window: Window): fc.Arbitrary<Command> {
  return fc.tuple(spans(window), fc.nat(1)).map(([span, owner]) => {
    const size = Math.min(span.size, MOST_OWNED_PAGES * window.page);
    const request = { ipa: span.ipa, size, owner };
    return new Step(
      `setOwner ${text(request)} ${owner}`,
      (table) => table.setOwner(request),
      (model) => model.setOwner(request),
    );
  });
}

/** What works on the entry of one address. */
function pokes(window: Window): fc.Arbitrary<Command> {
  const page = { size: window.page };
  return fc.tuple(points(window), fc.nat(Prot.RWX), fc.nat(3)).map(([ipa, prot, kind]) => {
    const span = { ...page, ipa: ipa - (ipa % window.page) };
    const steps: [string, Real, Plain][] = [
      ["relaxPerms", (t) => t.relaxPerms({ ipa, prot }), (m) => m.relaxPerms({ ipa, prot })],
      ["mkyoung", (t) => t.mkyoung(ipa), (m) => m.mkyoung(ipa)],
      ["lookup", (t) => t.lookup(ipa), (m) => m.lookup(ipa)],
      ["split", (t) => t.split(span), (m) => (m.split(span), "ok")],
    ];
    const [name, real, plain] = steps[kind] as [string, Real, Plain];
    return new Step(`${name} ${hex(ipa)} ${kind === 0 ? prot : ""}`, real, plain);
  });
}

/** Sequences of operations in a window. */
export function commands(window: Window): fc.Arbitrary<Iterable<Command>> {
  const map = maps(window);
  const sweep = sweeps(window);
  const poke = pokes(window);
  const kinds = [map, map, map, sweep, sweep, owners(window), poke, poke];
  return fc.commands(kinds, { maxCommands: 40 });
}
