// @ts-check
/** Faults that are put in on purpose, each at a quiet point, to see that it is found: for each way of logging, and for slots. */
import { FIRST_STORE_WORD } from "../board.mjs";
import { PAGE, firstPage, offsetIn, regionOf } from "../scene.mjs";
import { harvestRings } from "./rings.mjs";
import { MODES, REGIONS_PER_VM, baseOf, regionHva, slotOf, vmOf } from "./scene.mjs";

/** @typedef {import("./worker.mjs").Parts} Parts */
/** @typedef {import("./scene.mjs").Mode} Mode */
/** @typedef {{ found: import("./violations.mjs").VmViolation, plant: (parts: Parts) => void }} Plant */

const WRITABLE = 1n << 7n;
const BY_HARDWARE = 1n << 51n;
const WHOLE = 0;
const ENTRY_BYTES = 16;
const FREE = 0;
const HARVESTED = 3;
/** A page of slots that no guest uses. */
const COLD = 9;
/** Result of `vm_slot`: where the bitmap is. */
const BITMAP = 4;

/** A page that can be stored to, and nobody hears of it: its entry is made writable behind everybody's back. @param {Mode} mode @returns {Plant} */
const unprotected = (mode) => ({
  found: `dirty lost: ${mode}`,
  plant(parts) {
    const page = cleanPageOf(parts, mode);
    change(parts, page, (old) => (old | WRITABLE) & ~BY_HARDWARE);
    parts.guest.store(accessTo(page));
    collectTwice(parts, page);
  },
});

/** A store beside everything, just before the last collection of a run. @param {Mode} mode @returns {Plant} */
const unseen = (mode) => ({
  found: `dirty lost: ${mode}`,
  plant(parts) {
    const page = cleanPageOf(parts, mode);
    const pa = parts.host.addressOf(page) ?? 0;
    parts.thread.memory.store(pa, FIRST_STORE_WORD, 0x7000_0000);
  },
});

/** @param {string} prefix @param {(mode: Mode) => Plant} plant */
const forEachMode = (prefix, plant) =>
  Object.fromEntries(MODES.map((mode) => [`${prefix}-${mode.replaceAll(" ", "-")}`, plant(mode)]));

/** Which violation each is to be found as. @type {Record<string, Plant>} */
export const VM_PLANTS = {
  ...forEachMode("unprotected", unprotected),
  ...forEachMode("unseen", unseen),
  "suppressed-bit": {
    found: "dirty lost: bitmap",
    plant(parts) {
      const page = cleanPageOf(parts, "bitmap");
      parts.guest.store(accessTo(page));
      const { thread } = parts;
      const region = regionOf(page);
      thread.engine.core.vm_slot(thread.vm(region).pointer, slotOf(region));
      const pointer = thread.engine.context.resultNumber(BITMAP);
      new BigUint64Array(thread.engine.memory.buffer)[pointer / 8] = 0n;
      collectTwice(parts, page);
    },
  },
  "suppressed-entry": {
    found: "dirty lost: ring",
    plant(parts) {
      const page = cleanPageOf(parts, "ring");
      parts.guest.store(accessTo(page));
      setFlags(parts, "ring", FREE);
      collectTwice(parts, page);
    },
  },
  "early-copy": {
    found: "dirty lost: manual",
    plant(parts) {
      const page = cleanPageOf(parts, "manual");
      const region = regionOf(page);
      const vm = parts.thread.vm(region);
      parts.guest.store(accessTo(page));
      const { pages, bits } = vm.getDirtyLog(slotOf(region));
      parts.ledger.copy([page]);
      parts.guest.store(accessTo(page)); // it can be, and the log says already that it was
      vm.clearDirtyLog(slotOf(region), { firstPage: 0, pages, bitmap: bits });
      collectTwice(parts, page);
    },
  },
  "early-copy-of-a-ring": {
    found: "dirty lost: ring and bitmap",
    plant(parts) {
      const page = cleanPageOf(parts, "ring and bitmap");
      const vm = parts.thread.vm(regionOf(page));
      parts.guest.store(accessTo(page));
      harvestRings(vm);
      parts.ledger.copy([page]);
      parts.guest.store(accessTo(page));
      vm.resetDirtyRings();
      collectTwice(parts, page);
    },
  },
  "unasked-harvest": {
    found: "ring count",
    plant(parts) {
      parts.guest.store(accessTo(cleanPageOf(parts, "ring")));
      setFlags(parts, "ring", HARVESTED);
    },
  },
  "stray-bit": {
    found: "dirty without a store",
    plant(parts) {
      const page = cleanPageOf(parts, "bitmap");
      const region = regionOf(page);
      parts.thread.vm(region).markDirty(ipaOf(parts, page) + COLD * PAGE);
    },
  },
  "lost-slot": {
    found: "slot lost",
    plant(parts) {
      const page = cleanPageOf(parts, "manual");
      const region = regionOf(page);
      const home = parts.thread.board.common.home[region];
      const shape = { ipa: baseOf(region, home), hva: regionHva(region), size: 0 };
      parts.thread.vm(region).setMemslot({ slot: slotOf(region), ...shape });
      parts.guest.load(accessTo(page));
      parts.thread.board.common.home[region] = 0;
      parts.slots.create(region);
    },
  },
  "late-vm-store": {
    found: "store after unmap",
    plant(parts) {
      const page = cleanPageOf(parts, "bitmap");
      const pa = parts.host.addressOf(page) ?? 0;
      parts.host.punch(parts.thread.vm(regionOf(page)), page, page);
      parts.thread.memory.store(pa, FIRST_STORE_WORD, 1);
    },
  },
};

