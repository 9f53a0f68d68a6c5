// @ts-check
/**
 * vCPUs that use one page, some to write and some to read, and a host that unmaps it now and then. One thread plays all,
 * and a seeded choice says whose step is next: the same faults in every run.
 */
import assert from "node:assert/strict";
import { Access, Engine, Fault, Prot } from "stage2";
import { PAGE, generator } from "../bed.mjs";
import { HANDLERS } from "./handlers.mjs";

/**
 * @typedef {object} Outcome
 * @property {number} accesses
 * @property {number} unmaps
 * @property {number} faults
 * @property {number[]} histogram accesses by how many faults each took
 * @property {number} beyond accesses that took more faults than {@link ENOUGH} for their start and for each unmap meanwhile
 */

/** @typedef {{ writers: number, readers: number, steps: number, unmapEvery: number, seed: number }} Scenario */

const IPA = 0x4000_0000;
const PA = 0x8_0000_0000;
/** Steps between a fault and what its handler does, at most: getting at the page takes long. */
const SLOW = 8;
/** One because nothing is mapped, one because another vCPU's mapping allows less. */
const ENOUGH = 2;

/** Plays a scenario. @param {"on" | "off"} prejudgement @param {Scenario} scenario @returns {Promise<Outcome>} */
export async function play(prejudgement, { writers, readers, steps, unmapEvery, seed }) {
  const engine = await Engine.create({ maxTablePages: 1024 });
  const s2 = engine.stage2();
  const random = generator(seed);
  /** @type {Outcome} */
  const outcome = { accesses: 0, unmaps: 0, faults: 0, histogram: [], beyond: 0 };
  const guest = { s2, ipa: IPA, pa: PA, lock: { taken: false } };
  const vcpus = Array.from({ length: writers + readers }, (_, i) => {
    const vcpu = engine.vcpu(s2, { tlb: { sets: 16, ways: 2 } });
    return run(vcpu, i < writers, { guest, handler: HANDLERS[prejudgement], random, outcome });
  });
  for (let step = 0; step < steps; step++) {
    if (random(unmapEvery) === 0 && !guest.lock.taken) {
      s2.unmap({ ipa: IPA, size: PAGE });
      outcome.unmaps++;
    }
    vcpus[random(vcpus.length)].next();
  }
  s2.dispose();
  engine.dispose();
  return outcome;
}

/**
 * A vCPU: accesses, each until it succeeds.
 *
 * @param {import("stage2").Vcpu} vcpu
 * @param {boolean} writes
 * @param {{ guest: import("./handlers.mjs").Guest, handler: import("./handlers.mjs").Handler, random: (limit: number) => number, outcome: Outcome }} setting
 */
function* run(vcpu, writes, { guest, handler, random, outcome }) {
  const access = writes ? Access.Write : Access.Read;
  const prot = writes ? Prot.RW : Prot.R;
  for (;;) {
    const { unmaps } = outcome;
    let faults = 0;
    for (;;) {
      const result = vcpu.translate(IPA, access);
      yield;
      if (!(result instanceof Fault)) {
        assert.equal(result, PA);
        break;
      }
      faults++;
      for (let i = random(SLOW); i > 0; i--) yield;
      yield* handler(guest, result, prot);
      yield;
    }
    outcome.accesses++;
    outcome.faults += faults;
    if (faults > ENOUGH * (1 + outcome.unmaps - unmaps)) outcome.beyond++;
    outcome.histogram[faults] = (outcome.histogram[faults] ?? 0) + 1;
  }
}
