/** What each kind of step does to the table, and what it answers; events and dumps are read elsewhere. */
import { CACHE_NONE, CACHE_UNLIMITED, KIND_HYP, KIND_STAGE2, OPTION, WALK } from "../_abi.ts";
import { hardwareTouch, lockEntry, unlockEntry } from "./foreign.ts";
import { type Machine, isErrno } from "./machine.ts";
import { type Table, featureOptions, toHex } from "./table.ts";
import type { Result, Step } from "./vectors.ts";

/** A step on a live or destroyed table. */
type Operation = (machine: Machine, table: Table, step: Step) => Result;

/** A step that needs no table, only the granule of the file. */
type Pure = (machine: Machine, pageShift: number, step: Step) => Result;

/** Steps whose memory cache the script controls. */
type Drawing = (machine: Machine, table: Table, step: Step, cache: number) => Result;

/** Passes ia, size, pa and prot in the argument block. */
function give(machine: Machine, step: Step): void {
  machine.seat.give(step.u64("ia"), step.u64("size"), step.u64("pa"), step.u64("prot"));
}

/** An operation whose only answer is its return code. */
function returning(call: (machine: Machine, table: Table, step: Step) => number): Operation {
  return (machine, table, step) => {
    give(machine, step);
    return { ret: call(machine, table, step) };
  };
}

/** An operation that takes its pages from the stock which the step names. */
function drawing(call: Drawing): Operation {
  return (machine, table, step) => {
    const { stock } = step;
    give(machine, step);
    if (stock === "none") return call(machine, table, step, CACHE_NONE);
    if (stock === "unlimited") return call(machine, table, step, CACHE_UNLIMITED);
    const { core } = machine;
    const cache = core.cache_create(table.pageShift);
    const filled = core.cache_topup(cache, stock);
    if (isErrno(cache) || filled < 0) throw new Error(`no cache of ${stock} pages can be had`);
    const result = call(machine, table, step, cache);
    const left = core.cache_count(cache);
    core.cache_destroy(cache);
    return { ...result, mc_left: left };
  };
}

function forcePages(step: Step): number {
  return step.int("force_pte") ? WALK.FORCE_PAGES : 0;
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  map: drawing(({ core }, { pointer }, step, cache) => ({
    ret: core.s2_map_u64(pointer, step.int("flags") | forcePages(step), cache),
  })),
  set_owner: drawing(({ core }, { pointer }, step, cache) => ({
    ret: core.s2_set_owner_u64(pointer, step.int("owner"), cache),
  })),
  split: drawing(({ core }, { pointer }, _step, cache) => ({
    ret: core.s2_split_u64(pointer, cache),
  })),
  hyp_map: drawing(({ core }, { pointer }, _step, cache) => ({
    ret: core.hyp_map_u64(pointer, cache),
  })),
  create_unlinked: drawing(createUnlinked),
  free_unlinked: freeUnlinked,
  unmap: returning(({ core }, { pointer }) => core.s2_unmap_u64(pointer)),
  wrprotect: returning(({ core }, { pointer }) => core.s2_wrprotect_u64(pointer)),
  flush: returning(({ core }, { pointer }) => core.s2_flush_u64(pointer)),
  relax_perms: returning(({ core }, { pointer }) => core.s2_relax_perms_u64(pointer)),
  tlb_flush_range: returning(({ core }, { pointer }) => core.s2_tlb_flush_range_u64(pointer)),
  test_clear_young: (machine, { pointer }, step) => {
    give(machine, step);
    return { young: machine.core.s2_test_clear_young_u64(pointer, step.int("mkold")) === 1 };
  },
  mkyoung: (machine, { pointer }, step) => {
    give(machine, step);
    machine.core.s2_mkyoung_u64(pointer);
    return { pte: toHex(machine.seat.result(0)) };
  },
  get_leaf: (machine, { pointer }, step) => {
    give(machine, step);
    const ret = machine.core.s2_get_leaf_u64(pointer);
    if (ret !== 0) return { ret };
    return { ret, pte: toHex(machine.seat.result(0)), level: machine.seat.signed(1) };
  },
  hyp_unmap: (machine, { pointer }, step) => {
    give(machine, step);
    machine.core.hyp_unmap_u64(pointer);
    return { unmapped: toHex(machine.seat.result(0)) };
  },
  hw_touch: (machine, table, step) => ({ hit: hardwareTouch(machine, table, step.u64("ia")) }),
  lock_entry: (machine, table, step) => ({ hit: lockEntry(machine, table, step.u64("ia")) }),
  unlock_entry: (machine, table, step) => ({ hit: unlockEntry(machine, table, step.u64("ia")) }),
};

function createUnlinked(machine: Machine, table: Table, step: Step, cache: number): Result {
  const level = step.int("level");
  const pointer = machine.core.s2_create_unlinked_u64(
    table.pointer,
    level,
    cache,
    step.int("force_pte"),
  );
  if (isErrno(pointer)) return { ret: pointer };
  if (table.unlinked !== undefined) throw new Error("a second unlinked table");
  table.unlinked = { pointer, level };
  return { ret: 0 };
}

function freeUnlinked(machine: Machine, table: Table): Result {
  const { unlinked } = table;
  table.unlinked = undefined;
  if (unlinked) machine.core.s2_free_unlinked(table.pointer, unlinked.pointer, unlinked.level);
  return { ret: 0 };
}

const PURE: Readonly<Record<string, Pure>> = {
  vtcr: (machine, pageShift, step) => {
    const { core, seat } = machine;
    seat.give(step.u64("mmfr0"), step.u64("mmfr1"));
    core.pure_vtcr(pageShift, step.int("phys_shift"), featureOptions(step));
    return {
      vtcr: toHex(seat.result(0)),
      pgd_size: toHex(seat.result(1)),
      levels: seat.signed(2),
      start_level: seat.signed(3),
      parange: seat.signed(4),
    };
  },
  pte_prot: ({ core, seat }, _pageShift, step) => {
    seat.give(step.u64("pte"));
    const kind = step.text("kind") === "hyp" ? KIND_HYP : KIND_STAGE2;
    core.pure_pte_prot(kind, featureOptions(step));
    return { prot: toHex(seat.result(0)) };
  },
  phys_pte: ({ core, seat }, pageShift, step) => {
    const options = step.int("lpa2") ? OPTION.LPA2 : 0;
    const address = (pte: bigint): void => {
      seat.give(step.u64("pa"), pte);
      core.pure_address(pageShift, options);
    };
    address(0n);
    const pte = seat.result(0);
    address(step.has("pte") ? step.u64("pte") : pte);
    return { pte: toHex(pte), phys: toHex(seat.result(1)) };
  },
  granule: ({ core, seat }, pageShift, step) => {
    core.pure_granule(pageShift, step.int("level"));
    const sizes = seat.result(2);
    const size = step.u64("size");
    const isPower = (size & (size - 1n)) === 0n;
    return {
      shift: seat.signed(0),
      block: seat.result(1) === 1n,
      sizes: toHex(sizes),
      supported: isPower && (sizes & size) !== 0n,
    };
  },
};

/** The pure function of a step, if it is one. */
export function pureOf(step: Step): Pure | undefined {
  return PURE[step.name];
}

/** The operation of a step. `init`, `destroy`, `dump`, `walk` and `race` are the script's own. */
export function operationOf(step: Step): Operation {
  const operation = OPERATIONS[step.name];
  if (operation === undefined) throw new Error(`no operation for "${step.name}"`);
  return operation;
}
