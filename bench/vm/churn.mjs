// @ts-check
/** Memslots come and go beside others: every change publishes a new set. And what faults and lookups cost among many. */
import assert from "node:assert/strict";
import { Access, MemslotFlag } from "stage2";
import { BLOCK, GIB, PAGE, generator } from "../bed.mjs";
import { Clock } from "./clock.mjs";
import { HVA, IPA, linearBacking } from "./guest.mjs";

/** @typedef {import("./migration.mjs").Scenario} Scenario */
/** @typedef {import("stage2").Vm} Vm */

const COUNTS = [1, 100, 10_000];
const SIZE = 16 * PAGE;
/** Slots lie apart, so that there is room to move into. */
const APART = 2 * SIZE;
const TURNS = 1000;

/** @type {readonly Scenario[]} */
export const CHURNS = COUNTS.map((count) => {
  const name = `memslots-${count}`;
  return { name, measure: (engine, reps) => churn(engine, reps, name, count) };
});

/** @param {number} slot @param {number} [flags] */
const region = (slot, flags = 0) => ({
  slot,
  ipa: IPA + slot * APART,
  size: SIZE,
  hva: HVA + slot * SIZE,
  flags,
});

/** @param {import("stage2").Engine} engine @param {number} reps @param {string} name @param {number} count */
function churn(engine, reps, name, count) {
  const clock = new Clock();
  for (let rep = -1; rep < reps; rep++) {
    churnOnce(engine, clock, count);
    clock.endRound(rep >= 0);
    assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  }
  return clock.rows(name);
}

/** @param {import("stage2").Engine} engine @param {Clock} clock @param {number} count */
function churnOnce(engine, clock, count) {
  const vm = engine.vm({ ipaBits: 40, memory: linearBacking(PAGE) });
  const random = generator();
  const anyOf = Array.from({ length: TURNS }, () => random(count));
  const change = (/** @type {string} */ phase, /** @type {(slot: number) => void} */ work) =>
    clock.time(phase, "slot", TURNS, () => anyOf.forEach(work));

  clock.time("create", "slot", count, () => {
    for (let slot = 0; slot < count; slot++) vm.setMemslot(region(slot));
  });
  assert.equal(vm.memslots().length, count);
  look(vm, clock, anyOf);
  change("delete and create one", (slot) => {
    vm.setMemslot({ ...region(slot), size: 0 });
    vm.setMemslot(region(slot));
  });
  change("move one away and back", (slot) => {
    vm.setMemslot({ ...region(slot), ipa: IPA + slot * APART + SIZE });
    vm.setMemslot(region(slot));
  });
  change("log on and off", (slot) => {
    vm.setMemslot(region(slot, MemslotFlag.LOG_DIRTY_PAGES));
    vm.setMemslot(region(slot));
  });
  clock.time("delete", "slot", count, () => {
    for (let slot = 0; slot < count; slot++) vm.setMemslot({ ...region(slot), size: 0 });
  });
  assert.equal(vm.memslots().length, 0);
  vm.dispose();
}

/** What asks for a slot: by address, with a fault, by a notifier. @param {Vm} vm @param {Clock} clock @param {readonly number[]} anyOf */
function look(vm, clock, anyOf) {
  const vcpu = vm.createVcpu({ tlb: false });
  clock.time("look up", "slot", anyOf.length, () => {
    for (const slot of anyOf) vm.memslotOf(IPA + slot * APART);
  });
  clock.time("fault and notifier", "fault", anyOf.length, () => {
    for (const slot of anyOf) {
      vcpu.run(() => vcpu.cpu.translate(IPA + slot * APART, Access.Write));
      vm.invalidate({ hva: HVA + slot * SIZE, size: PAGE }, () => {});
    }
  });
  vcpu.dispose();
}

/**
 * Bytes that things take of the engine's memory, which it hands out in units of 4 KiB.
 *
 * @param {import("stage2").Engine} engine
 * @returns {{ name: string, value: number, unit: string }[]}
 */
export function memoryFacts(engine) {
  const slots = COUNTS[COUNTS.length - 1];
  const logged = { slot: slots, ipa: 2 ** 38, size: 16 * GIB, hva: HVA + 2 ** 40 };
  const vms = [engine.memoryUsage().used];
  const vm = engine.vm({ ipaBits: 40, memory: linearBacking(BLOCK) });
  const steps = [
    () => {},
    () => {
      for (let slot = 0; slot < slots; slot++) vm.setMemslot(region(slot));
    },
    () => vm.setMemslot({ ...logged, flags: 0 }),
    () => vm.setMemslot({ ...logged, flags: MemslotFlag.LOG_DIRTY_PAGES }),
    () => vm.createVcpu({ tlb: false }),
  ];
  const used = steps.map((step) => (step(), engine.memoryUsage().used));
  const grown = (/** @type {number} */ i) => (used[i] - (used[i - 1] ?? vms[0])) * PAGE;
  vm.dispose();
  return [
    { name: "memory: VM", value: grown(0), unit: "bytes" },
    { name: "memory: slot", value: grown(1) / slots, unit: "bytes" },
    { name: "memory: dirty-logged GiB", value: grown(3) / 16, unit: "bytes" },
    { name: "memory: vCPU without TLB", value: grown(4), unit: "bytes" },
  ];
}
