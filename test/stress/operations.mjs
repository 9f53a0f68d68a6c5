// @ts-check
/** One function for each kind of operation. */
import { Prot } from "stage2";
import { Dirty } from "./dirty.mjs";
import { Guest } from "./guest.mjs";
import { Host } from "./host.mjs";
import { Reclaim } from "./reclaim.mjs";
import { BLOCK, PAGE, RAM, between, pageIpa, rangeOf, regionIpa } from "./scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {import("./kinds.mjs").Kind} Kind */

const ENOENT_LOOKUP = -1;

/** @param {import("./thread.mjs").Thread} thread */
export function operationsOf(thread) {
  const host = new Host(thread);
  const guest = new Guest(thread, host);
  const dirty = new Dirty(thread, host);
  const reclaim = new Reclaim(thread);
  const raw = (/** @type {Operation} */ { page }) => thread.s2(page).raw;

  /** @type {Record<Kind, (op: Operation) => unknown>} */
  const table = {
    load: (op) => guest.load(op),
    store: (op) => guest.store(op),
    "store and look": (op) => guest.storeAndLook(op),
    fetch: (op) => guest.fetch(op),
    atomic: (op) => guest.atomic(op),
    translate: (op) => guest.translate(op),
    bracket: (op) => guest.bracket(op),
    batch: (op) => guest.batch(op),
    age: (op) => age(thread, op),
    "age range": (op) => ageRange(thread, op),
    "test young": (op) => raw(op).testClearYoung(pageIpa(op.page), PAGE, 0),
    "make young": (op) => host.makeYoung(op.page),
    relax: (op) => host.relax(op.page, Prot.X, op),
    "late map": (op) => host.map(op.page, Prot.R, op),
    "map block": (op) => host.map(op.page, Prot.R, { ...op, variant: op.variant | 8 }),
    split: (op) => expectDone(thread, "split", raw(op).split(regionIpa(op.region), BLOCK)),
    "write-protect": (op) => writeProtect(thread, op),
    collect: (op) => dirty.collect(op),
    "hand to hardware": (op) => dirty.handToHardware(op),
    unmap: (op) => reclaim.unmap(op.page, op.page, false),
    "unmap range": (op) => reclaim.unmap(op.page, op.last, false),
    "unmap region": (op) => reclaim.unmap(op.page, op.page, true),
    "give back": (op) => reclaim.giveBack(op.page, op.variant & 1 ? op.page : op.last, op.mode),
    flush: (op) => raw(op).flush(regionIpa(op.region), BLOCK),
    invalidate: (op) => guest.invalidate(op),
    look: (op) => look(thread, op),
    list: (op) => list(thread, op),
  };
  return { table, host, guest, dirty, reclaim };
}

/** One page: who is told that it was young has made it old. @param {import("./thread.mjs").Thread} thread @param {Operation} op */
function age(thread, { page }) {
  if (thread.s2(page).raw.testClearYoung(pageIpa(page), PAGE, 1) === 1)
    thread.rows.reported[page]++;
}

/** @param {import("./thread.mjs").Thread} thread @param {Operation} op */
function ageRange(thread, { region, page, last }) {
  const { ipa, size } = rangeOf(page, last);
  if (thread.s2(page).raw.testClearYoung(ipa, size, 1) !== 1) return;
  for (const one of between(page, last)) thread.rows.rangeReported[one]++;
  thread.rows.regionReported[region]++;
}

/** @param {import("./thread.mjs").Thread} thread @param {Operation} op */
function writeProtect(thread, { page, last }) {
  const { ipa, size } = rangeOf(page, last);
  const { raw } = thread.s2(page);
  expectDone(thread, "wrprotect", raw.wrprotect(ipa, size));
  expectDone(thread, "tlbFlushRange", raw.tlbFlushRange(ipa, size));
}

/** A walk without a lock beside everything. @param {import("./thread.mjs").Thread} thread @param {Operation} op */
function look(thread, { page }) {
  const pa = thread.s2(page).raw.lookup(pageIpa(page));
  if (pa !== ENOENT_LOOKUP) expectInRam(thread, page, pa);
}

/** A listing without a lock. @param {import("./thread.mjs").Thread} thread @param {Operation} op */
function list(thread, { page, region }) {
  const range = { ipa: regionIpa(region), size: BLOCK };
  for (const leaf of thread.s2(page).leaves(range)) expectInRam(thread, page, leaf.pa);
}

/** @param {import("./thread.mjs").Thread} thread @param {number} page @param {number} pa */
function expectInRam(thread, page, pa) {
  if (pa >= RAM.pa && pa < RAM.pa + RAM.size) return;
  thread.violation("stale mapping", `page ${page} maps 0x${pa.toString(16)}, which is no memory`);
}

/** @param {import("./thread.mjs").Thread} thread @param {string} call @param {number} status */
function expectDone(thread, call, status) {
  if (status !== 0) thread.violation("unexpected result", `${call}: errno ${-status}`);
}
