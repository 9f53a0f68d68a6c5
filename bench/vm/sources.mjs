// @ts-check
/**
 * Where dirty pages are known from, and how a round of migration asks for them:
 *
 *     bitmap   get: taken, protected again and flushed in one call
 *     manual   get: a copy; clear: taken out, protected, flushed
 *     ring     harvest: entries by vCPU; reset: protected, flushed. A full ring stops the vCPU
 *     HDBSS    hardware fills a buffer without a fault; harvested into the bitmap, then as bitmap
 */
import assert from "node:assert/strict";
import { Cap } from "stage2";
import { PAGE } from "../bed.mjs";
import { SLOT } from "./guest.mjs";

/** @typedef {import("./guest.mjs").Guest} Guest */
/** @typedef {import("./clock.mjs").Clock} Clock */

/**
 * @typedef {object} Source
 * @property {(vm: import("stage2").Vm) => void} [configure] before slots and vCPUs
 * @property {import("stage2").VcpuOptions} [cpu]
 * @property {(guest: Guest) => void} [start] once the log is on
 * @property {(guest: Guest, clock: Clock) => number} [relieve] a vCPU can go no further: pages collected
 * @property {(guest: Guest, clock: Clock) => number} collect the end of a round: pages collected
 */

const RING_BYTES = 2 ** 20;
const HDBSS_ENTRIES = 2 ** 16;

/**
 * A get takes dirty bits out and protects what they stand for. How much of it is protection is not to be seen from outside, so
 * the same log is first only looked at, as manual mode does.
 *
 * @param {Guest} guest
 * @param {Clock} clock
 */
function collectBitmap({ vm, size }, clock) {
  const words = size / PAGE / 64;
  vm.enableCap(Cap.MANUAL_DIRTY_LOG_PROTECT2, 1);
  const [, scan] = timed(() => vm.getDirtyLog(SLOT, { view: true }));
  vm.enableCap(Cap.MANUAL_DIRTY_LOG_PROTECT2, 0);
  const [log, whole] = timed(() => vm.getDirtyLog(SLOT, { view: true }));
  const { count } = log;
  clock.add("collect", "page", count, whole);
  clock.add("collect, scan", "word", words, scan);
  clock.add("collect, protection", "page", count, Math.max(1, whole - scan));
  clock.time("list", "page", count, () => assert.equal(sizeOf(log), count));
  clock.time("collect, nothing dirty", "word", words, () => vm.getDirtyLog(SLOT, { view: true }));
  return count;
}

/** @param {Guest} guest @param {Clock} clock */
function collectManual({ vm, size }, clock) {
  const [log, ns] = timed(() => vm.getDirtyLog(SLOT));
  const { count } = log;
  clock.add("collect", "page", count, ns);
  const whole = { firstPage: 0, pages: size / PAGE, bitmap: log.bits };
  clock.time("clear", "page", count, () => vm.clearDirtyLog(SLOT, whole));
  assert.equal(vm.getDirtyLog(SLOT).count, 0, "pages dirty after a clear");
  return count;
}

/** @param {Guest} guest @param {Clock} clock */
function collectRing({ vm, vcpu }, clock) {
  const [count, ns] = timed(() => sizeOf(vcpu.dirtyRing?.harvest() ?? []));
  clock.add("collect", "page", count, ns);
  const reset = clock.time("clear", "page", count, () => vm.resetDirtyRings());
  assert.equal(reset, count, "entries reset");
  return count;
}

/** @param {Guest} guest @param {Clock} clock */
function harvest({ vcpu }, clock) {
  const [entries, ns] = timed(() => vcpu.harvestHdbss());
  clock.add("harvest", "page", entries, ns);
  return 0;
}

/** @type {Readonly<Record<string, Source>>} */
export const SOURCES = {
  bitmap: { collect: collectBitmap },
  manual: {
    configure: (vm) => vm.manualDirtyLogProtect({ initiallySet: false }),
    collect: collectManual,
  },
  ring: {
    configure: (vm) => vm.enableDirtyRing({ bytes: RING_BYTES, backupBitmap: false }),
    relieve: collectRing,
    collect: collectRing,
  },
  HDBSS: {
    configure: (vm) => vm.enableHdbss(),
    cpu: { hafdbs: 4 },
    start: ({ vcpu }) => vcpu.setHdbssBuffer(HDBSS_ENTRIES),
    relieve: harvest,
    collect(guest, clock) {
      harvest(guest, clock);
      return collectBitmap(guest, clock);
    },
  },
};

/** What work gave, and how many ns it took. @template T @param {() => T} work @returns {[T, number]} */
function timed(work) {
  const from = performance.now();
  const result = work();
  return [result, (performance.now() - from) * 1e6];
}

/** How many there are, looking at each. @param {Iterable<unknown>} things */
function sizeOf(things) {
  let count = 0;
  for (const _ of things) count++;
  return count;
}
