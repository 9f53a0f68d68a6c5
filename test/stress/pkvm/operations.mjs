// @ts-check
/** One function for each kind of operation. */
import { Guest } from "./guest.mjs";
import { BLOCK, BLOCK_PAGES, PAGE } from "./scene.mjs";
import { Strangers } from "./strangers.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {import("./kinds.mjs").Kind} Kind */

/** @param {import("./thread.mjs").PkvmThread} thread */
export function operationsOf(thread) {
  const guest = new Guest(thread);
  const strangers = new Strangers(thread);
  const raw = (/** @type {Operation} */ op) => thread.guest(op).raw;
  const done = (/** @type {string} */ what, /** @type {number} */ status) =>
    guest.allowed(what, status, []);

  /** @type {Record<Kind, (op: Operation) => unknown>} */
  const table = {
    fault: (op) => guest.fault(op),
    map: (op) => guest.map(op),
    "map block": (op) => guest.mapBlock(op),
    relax: (op) => guest.relax(op),
    "make young": (op) => guest.makeYoung(op),
    "unmap page": (op) => done("unmap", raw(op).unmap(op.page * PAGE, PAGE)),
    "unmap range": (op) => done("unmap", raw(op).unmap(...rangeOf(op))),
    "unmap block": (op) => done("unmap", raw(op).unmap(...blockOf(op))),
    age: (op) => done("testClearYoung", raw(op).testClearYoung(...rangeOf(op), 1)),
    "test young": (op) => done("testClearYoung", raw(op).testClearYoung(...rangeOf(op), 0)),
    "write-protect": (op) => done("wrprotect", raw(op).wrprotect(...rangeOf(op))),
    flush: (op) => done("flush", raw(op).flush(...rangeOf(op))),
    "flush TLBs": (op) => done("tlbFlushRange", raw(op).tlbFlushRange()),
    look: (op) => look(thread, guest, op),
    "lend to hyp": (op) => strangers.page(op, "shareHyp"),
    "take from hyp": (op) => strangers.page(op, "unshareHyp"),
    pin: (op) => strangers.page(op, "pin"),
    unpin: (op) => strangers.page(op, "unpin"),
    "give to hyp": (op) => strangers.page(op, "donateHyp"),
    "get from hyp": (op) => strangers.page(op, "hypDonateHost"),
    "lend to FFA": (op) => strangers.page(op, "shareFfa"),
    "take from FFA": (op) => strangers.page(op, "unshareFfa"),
    "host access": (op) => strangers.page(op, "hostAbort"),
    "stray hypercall": (op) => strangers.stray(op),
    "hostile hypercall": (op) => strangers.hostile(op),
  };
  return { table, guest, strangers };
}

/** @param {Operation} op @returns {[ipa: number, size: number]} */
function rangeOf({ page, last }) {
  return [page * PAGE, (last + 1 - page) * PAGE];
}

/** @param {Operation} op @returns {[ipa: number, size: number]} */
function blockOf({ page }) {
  return [Math.floor(page / BLOCK_PAGES) * BLOCK, BLOCK];
}

/** A listing of the guest's table without a lock, of the kernel's records, and of who owns what. @param {import("./thread.mjs").PkvmThread} thread @param {Guest} guest @param {Operation} op */
function look(thread, guest, op) {
  const table = thread.guest(op);
  const list = op.variant & 2 ? table.mappings() : table.leaves();
  for (const { ipa, pa } of list) guest.checkPage(op, ipa / PAGE, pa);
  if (op.variant & 1) for (const _ of thread.machines[op.machine].ranges());
}