/** The first page of a VM's slot of pages: stored to, collected, so clean. @param {Parts} parts @param {Mode} mode */
function cleanPageOf({ guest, slots, collector }, mode) {
  const region = MODES.indexOf(mode) * REGIONS_PER_VM;
  const page = firstPage(region);
  slots.logOn(region);
  guest.store(accessTo(page));
  collector.collect(vmOf(region), WHOLE);
  guest.load(accessTo(page));
  return page;
}

/** What the first collection suspects, and the second knows, as nothing is on its way. @param {Parts} parts @param {number} page */
function collectTwice({ thread, collector }, page) {
  const vm = vmOf(regionOf(page));
  collector.collect(vm, WHOLE);
  for (const { settled } of thread.board.threads) settled[vm]++;
  collector.collect(vm, WHOLE);
}

/** The entry that the last store went to, in the ring of this thread's first vCPU. @param {Parts} parts @param {Mode} mode @param {number} flags */
function setFlags({ thread }, mode, flags) {
  const { core, context, memory } = thread.engine;
  core.vm_vcpu_ring(thread.vcpus[MODES.indexOf(mode)][0].vcpu.pointer);
  const [pointer, entries, , pushed] = [0, 1, 2, 3].map((index) => context.resultNumber(index));
  const entry = pointer + ((pushed - 1) % entries) * ENTRY_BYTES;
  new Int32Array(memory.buffer)[entry / 4] = flags;
}

/** @param {Parts} parts @param {number} page */
function ipaOf({ thread }, page) {
  const region = regionOf(page);
  return baseOf(region, thread.board.common.home[region]) + offsetIn(page);
}

/** A plain store over an entry. @param {Parts} parts @param {number} page @param {(old: bigint) => bigint} next */
function change(parts, page, next) {
  const { engine } = parts.thread;
  const { stage2 } = parts.thread.vm(regionOf(page));
  const ipa = ipaOf(parts, page);
  const words = new BigUint64Array(engine.memory.buffer);
  const index = (engine.core.s2_entry(stage2.pointer, ipa) >>> 0) / 8;
  words[index] = next(words[index]);
  parts.thread.vm(regionOf(page)).flushTlb({ ipa, size: PAGE });
}

/** @param {number} page @returns {import("./kinds.mjs").Operation} */
function accessTo(page) {
  return { kind: "load", region: regionOf(page), page, last: page, variant: 0 };
}
