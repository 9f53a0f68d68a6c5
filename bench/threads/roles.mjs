// @ts-check
/** What threads can do: prepared first, then timed, then put away. */
import { Access, Fault, Prot, WalkFlag } from "stage2";
import { BLOCK, PA_OFFSET, PAGE, generator } from "../bed.mjs";

/**
 * @typedef {object} Role
 * @property {(stopped: () => boolean) => number} work how many operations it did
 * @property {() => Record<string, number>} finish facts, after everything was given back
 */

/**
 * What a job brings: each role takes what it needs.
 *
 * @typedef {object} Data
 * @property {import("stage2").Stage2Handle} s2
 * @property {number} ipa
 * @property {number} size
 * @property {{ ipa: number, size: number }} watched pages that are aged one by one
 * @property {readonly number[]} regions of 2 MiB
 * @property {number} ms how long
 * @property {number} every ms between passes
 * @property {number} seed
 * @property {"read" | "write"} side
 */

/** @typedef {(engine: import("stage2").Engine, data: Data) => Role} Make */

const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;
const EAGAIN = -11;
const BATCH = 4096;

/** Translates pages of a range in random order for a time; and now and then some of those that are aged one by one. @type {Make} */
const translate = (engine, { s2: handle, ipa, size, watched, ms, seed }) => {
  const s2 = engine.attachStage2(handle);
  const vcpu = engine.vcpu(s2, { tlb: false });
  const second = engine.vcpu(s2, { tlb: false });
  const random = generator(seed);
  const batches = Array.from({ length: 16 }, () => filled(engine, random, ipa, size, BATCH));
  const few = filled(engine, random, watched.ipa, watched.size, 64);
  let failed = 0;
  return {
    work() {
      const end = performance.now() + ms;
      let operations = 0;
      for (let i = 0; performance.now() < end; i++) {
        failed += vcpu.translateMany(batches[i % batches.length], Access.Read);
        failed += second.translateMany(few, Access.Read);
        operations += BATCH + 64;
      }
      return operations;
    },
    finish() {
      const made = second.statistics.accessFlagUpdates.stage2;
      for (const batch of [...batches, few]) batch.dispose();
      vcpu.dispose();
      second.dispose();
      s2.dispose();
      return { failed, made };
    },
  };
};

/** Ages the whole range every so many ms, and counts what it clears of the watched pages. @type {Make} */
const age = (engine, { s2: handle, ipa, size, watched, every }) => {
  const s2 = engine.attachStage2(handle);
  const { raw } = s2;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  let cleared = 0;
  let passes = 0;
  return {
    work(stopped) {
      while (!stopped()) {
        raw.testClearYoung(ipa, size, 1);
        for (let at = watched.ipa; at < watched.ipa + watched.size; at += PAGE) {
          cleared += raw.testClearYoung(at, PAGE, 1);
        }
        passes++;
        Atomics.wait(pause, 0, 0, every);
      }
      return passes;
    },
    finish() {
      s2.dispose();
      return { cleared, passes };
    },
  };
};

/** Stores to each page of its own regions, one after the other: a fault, its map, and the store again. @type {Make} */
const fault = (engine, { s2: handle, regions }) => {
  const s2 = engine.attachStage2(handle);
  const vcpu = engine.vcpu(s2, { tlb: false });
  let failed = 0;
  return {
    work() {
      let operations = 0;
      for (const ipa of regions) {
        for (let at = ipa; at < ipa + BLOCK; at += PAGE, operations++) {
          const result = vcpu.translate(at, Access.Write);
          if (!(result instanceof Fault)) failed++;
          failed += mapped(s2, at);
          failed += vcpu.translate(at, Access.Write) === at + PA_OFFSET ? 0 : 1;
        }
      }
      return operations;
    },
    finish() {
      vcpu.dispose();
      s2.dispose();
      return { failed };
    },
  };
};

