// @ts-check
/** Times by phase: what a phase takes in one round is the sum of its parts. */
import { summarize } from "../statistics.mjs";

/**
 * A line of the result: one phase of one scenario. `nsPerOp`, `min` and `max` are per unit; `ms` is the whole phase, median.
 *
 * @typedef {object} PhaseRow
 * @property {string} name scenario and phase
 * @property {string} unit
 * @property {number} operations of one round
 * @property {number} ms
 * @property {number} nsPerOp
 * @property {number} opsPerSec
 * @property {number} min
 * @property {number} max
 */

/** @typedef {{ unit: string, operations: number, ns: number }} Part */

export class Clock {
  /** @type {Map<string, { unit: string, samples: { operations: number, ns: number }[] }>} */
  #phases = new Map();
  /** @type {Map<string, Part>} of this round */
  #round = new Map();

  /**
   * Times work that belongs to a phase of this round.
   *
   * @template T
   * @param {string} phase
   * @param {string} unit
   * @param {number} operations
   * @param {() => T} work
   * @returns {T}
   */
  time(phase, unit, operations, work) {
    const from = performance.now();
    const result = work();
    this.add(phase, unit, operations, (performance.now() - from) * 1e6);
    return result;
  }

  /** @param {string} phase @param {string} unit @param {number} operations @param {number} ns */
  add(phase, unit, operations, ns) {
    const part = this.#round.get(phase) ?? { unit, operations: 0, ns: 0 };
    part.operations += operations;
    part.ns += ns;
    this.#round.set(phase, part);
  }

  /** The next parts are of another round. @param {boolean} kept false: this one was for warming up */
  endRound(kept) {
    for (const [phase, { unit, operations, ns }] of this.#round) {
      if (!kept || operations === 0) continue; // nothing of it came up in this round
      const entry = this.#phases.get(phase) ?? { unit, samples: [] };
      entry.samples.push({ operations, ns });
      this.#phases.set(phase, entry);
    }
    this.#round.clear();
  }

  /** @param {string} scenario @returns {PhaseRow[]} */
  rows(scenario) {
    return Array.from(this.#phases, ([phase, { unit, samples }]) => {
      const each = summarize(samples.map(({ operations, ns }) => ns / operations));
      const whole = summarize(samples.map(({ ns }) => ns));
      return {
        name: `${scenario}: ${phase}`,
        unit,
        operations: Math.round(summarize(samples.map((one) => one.operations)).median),
        ms: whole.median / 1e6,
        nsPerOp: each.median,
        opsPerSec: 1e9 / each.median,
        min: each.min,
        max: each.max,
      };
    });
  }
}
