// @ts-check
/**
 * Where everything is. One VM for each way of logging, each with two slots; hot pages as in the scene of tables:
 *
 *     page number   0 ............. 15    16 ............. 31    32 ...
 *                   region 0              region 1               region 2
 *                   VM 0, slot 1: pages   VM 0, slot 4: block    VM 1, slot 1 ...
 *
 * A slot of pages ends in the middle of a word of its bitmap. Every slot has two homes, and moves from one to the other.
 */
import { BLOCK, HOT, PAGE, REGIONS, firstPage, offsetIn, regionOf } from "../scene.mjs";

/**
 * How dirty pages are known.
 *
 *     bitmap            get takes and protects
 *     manual            get looks, clear with a mask takes and protects
 *     all set           the same; every page is dirty at first, and blocks are split as pages are cleared
 *     ring              entries by vCPU, harvested and reset
 *     ring and bitmap   and what no vCPU writes is in a bitmap
 *     hdbss             hardware writes entries, which end up in a bitmap
 *
 * @typedef {(typeof MODES)[number]} Mode
 */
export const MODES = /** @type {const} */ ([
  "bitmap",
  "manual",
  "all set",
  "ring",
  "ring and bitmap",
  "hdbss",
]);

export const VMS = MODES.length;
export const REGIONS_PER_VM = REGIONS / VMS;
export const VCPUS_PER_THREAD = 2;

/** Slot of the first, second region of a VM: any numbers. */
const SLOT_IDS = [1, 4];
/** The last hot page is the last page, in a word that it does not fill. */
const SLOT_PAGES = offsetIn(HOT - 1) / PAGE + 1;
const HVA = 2 ** 40;
const HVA_APART = 2 ** 24;
/** Of pages: so far apart that words and tables differ. Of blocks: so that blocks stay blocks. */
const HOMES = [
  [0x4000_0000, 0x4240_3000],
  [0x5000_0000, 0x7fe0_0000],
];

/** @param {number} region */
export const vmOf = (region) => Math.floor(region / REGIONS_PER_VM);
/** @param {number} region */
export const modeOf = (region) => MODES[vmOf(region)];
/** Whether one block of host memory is behind it. @param {number} region */
export const isHuge = (region) => region % REGIONS_PER_VM === 1;
/** @param {number} region */
export const slotOf = (region) => SLOT_IDS[region % REGIONS_PER_VM];
/** Regions of a VM. @param {number} vm */
export const regionsOf = (vm) => SLOT_IDS.map((_, i) => vm * REGIONS_PER_VM + i);
/** Bytes of a region's slot. @param {number} region */
export const sizeOf = (region) => (isHuge(region) ? BLOCK : SLOT_PAGES * PAGE);
/** @param {number} region @param {number} home */
export const baseOf = (region, home) => HOMES[region % REGIONS_PER_VM][home];
/** @param {number} region */
export const regionHva = (region) => HVA + region * HVA_APART;
/** @param {number} page */
export const pageHva = (page) => regionHva(regionOf(page)) + offsetIn(page);

/** Hot page of an address of the host. @param {number} hva */
export function pageAt(hva) {
  const region = Math.floor((hva - HVA) / HVA_APART);
  const page = pageOfSlot(region, Math.floor((hva - regionHva(region)) / PAGE));
  if (page === undefined) throw new Error(`no guest uses what is at 0x${hva.toString(16)}`);
  return page;
}

/** Hot page that is this page of a slot, if it is one. @param {number} region @param {number} index */
export function pageOfSlot(region, index) {
  for (let page = firstPage(region); page < firstPage(region) + HOT; page++) {
    if (offsetIn(page) === index * PAGE) return page;
  }
  return undefined;
}

/** What is there of a slot: its page number of a hot page. @param {number} page */
export const indexInSlot = (page) => offsetIn(page) / PAGE;