/**
 * Maps a page; again where another thread is just putting in a table on the way. 1: it could not be.
 *
 * @param {import("stage2").Stage2} s2
 * @param {number} ipa
 */
function mapped({ raw }, ipa) {
  let status = EAGAIN;
  while (status === EAGAIN) status = raw.map(ipa, PAGE, ipa + PA_OFFSET, Prot.RWX, FAULT);
  return status === 0 ? 0 : 1;
}

/** The map alone. @type {Make} */
const map = (engine, { s2: handle, regions }) => {
  const s2 = engine.attachStage2(handle);
  let failed = 0;
  return {
    work() {
      let operations = 0;
      for (const ipa of regions) {
        for (let at = ipa; at < ipa + BLOCK; at += PAGE, operations++) {
          failed += mapped(s2, at);
        }
      }
      return operations;
    },
    finish() {
      s2.dispose();
      return { failed };
    },
  };
};

/** Translates pages that its TLB knows. @type {Make} */
const hit = (engine, { s2: handle, ipa, ms }) => {
  const s2 = engine.attachStage2(handle);
  const vcpu = engine.vcpu(s2);
  const pages = Float64Array.from({ length: 256 }, (_, i) => ipa + i * PAGE);
  return {
    work: () =>
      timed(ms, pages.length, () => {
        for (const page of pages) vcpu.translate(page, Access.Read);
      }),
    finish() {
      vcpu.dispose();
      s2.dispose();
      return {};
    },
  };
};

/** Takes and releases a side of the lock. @type {Make} */
const lock = (engine, { s2: handle, side, ms }) => {
  const s2 = engine.attachStage2(handle);
  const { mmuLock } = s2;
  const turn =
    side === "read"
      ? () => (mmuLock.acquireRead(), mmuLock.releaseRead())
      : () => (mmuLock.acquireWrite(), mmuLock.releaseWrite());
  return {
    work: () =>
      timed(ms, 100, () => {
        for (let i = 0; i < 100; i++) turn();
      }),
    finish() {
      s2.dispose();
      return {};
    },
  };
};

/** Ages its own 2 MiB, all old. @type {Make} */
const ageOwn = (engine, { s2: handle, ipa, ms }) => {
  const s2 = engine.attachStage2(handle);
  return {
    work: () => timed(ms, BLOCK / PAGE, () => s2.raw.testClearYoung(ipa, BLOCK, 1)),
    finish() {
      s2.dispose();
      return {};
    },
  };
};

/** Sits in a bracket and polls until it is stopped. @type {Make} */
const bracket = (engine, { s2: handle }) => {
  const s2 = engine.attachStage2(handle);
  const vcpu = engine.vcpu(s2);
  return {
    work(stopped) {
      let polls = 0;
      vcpu.enter();
      while (!stopped()) {
        for (let i = 0; i < 100; i++) vcpu.poll();
        polls += 100;
      }
      vcpu.exit();
      return polls;
    },
    finish() {
      vcpu.dispose();
      s2.dispose();
      return {};
    },
  };
};

/** Is attached, and sleeps. @type {Make} */
const idle = () => {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  return {
    work(stopped) {
      while (!stopped()) Atomics.wait(pause, 0, 0, 1);
      return 0;
    },
    finish: () => ({}),
  };
};

/** Repeats for a time; each turn is so many operations. @param {number} ms @param {number} each @param {() => void} turn */
function timed(ms, each, turn) {
  const end = performance.now() + ms;
  let operations = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 16; i++) turn();
    operations += 16 * each;
  }
  return operations;
}

/** A batch of random pages. @param {import("stage2").Engine} engine @param {(limit: number) => number} random @param {number} ipa @param {number} size @param {number} count */
function filled(engine, random, ipa, size, count) {
  const batch = engine.batch(count);
  for (let i = 0; i < count; i++) batch.addresses[i] = ipa + random(size / PAGE) * PAGE;
  return batch;
}

export const ROLES = { translate, age, fault, map, hit, lock, ageOwn, bracket, idle };
