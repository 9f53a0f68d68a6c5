// @ts-check
/** A run of the part on VMs: the engine, the VMs, the threads, the result. */
import { Engine } from "stage2";
import { Memory } from "../memory.mjs";
import { BLOCK, RAM } from "../scene.mjs";
import { COUNT, VmBoard } from "./board.mjs";
import { MODES } from "./scene.mjs";
import { VM_VIOLATIONS } from "./violations.mjs";

/** @typedef {import("./scene.mjs").Mode} Mode */

/** How long threads wait for each other, ms: a machine that is busy otherwise is no violation. */
const PATIENCE = 10_000;
/** Table pages: what all need; and what the vCPUs of a thread do, with caches and TLBs. */
const TABLE_PAGES = 8192;
const PAGES_PER_THREAD = 1500;
const RING_BYTES = 4096;

/** What a VM is told before it has slots. @type {Record<Mode, (vm: import("stage2").Vm) => void>} */
const CONFIGURE = {
  bitmap: () => {},
  manual: (vm) => vm.manualDirtyLogProtect({ initiallySet: false }),
  "all set": (vm) => {
    vm.manualDirtyLogProtect({ initiallySet: true });
    vm.eagerSplitChunk = BLOCK;
  },
  ring: (vm) => {
    vm.enableDirtyRing({ bytes: RING_BYTES, backupBitmap: false });
    vm.eagerSplitChunk = BLOCK;
  },
  "ring and bitmap": (vm) => vm.enableDirtyRing({ bytes: RING_BYTES, backupBitmap: true }),
  hdbss: (vm) => vm.enableHdbss(),
};

/** Of every other VM: range invalidation, and no cache maintenance. */
const PLAIN = { ipaBits: 40 };
const MODERN = { ...PLAIN, fwb: true, tlbiRange: true };

/**
 * @param {import("../options.mjs").Options} options
 * @param {import("../run.mjs").Spawn} spawn
 * @param {(text: string) => void} say
 * @returns {Promise<import("../run.mjs").Result>}
 */
export async function runVms(options, spawn, say) {
  const { threads } = options;
  const engine = await Engine.create({
    maxTablePages: TABLE_PAGES + threads * PAGES_PER_THREAD,
    maxThreads: threads + 1,
    guestRam: RAM,
    patience: PATIENCE,
  });
  const vms = MODES.map((mode, i) => makeVm(engine, mode, i % 2 === 0 ? PLAIN : MODERN));
  const board = VmBoard.create(threads);
  new Memory(engine, board).format();
  const found = (
    /** @type {import("./violations.mjs").VmViolation} */ name,
    /** @type {string} */ text,
  ) => {
    Atomics.add(board.common.violations, VM_VIOLATIONS.indexOf(name), 1);
    say(`${name}: ${text}`);
  };
  const starts = startsOf(engine, vms, board, options);
  const ended = await Promise.allSettled(starts.map((start) => spawn(start, say)));
  for (const end of ended) {
    if (end.status === "rejected") found("unexpected result", `a thread failed: ${end.reason}`);
  }
  // Threads that failed have left what they had; then nothing can be said of pages.
  if (ended.every(({ status }) => status === "fulfilled")) {
    for (const vm of vms) vm.dispose();
    engine.quiesce();
    const { used } = engine.memoryUsage();
    if (used !== 0) found("leaked page", `${used} are in use after the end of everything`);
    engine.dispose();
  }
  return { ...board.result(), notes: notesOf(board) };
}

/** @param {Engine} engine @param {Mode} mode @param {import("stage2").VmOptions} options */
function makeVm(engine, mode, options) {
  const vm = engine.vm(options);
  vm.enableNisvExits();
  CONFIGURE[mode](vm);
  return vm;
}

/** What each thread is started with. @param {Engine} engine @param {readonly import("stage2").Vm[]} vms @param {VmBoard} board @param {import("../options.mjs").Options} options @returns {import("./thread.mjs").VmStart[]} */
function startsOf(engine, vms, board, options) {
  return Array.from({ length: options.threads }, (_, thread) => ({
    part: "vm",
    engine: engine.handle,
    vms: vms.map((vm) => vm.handle),
    board: /** @type {SharedArrayBuffer} */ (board.buffer),
    thread,
    threads: options.threads,
    patience: PATIENCE,
    options,
  }));
}

/** @param {VmBoard} board */
function notesOf(board) {
  const { HANDLED, MISSED, COPIED, SUSPECTED } = COUNT;
  const count = (/** @type {number} */ i) => board.sum("counts", i);
  return [
    `${count(HANDLED)} aborts handled, ${count(MISSED)} accesses missed their slot`,
    `${count(COPIED)} pages copied, ${count(SUSPECTED)} suspected for a while`,
  ];
}
