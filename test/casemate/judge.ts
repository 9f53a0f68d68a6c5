/**
 * A judge of traces by the protocol that casemate's manual describes. Every entry that a walk can come to is valid, clean,
 * or unclean; an unclean one is cleaned by the thread that broke it:
 *
 *   broken ── DSB ── by address ── DSB ISH ── VMALLE1 ── DSB ISH ── clean
 *                └── VMALLS12E1, ALLE1 ──────────────────┘
 *
 * A table hangs in a tree until the entry above it is clean.
 */
import { type Record, hex, parse } from "./records.ts";

type Progress = "broken" | "stored" | "addressed" | "uncombined" | "invalidated";

interface Unclean {
  readonly thread: number;
  readonly old: bigint;
  progress: Progress;
}

/** An entry that a walk can come to. */
interface Pte {
  readonly root: bigint;
  readonly level: number;
  readonly from: bigint;
  unclean: Unclean | undefined;
  /** Below a table that was taken out: it may not change. */
  frozen: boolean;
}

const ENTRIES = 512n;
const LAST = 3;
const ADDRESS = 0x0000_ffff_ffff_f000n;
const SOFTWARE = 15n << 55n;
const isValid = (value: bigint): boolean => (value & 1n) === 1n;
const isTable = (value: bigint, level: number): boolean => level < LAST && (value & 3n) === 3n;
const bytes = (level: number): bigint => 1n << BigInt(12 + 9 * (LAST - level));

class Violation extends Error {}

/** What is wrong with a trace first; `undefined` if nothing is. Throws if it is no trace. */
export function judge(lines: Iterable<string>): string | undefined {
  const state = new State();
  let next = 0;
  for (const line of lines) {
    const record = parse(line);
    if (record.id !== next++) throw new Error(`out of order: ${line}`);
    try {
      state.step(record);
    } catch (error) {
      if (error instanceof Violation) return `${error.message}: ${line}`;
      throw error;
    }
  }
  return undefined;
}

class State {
  readonly #memory = new Map<bigint, bigint>();
  readonly #ptes = new Map<bigint, Pte>();
  readonly #unclean = new Set<Pte>();
  /** Root to VMID, root to lock, lock to thread, thread to root and to level of the root. */
  readonly #vmids = new Map<bigint, bigint>();
  readonly #locks = new Map<bigint, bigint>();
  readonly #holders = new Map<bigint, number>();
  readonly #current = new Map<number, bigint>();
  readonly #levels = new Map<number, number>();

  step(record: Record): void {
    const { name, thread, words } = record;
    if (name === "mem-init") this.#init(hex(record, "address"), hex(record, "size"));
    else if (name === "mem-free") this.#free(hex(record, "address"), hex(record, "size"));
    else if (name === "mem-write")
      this.#write(thread, hex(record, "address"), hex(record, "value"));
    else if (name === "sysreg-write") this.#register(thread, record);
    else if (name === "hint") this.#hint(thread, record);
    else if (name === "lock" || name === "unlock") this.#lock(thread, name, hex(record, "address"));
    else if (words[0] === "dsb") this.#dsb(thread, record.fields.get("kind") === "ish");
    else if (name === "tlbi") this.#tlbi(thread, record);
  }

  #init(address: bigint, size: bigint): void {
    for (let at = address; at < address + size; at += 8n) {
      need(!this.#memory.has(at), "memory is made twice");
      this.#memory.set(at, 0n);
    }
  }

  #free(address: bigint, size: bigint): void {
    for (let at = address; at < address + size; at += 8n) {
      need(!this.#ptes.has(at), "a page in a tree is freed");
      this.#memory.delete(at);
    }
  }

