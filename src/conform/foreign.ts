/**
 * A foreign hand on the table: what hardware or another CPU does to one entry. Works on the memory, so that the core
 * under test has no part in it.
 */
import { EVENT } from "../_abi.ts";
import type { EventLog } from "./events.ts";
import type { Machine } from "./machine.ts";
import { stepImports } from "../instrument/step.ts";
import type { Table } from "./table.ts";
import type { Step } from "./vectors.ts";

const VALID = 1n;
const ACCESS_FLAG = 1n << 10n;
/** Somebody is changing this entry: the access-flag bit alone. */
const LOCKED = ACCESS_FLAG;

/** Index, in 64-bit words of the memory, of the leaf entry for `ia`; undefined if there is none. */
function entryOf(machine: Machine, table: Table, ia: bigint): number | undefined {
  machine.home.give(ia);
  const pointer = machine.home.core.s2_entry_u64(table.pointer) >>> 0;
  return pointer === 0 ? undefined : pointer / 8;
}

/** What hardware does on an access: sets the access flag of a valid leaf. */
export function hardwareTouch(machine: Machine, table: Table, ia: bigint): boolean {
  const entry = entryOf(machine, table, ia);
  if (entry === undefined || !(Atomics.load(machine.u64, entry) & VALID)) return false;
  Atomics.or(machine.u64, entry, ACCESS_FLAG);
  return true;
}

/** Marks an empty entry as being changed. */
export function lockEntry(machine: Machine, table: Table, ia: bigint): boolean {
  return exchange(machine, table, ia, 0n, LOCKED);
}

export function unlockEntry(machine: Machine, table: Table, ia: bigint): boolean {
  return exchange(machine, table, ia, LOCKED, 0n);
}

function exchange(machine: Machine, table: Table, ia: bigint, from: bigint, to: bigint): boolean {
  const entry = entryOf(machine, table, ia);
  return entry !== undefined && Atomics.compareExchange(machine.u64, entry, from, to) === from;
}

const KINDS: Readonly<Record<string, number>> = {
  alloc: EVENT.ALLOC,
  dclean: EVENT.DCACHE_CLEAN,
  iinval: EVENT.ICACHE_INVAL,
};

/**
 * A store that a foreign hand makes once, in the middle of an operation, when the operation has done something of a
 * given kind. The operation runs on the instrumented build, which stops at every access to the shared memory: the
 * store happens before the first access to a table page that follows the event.
 */
export class Race {
  readonly #machine: Machine;
  readonly #table: Table;
  readonly #step: Step;
  readonly #module: WebAssembly.Module;
  #done = false;

  /** `module`: the instrumented build. */
  constructor(machine: Machine, table: Table, step: Step, module: WebAssembly.Module) {
    this.#module = module;
    this.#machine = machine;
    this.#table = table;
    this.#step = step;
  }

  /** Whether the store has been made. */
  get done(): boolean {
    return this.#done;
  }

  /** Runs `operation` with the store waiting for its moment. */
  run<T>(log: EventLog, operation: () => T): T {
    const machine = this.#machine;
    const { start, end } = machine.pool;
    let seen = log.count;
    const look = (): void => {
      for (; seen < log.count && !this.#done; seen++) this.#meet(log.kindAt(seen));
    };
    const imports = stepImports(({ address }) => {
      if (address >= start && address < end) look();
    });
    const result = machine.onBuild(this.#module, imports, operation);
    look(); // the event may have been the last thing the operation did
    return result;
  }

  #meet(kind: number): void {
    if (kind !== KINDS[this.#step.text("on")]) return;
    this.#done = true;
    const ia = this.#step.u64("ia");
    const entry = entryOf(this.#machine, this.#table, ia);
    if (entry === undefined) return;
    const { u64 } = this.#machine;
    switch (this.#step.text("act")) {
      case "touch":
        hardwareTouch(this.#machine, this.#table, ia);
        break;
      case "zero":
        Atomics.store(u64, entry, 0n);
        break;
      case "lock":
        Atomics.store(u64, entry, LOCKED);
    }
  }
}
