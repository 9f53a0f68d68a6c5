// @ts-check
/** What has to hold at a quiet point, when every thread is at the barrier: looked at by one of them. */
import { HOT, PAGES, REGIONS, TABLES, firstPage, modesOf, pageIpa } from "./scene.mjs";
import { wholeRegion } from "./host.mjs";

/** @typedef {import("./scene.mjs").Mode} Mode */

const WRITABLE = 1n << 7n;
const BY_HARDWARE = 1n << 51n;

export class Quiet {
  #thread;
  #host;
  #reclaim;
  /** Table pages of vCPUs and of empty tables: always in use. */
  #fixed = 0;
  /** @type {Mode[]} */
  modes;

  /** @param {import("./thread.mjs").Thread} thread @param {import("./host.mjs").Host} host @param {import("./reclaim.mjs").Reclaim} reclaim */
  constructor(thread, host, reclaim) {
    this.#thread = thread;
    this.#host = host;
    this.#reclaim = reclaim;
    this.modes = modesOf(thread.options.seed, 0);
  }

  /** Before the first round. */
  begin() {
    this.#fixed = this.#unexplained();
  }

  /** All that has to hold. */
  check() {
    this.#thread.engine.quiesce();
    for (let region = 0; region < REGIONS; region++) {
      if (this.modes[region] !== "huge") this.#checkAges(region);
      for (const page of wholeRegion(firstPage(region))) this.#checkPage(page, this.modes[region]);
    }
    for (let table = 0; table < TABLES; table++) this.#checkReferences(table);
    for (const pa of this.#thread.memory.disturbed()) {
      this.#thread.violation("store after unmap", `to 0x${pa.toString(16)}`);
    }
    const leaked = this.#unexplained() - this.#fixed;
    if (leaked !== 0)
      this.#thread.violation("leaked page", `${leaked} table pages are in no table`);
    this.#restart();
  }

  /** Regions that are for something else in the next round begin it empty. @param {readonly Mode[]} next */
  change(next) {
    for (let region = 0; region < REGIONS; region++) {
      if (next[region] !== this.modes[region]) this.#empty(region);
    }
    this.modes = [...next];
    this.#restart();
  }

  /** Takes everything away. */
  end() {
    for (let region = 0; region < REGIONS; region++) this.#empty(region);
    this.#thread.engine.quiesce();
  }

  /** @param {number} region */
  #empty(region) {
    const first = firstPage(region);
    this.#reclaim.unmap(first, first, true);
    this.#reclaim.giveBack(first, first + HOT - 1, this.modes[region]);
  }

  /** The ledgers start from what entries hold now. */
  #restart() {
    this.#thread.board.clearLedgers();
    for (let page = 0; page < PAGES; page++) {
      this.#thread.board.common.young[page] = this.#leaf(page)?.accessed ? 1 : 0;
    }
  }

  /**
   * The ledger of access flags. What was made young is reported, gone with an unmap, or still young; and what was
   * reported was young.
   *
   * @param {number} region
   */
  #checkAges(region) {
    const { board } = this.#thread;
    let [missing, maybe] = [0, 0];
    for (const page of wholeRegion(firstPage(region))) {
      const now = this.#leaf(page)?.accessed ? 1 : 0;
      const made = board.common.young[page] + board.sum("made", page);
      const rest = made - board.sum("reported", page) - now;
      const others = board.sum("rangeReported", page) + board.sum("unmapped", page);
      const more = board.sum("maybeMade", page);
      missing += rest;
      maybe += more;
      if (rest + more < 0) {
        this.#thread.violation("reported twice", `page ${page}: ${-rest - more} too many`);
      }
      if (rest > others) {
        this.#thread.violation("access flag lost", `page ${page}: ${rest - others} never reported`);
      }
    }
    const reports = board.sum("regionReported", region);
    if (missing + maybe < reports) {
      const words = `region ${region}: ${reports - missing - maybe} too many`;
      this.#thread.violation("reported twice", words);
    }
  }

  /** An entry maps what its page has; and whatever is clean cannot be stored to. @param {number} page @param {Mode} mode */
  #checkPage(page, mode) {
    const { dirty, sample } = this.#thread.board.common;
    const pa = this.#host.addressOf(page, mode);
    const leaf = this.#leaf(page);
    if (leaf !== undefined && leaf.pa + (pageIpa(page) - leaf.ipa) !== pa) {
      this.#thread.violation("stale mapping", `page ${page} maps 0x${leaf.pa.toString(16)}`);
    }
    if (pa === undefined || dirty[page] !== 0) return;
    const pte = leaf?.pte ?? 0n;
    const told = mode === "dirty" && (pte & (WRITABLE | BY_HARDWARE)) === (WRITABLE | BY_HARDWARE);
    if (told) return;
    if (pte & WRITABLE) this.#thread.violation("dirty lost", `page ${page} is writable and clean`);
    if (this.#thread.memory.content(pa) === sample[page]) return;
    this.#thread.violation("dirty lost", `page ${page} was stored to and is clean`);
    sample[page] = this.#thread.memory.content(pa);
  }

  /** Counts every entry of a table, and has the core count them. @param {number} table */
  #checkReferences(table) {
    const s2 = this.#thread.tables[table];
    const { engine } = this.#thread;
    /** @type {{ level: number, counted: number, references: number, ipa: number }[]} */
    const path = [];
    const leave = (/** @type {number} */ level) => {
      while (path.length > 0 && path[path.length - 1].level >= level) {
        const { ipa, counted, references } = /** @type {typeof path[0]} */ (path.pop());
        if (references === counted + 1) continue;
        const text = `table of 0x${ipa.toString(16)}: ${references}, not ${counted + 1}`;
        this.#thread.violation("reference count", text);
      }
    };
    for (const entry of s2.entries()) {
      leave(entry.level);
      if (entry.kind !== "locked" && path.length > 0) path[path.length - 1].counted++;
      if (entry.kind === "locked")
        this.#thread.violation("stale mapping", "an entry is left locked");
      if (entry.kind !== "table") continue;
      const { level, references, ipa } = entry;
      path.push({ level, counted: 0, references, ipa });
    }
    leave(-Infinity);
    const pages = s2.memoryUsage().tablePages;
    const counted = engine.core.pgt_recount(s2.pointer);
    if (pages !== counted) {
      this.#thread.violation("reference count", `${pages} table pages, ${counted} counted`);
    }
  }

  /** Table pages in use beyond those of tables and caches. */
  #unexplained() {
    const { engine, tables, board } = this.#thread;
    const inTables = tables.reduce((sum, s2) => sum + s2.memoryUsage().tablePages, 0);
    const inCaches = board.threads.reduce((sum, { now }) => sum + Atomics.load(now, 1), 0);
    return engine.memoryUsage().used - inTables - inCaches;
  }

  /** @param {number} page */
  #leaf(page) {
    const leaf = this.#thread.s2(page).getLeaf(pageIpa(page));
    return leaf.kind === "leaf" ? leaf : undefined;
  }
}
