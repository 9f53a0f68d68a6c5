// @ts-check
/**
 * Faults that are put in on purpose, each at a quiet point, to see that it is found: the engine itself has none to show.
 * Most are stores that go past the library, through a plain view of the memory.
 */
import { FIRST_STORE_WORD } from "./board.mjs";
import { HOT, PAGES, REGIONS, firstPage, pageIpa, regionOf } from "./scene.mjs";

/** @typedef {import("./worker.mjs").Parts} Parts */
/** @typedef {import("./kinds.mjs").Operation} Operation */

const YOUNG = 1n << 10n;
/** A software bit of a protection, which no call may relax. */
const SOFTWARE_BIT = 32;
const ADDRESS = 0xffff_ffff_f000n;
const PAGE_SHIFT = 12;

/** Which violation each is to be found as. @type {Record<string, { found: import("./violations.mjs").Violation, plant: (parts: Parts) => void }>} */
export const PLANTS = {
  "plain-clear": {
    found: "access flag lost",
    plant(parts) {
      // A page that nothing else can have reported: as often as there are other explanations, and once more.
      const page = pageIn(parts, "logging");
      const { board } = parts.thread;
      const others = board.sum("rangeReported", page) + board.sum("unmapped", page);
      for (let i = 0; i <= others; i++) {
        parts.guest.load(accessTo(page));
        change(parts, page, (old) => old & ~YOUNG);
        parts.thread.s2(page).tlbFlushRange({ ipa: pageIpa(page), size: 4096 });
      }
    },
  },
  "double-report": {
    found: "reported twice",
    plant(parts) {
      const page = pageIn(parts, "logging");
      const { board } = parts.thread;
      const others = board.sum("rangeReported", page) + board.sum("maybeMade", page);
      parts.thread.rows.reported[page] += 1 + others;
    },
  },
  "unlogged-store": {
    found: "dirty lost",
    plant(parts) {
      const page = pageIn(parts, "logging");
      parts.dirty.collect(accessTo(page));
      storeBeside(parts, page, 0x7000_0000);
    },
  },
  "store-while-clean": {
    found: "store after write-protect",
    plant(parts) {
      const page = pageIn(parts, "logging");
      parts.guest.store(accessTo(page));
      parts.dirty.collect(accessTo(page), () => storeBeside(parts, page, 0x7000_0000));
    },
  },
  "overwritten-store": {
    found: "store lost",
    plant(parts) {
      const page = pageIn(parts, "logging");
      parts.guest.storeAndLook(accessTo(page), () => storeBeside(parts, page, 0));
    },
  },
  "late-store": {
    found: "store after unmap",
    plant(parts) {
      const page = pageIn(parts, "churn");
      const pa = addressOf(parts, page);
      parts.reclaim.giveBack(page, page, "churn");
      parts.thread.memory.store(pa, FIRST_STORE_WORD, 1);
    },
  },
  "missing-unmap": {
    found: "load after unmap",
    plant(parts) {
      const page = pageIn(parts, "churn");
      parts.guest.load(accessTo(page));
      parts.reclaim.giveBack(page, page, "churn", false);
      parts.guest.load(accessTo(page));
    },
  },
  "wrong-entry": {
    found: "wrong page",
    plant(parts) {
      const page = pageIn(parts, "logging");
      const other = page === firstPage(regionOf(page)) ? page + 1 : page - 1;
      parts.guest.load(accessTo(other));
      const pa = BigInt(addressOf(parts, other));
      change(
        parts,
        page,
        (old) => (old & ~ADDRESS) | ((pa >> BigInt(PAGE_SHIFT)) << BigInt(PAGE_SHIFT)),
      );
      parts.guest.load(accessTo(page));
    },
  },
  "lost-entry": {
    found: "reference count",
    plant: (parts) => change(parts, pageIn(parts, "logging"), () => 0n),
  },
  "lost-page": {
    found: "leaked page",
    plant: ({ thread }) => void thread.engine.core.pool_alloc(PAGE_SHIFT),
  },
  "deaf-host": {
    found: "no progress",
    plant(parts) {
      const page = pageIn(parts, "churn");
      parts.reclaim.unmap(page, page, false);
      parts.host.handle = () => {};
      parts.guest.load(accessTo(page));
    },
  },
  "refused-call": {
    found: "unexpected result",
    plant: (parts) => parts.host.relax(pageIn(parts, "logging"), SOFTWARE_BIT, accessTo(0)),
  },
  "foreign-entry": {
    found: "stale mapping",
    plant(parts) {
      const page = pageIn(parts, "churn");
      change(parts, page, (old) => old ^ BigInt(4096));
    },
  },
};

/** A page of a region in this mode, mapped. @param {Parts} parts @param {import("./scene.mjs").Mode} mode */
function pageIn({ quiet, guest }, mode) {
  for (let page = 0; page < PAGES; page += HOT) {
    if (quiet.modes[page / HOT] !== mode) continue;
    guest.load(accessTo(page));
    return page;
  }
  throw new Error(`none of the ${REGIONS} regions is for ${mode}`);
}

/** A store that no vCPU makes, to the word of the first thread. @param {Parts} parts @param {number} page @param {number} value */
function storeBeside(parts, page, value) {
  parts.thread.memory.store(addressOf(parts, page), FIRST_STORE_WORD, value);
}

/** @param {Parts} parts @param {number} page */
function addressOf({ host, quiet }, page) {
  const pa = host.addressOf(page, quiet.modes[regionOf(page)]);
  if (pa === undefined) throw new Error(`page ${page} has no memory`);
  return pa;
}

/** A plain store over an entry. @param {Parts} parts @param {number} page @param {(old: bigint) => bigint} next */
function change({ thread }, page, next) {
  const { engine } = thread;
  const words = new BigUint64Array(engine.memory.buffer);
  const index = (engine.core.s2_entry(thread.s2(page).pointer, pageIpa(page)) >>> 0) / 8;
  words[index] = next(words[index]);
  thread.s2(page).tlbFlushRange({ ipa: pageIpa(page), size: 4096 });
}

/** @param {number} page @returns {Operation} */
function accessTo(page) {
  const region = regionOf(page);
  return { kind: "load", mode: "logging", region, page, last: page, variant: 1 };
}