  #write(thread: number, address: bigint, value: bigint): void {
    const old = this.#memory.get(address);
    need(old !== undefined, "a store to no memory");
    const pte = this.#ptes.get(address);
    if (pte !== undefined) this.#change(thread, address, pte, old as bigint, value);
    this.#memory.set(address, value);
  }

  #change(thread: number, address: bigint, pte: Pte, old: bigint, value: bigint): void {
    const lock = this.#locks.get(pte.root);
    need(lock !== undefined && this.#holders.get(lock) === thread, "a store without the lock");
    need(!pte.frozen || (!isValid(old) && !isValid(value)), "a store below an unclean entry");
    if (isValid(old)) {
      if (isValid(value)) return need(((old ^ value) & ~SOFTWARE) === 0n, "valid to valid");
      if (isTable(old, pte.level)) this.#below(pte, old, this.#freeze);
      pte.unclean = { thread, old, progress: "broken" };
      this.#unclean.add(pte);
    } else if (isValid(value)) {
      need(pte.unclean === undefined, "unclean to valid");
      this.#memory.set(address, value);
      if (isTable(value, pte.level)) this.#mark(pte.root, value & ADDRESS, pte.level + 1, pte.from);
    }
  }

  #freeze = (pte: Pte): void => {
    need(pte.unclean === undefined, "a table goes with unclean entries");
    pte.frozen = true;
  };

  #dsb(thread: number, complete: boolean): void {
    for (const pte of this.#unclean) {
      const unclean = pte.unclean as Unclean;
      if (unclean.thread !== thread) continue;
      if (unclean.progress === "broken") unclean.progress = "stored";
      else if (complete && unclean.progress === "addressed") unclean.progress = "uncombined";
      else if (complete && unclean.progress === "invalidated") this.#clean(pte, unclean.old);
    }
  }

  #clean(pte: Pte, old: bigint): void {
    pte.unclean = undefined;
    this.#unclean.delete(pte);
    if (isTable(old, pte.level)) this.#unmark(old & ADDRESS, pte.level + 1);
  }

  #tlbi(thread: number, record: Record): void {
    const [operation] = record.words;
    for (const pte of this.#unclean) {
      const unclean = pte.unclean as Unclean;
      if (unclean.thread !== thread) continue;
      if (operation === "ipas2e1is") {
        const ipa = (hex(record, "value") & ((1n << 44n) - 1n)) << 12n;
        if (unclean.progress === "stored" && this.#isHit(thread, pte, unclean, ipa)) {
          unclean.progress = "addressed";
        }
      } else if (operation === "vmalle1is") {
        if (unclean.progress === "uncombined") unclean.progress = "invalidated";
      } else if (unclean.progress === "stored" || unclean.progress === "uncombined") {
        unclean.progress = "invalidated";
      }
    }
  }

  /** Whether an invalidation by address takes this entry; of a table only if nothing valid is below. */
  #isHit(thread: number, pte: Pte, { old }: Unclean, ipa: bigint): boolean {
    if (this.#current.get(thread) !== pte.root) return false;
    if (ipa < pte.from || ipa >= pte.from + bytes(pte.level)) return false;
    let leaves = 0;
    if (isTable(old, pte.level)) {
      this.#below(pte, old, (_, value) => (leaves += isValid(value) ? 1 : 0));
    }
    return leaves === 0;
  }

  #register(thread: number, record: Record): void {
    const value = hex(record, "value");
    if (record.fields.get("sysreg") === "vtcr_el2") {
      const bits = 64 - Number(value & 63n);
      this.#levels.set(thread, Math.floor((48 - bits) / 9));
      return;
    }
    const [vmid, root] = [value >> 48n, value & ADDRESS];
    const known = this.#vmids.get(root);
    need(known === undefined || known === vmid, "one root under two VMIDs");
    if (known === undefined) {
      need(![...this.#vmids.values()].includes(vmid), "two roots under one VMID");
      this.#vmids.set(root, vmid);
      this.#mark(root, root, this.#levels.get(thread) as number, 0n);
    }
    this.#current.set(thread, root);
  }

  #hint(thread: number, record: Record): void {
    const [location, value] = [hex(record, "location"), hex(record, "value")];
    if (record.fields.get("kind") === "set_root_lock") this.#locks.set(location, value);
    else {
      need(![...this.#current.values()].includes(location), "a table in use is released");
      for (const { root, unclean } of this.#ptes.values()) {
        need(
          root !== location || unclean === undefined,
          "a table with unclean entries is released",
        );
      }
      this.#unmark(location, this.#levels.get(thread) as number);
      this.#vmids.delete(location);
      this.#locks.delete(location);
    }
  }

  #lock(thread: number, name: string, lock: bigint): void {
    const holder = this.#holders.get(lock);
    need(
      holder === (name === "lock" ? undefined : thread),
      "a lock that is not there to take or give",
    );
    if (name === "lock") this.#holders.set(lock, thread);
    else this.#holders.delete(lock);
  }

  /** All entries of a table and below it are in a tree from now on. */
  #mark(root: bigint, table: bigint, level: number, from: bigint): void {
    for (let i = 0n; i < ENTRIES; i++) {
      const [at, start] = [table + 8n * i, from + i * bytes(level)];
      const value = this.#memory.get(at);
      need(value !== undefined, "a walk leads to no memory");
      need(!this.#ptes.has(at), "a page is in two places");
      this.#ptes.set(at, { root, level, from: start, unclean: undefined, frozen: false });
      if (isTable(value as bigint, level))
        this.#mark(root, (value as bigint) & ADDRESS, level + 1, start);
    }
  }

  #unmark(table: bigint, level: number): void {
    for (let at = table; at < table + 8n * ENTRIES; at += 8n) {
      const value = this.#memory.get(at) as bigint;
      this.#ptes.delete(at);
      if (isTable(value, level)) this.#unmark(value & ADDRESS, level + 1);
    }
  }

  /** All entries below a table, those of tables below included. */
  #below({ level }: Pte, table: bigint, visit: (pte: Pte, value: bigint) => void): void {
    for (let i = 0n; i < ENTRIES; i++) {
      const at = (table & ADDRESS) + 8n * i;
      const [pte, value] = [this.#ptes.get(at) as Pte, this.#memory.get(at) as bigint];
      visit(pte, value);
      if (isTable(value, level + 1)) this.#below(pte, value, visit);
    }
  }
}

function need(condition: boolean, what: string): void {
  if (!condition) throw new Violation(what);
}
