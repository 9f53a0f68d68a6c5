/** Programs of guests in threads. Each runs to its end and returns what it counted. */
import { Chance } from "../../../../src/explorer/random.ts";
import { countsOf, type Counts, difference } from "../slot/counts.ts";
import { load, touch } from "../slot/access.ts";
import { type DirtyArgs, type DirtyResult, dirtyLog } from "./dirty.ts";
import type { ThreadGuest } from "./guest.ts";

/** Accesses to pages [first, end), each `step`-th, `passes` times; with a seed in a random order. */
export interface TouchArgs {
  readonly first: number;
  readonly end: number;
  readonly step?: number;
  readonly access: number;
  readonly passes?: number;
  readonly seed?: number;
}

export interface TouchResult {
  readonly counts: Counts;
  /** Access flags that hardware set. */
  readonly updates: number;
  readonly conflicts: number;
}

/** Loads of pages, which a hook of this thread brings where they are missing. */
export interface DemandArgs {
  readonly first: number;
  readonly end: number;
  readonly seed: number;
  /** Pages that one paging unit has. */
  readonly unit: number;
  readonly mode: "missing" | "minor";
  /** Every byte of a page that is brought. */
  readonly byte: number;
}

export interface DemandResult {
  /** How often this thread's hook was asked. */
  readonly asked: number;
  /** Loads that gave something else. */
  readonly wrong: number;
  readonly retries: number;
}

const PROGRAMS = { touch: touchPages, demand, dirtyLog };

/** Programs by name. */
export interface Programs {
  touch(args: TouchArgs): TouchResult;
  demand(args: DemandArgs): DemandResult;
  dirtyLog(args: DirtyArgs): DirtyResult;
}

export function runProgram(guest: ThreadGuest, name: string, args: unknown): unknown {
  const program = PROGRAMS[name as keyof typeof PROGRAMS] as (
    guest: ThreadGuest,
    args: unknown,
  ) => unknown;
  guest.add("RUNNING", 1);
  try {
    return program(guest, args);
  } finally {
    guest.add("RUNNING", -1);
  }
}

function touchPages(guest: ThreadGuest, args: TouchArgs): TouchResult {
  const { first, end, step = 1, access, passes = 1, seed } = args;
  const { vcpu } = guest;
  const before = countsOf([vcpu]);
  const { accessFlagUpdates } = vcpu.cpu.statistics;
  const chance = seed === undefined ? undefined : new Chance(seed);
  const count = Math.ceil((end - first) / step);
  for (let pass = 0; pass < passes; pass++) {
    for (let n = 0; n < count; n++) {
      const at = chance === undefined ? n : chance.below(count);
      touch(vcpu, guest.ipa(first + at * step), access);
    }
  }
  const { accessFlagUpdates: after, tlb } = vcpu.cpu.statistics;
  return {
    counts: difference(countsOf([vcpu]), before),
    updates: after.stage2 - accessFlagUpdates.stage2,
    conflicts: tlb.conflicts,
  };
}

function demand(guest: ThreadGuest, args: DemandArgs): DemandResult {
  const { first, end, seed, unit, mode, byte } = args;
  const { page, slot } = guest.start;
  let asked = 0;
  const content = new Uint8Array(unit * page).fill(byte);
  const hook = guest.ram.onMissing({ hva: slot.hva, size: slot.size, mode }, () => {
    asked++;
    return mode === "minor" ? "continue" : content;
  });
  const expected = Number(BigInt.asUintN(64, 0x0101_0101_0101_0101n * BigInt(byte)));
  const chance = new Chance(seed);
  const order = shuffled(first, end, chance);
  let wrong = 0;
  for (const at of order) {
    if (load(guest.vcpu, guest.ipa(at) + 8 * chance.below(page / 8)) !== expected) wrong++;
  }
  hook.dispose();
  return { asked, wrong, retries: countsOf([guest.vcpu]).retries };
}

function shuffled(first: number, end: number, chance: Chance): number[] {
  const order = Array.from({ length: end - first }, (_, n) => first + n);
  for (let n = order.length - 1; n > 0; n--) {
    const other = chance.below(n + 1);
    [order[n], order[other]] = [order[other] as number, order[n] as number];
  }
  return order;
}
