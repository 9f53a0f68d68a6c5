// @ts-check
/** Faults that are put in on purpose, each at a quiet point, to see that it is found. */
import { BLOCK, BLOCKS, MACHINES, PAGE, frameOf, memoryOf } from "./scene.mjs";

/** @typedef {import("./worker.mjs").Parts} Parts */
/** @typedef {{ found: import("./violations.mjs").PkvmViolation, plant: (parts: Parts) => void }} Plant */

/** The machine that faults are put into, and the guest. */
const HERE = { machine: MACHINES.indexOf("default"), guest: 0 };
const GUEST_PAGE = 3;
const ADDRESS = 0xffff_ffff_f000n;
const PAGE_SHIFT = 12n;
const READ_WRITE = 6;
const ALL = { ipa: 0, size: BLOCKS * BLOCK };
/** A software bit of a protection, which no call may relax. */
const SOFTWARE_BIT = 32;
/** Of a page's record: bytes, and where the host's state and the count are. */
const RECORD = 8;
const HOST_STATE = 2;
const COUNT = 4;
const OWNED = 0;
/** Result of `pkvm_region`: where the records are. */
const RECORDS = 3;

/** Which violation each is to be found as. @type {Record<string, Plant>} */
export const PKVM_PLANTS = {
  "bare-unshare": {
    found: "record without leaf",
    plant(parts) {
      const { vmHandle } = mapped(parts);
      parts.strangers.call(HERE.machine, "unshareGuest", vmHandle, GUEST_PAGE, 1);
    },
  },
  "bare-share": {
    found: "leaf without record",
    plant(parts) {
      mapped(parts);
      const frame = frameOf(HERE.machine, GUEST_PAGE + 1);
      const machine = parts.thread.machines[HERE.machine];
      machine.hypercall("shareGuest", frame, GUEST_PAGE + 1, 1, READ_WRITE, { memcache: [] });
    },
  },
  miscount: {
    found: "share count",
    plant(parts) {
      mapped(parts);
      new Int32Array(parts.thread.engine.memory.buffer)[(recordOf(parts) + COUNT) / 4]++;
    },
  },
  "two-owners": {
    found: "page owner",
    plant(parts) {
      free(parts);
      parts.strangers.call(HERE.machine, "donateHyp", frameOf(HERE.machine, GUEST_PAGE), 1);
      new Uint8Array(parts.thread.engine.memory.buffer)[recordOf(parts) + HOST_STATE] = OWNED;
    },
  },
  "unadmitted-page": {
    found: "admitted pages",
    plant(parts) {
      free(parts);
      parts.strangers.call(HERE.machine, "donateHyp", frameOf(HERE.machine, GUEST_PAGE), 1);
      new Uint8Array(parts.thread.engine.memory.buffer)[recordOf(parts)]++;
    },
  },
  "stray-entry": {
    found: "wrong page",
    plant(parts) {
      const table = mapped(parts);
      const { engine } = parts.thread;
      const words = new BigUint64Array(engine.memory.buffer);
      const index = (engine.core.s2_entry(table.pointer, GUEST_PAGE * PAGE) >>> 0) / 8;
      const other = BigInt(frameOf(HERE.machine, GUEST_PAGE + 1)) << PAGE_SHIFT;
      words[index] = (words[index] & ~ADDRESS) | other;
    },
  },
  "lost-pkvm-page": {
    found: "leaked page",
    plant: ({ thread }) => void thread.engine.core.pool_alloc(Number(PAGE_SHIFT)),
  },
  "refused-relax": {
    found: "unexpected result",
    plant(parts) {
      const { raw } = mapped(parts);
      const status = raw.relaxPerms(GUEST_PAGE * PAGE, SOFTWARE_BIT);
      parts.guest.allowed("relaxPerms", status, []);
    },
  },
  "deaf-kernel": {
    found: "no progress",
    plant(parts) {
      free(parts);
      parts.guest.handle = () => 0;
      parts.guest.fault(access());
    },
  },
};

/** Nothing of the machine is mapped, nor in anybody's hands. @param {Parts} parts */
function free(parts) {
  for (const guest of [0, 1]) parts.thread.guest({ ...HERE, guest }).unmap(ALL);
  for (const page of [GUEST_PAGE, GUEST_PAGE + 1]) {
    const frame = frameOf(HERE.machine, page);
    const call = (/** @type {import("stage2").HypercallName} */ name) =>
      parts.strangers.call(HERE.machine, name, frame, 1);
    while (call("unpin") === 0);
    call("unshareHyp");
    call("hypDonateHost");
    call("unshareFfa");
  }
}

/** The guest, with one page mapped. @param {Parts} parts */
function mapped(parts) {
  free(parts);
  const table = parts.thread.guest(HERE);
  const pa = memoryOf(HERE.machine) + GUEST_PAGE * PAGE;
  table.map({ ipa: GUEST_PAGE * PAGE, size: PAGE, pa, prot: READ_WRITE });
  return table;
}

/** Where the hypervisor has noted what the page is. @param {Parts} parts */
function recordOf({ thread }) {
  const { core, context } = thread.engine;
  core.pkvm_region(thread.machines[HERE.machine].handle.pointer, 0);
  return context.resultNumber(RECORDS) + GUEST_PAGE * RECORD;
}

/** @returns {import("./kinds.mjs").Operation} */
function access() {
  return { kind: "fault", ...HERE, page: GUEST_PAGE, last: GUEST_PAGE, variant: 0, seed: 0 };
}
