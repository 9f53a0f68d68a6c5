// @ts-check

/**
 * What each workload should reach, in ns per unit, on the machine where the goals were set. There the
 * yardstick took `yardstick` ns; on another machine the goal is in proportion to what it takes there.
 *
 * @typedef {object} Goal
 * @property {number} goal
 * @property {number} yardstick
 * @property {string} [scaleBy] row of the yardstick to scale by, where the workload has none of its own
 * @property {boolean} [minima] compare minima: the working set lives in the shared last-level cache, so that
 *   medians follow the neighbours
 */

/** @type {Readonly<Record<string, Goal>>} */
// prettier-ignore
export const GOALS = {
  W1:   { goal: 25,   yardstick: 2.5 },
  W2:   { goal: 0.5,  yardstick: 0.084 },
  W2b:  { goal: 5,    yardstick: 0.09 },
  W3:   { goal: 90,   yardstick: 31,    minima: true },
  W4:   { goal: 2.5,  yardstick: 2.2 },
  W5a:  { goal: 2.5,  yardstick: 2.2 },
  W5b:  { goal: 0.25, yardstick: 0.091 },
  W5c:  { goal: 0.35, yardstick: 0.094 },
  W5d:  { goal: 15,   yardstick: 2.5 },
  W6:   { goal: 18,   yardstick: 5.6 },
  W7:   { goal: 18,   yardstick: 5.4 },
  W8a:  { goal: 11,   yardstick: 3.3 },
  W8b:  { goal: 36,   yardstick: 23,    minima: true },
  W9:   { goal: 0.6,  yardstick: 0.086 },
  W10a: { goal: 2.6,  yardstick: 2.4 },
  W10b: { goal: 20,   yardstick: 2.8 },
  W10c: { goal: 0.5,  yardstick: 0.084, scaleBy: "W2" }, // plain vector stores over whole tables, as W2
  W11a: { goal: 4,    yardstick: 2.9 },
  W11b: { goal: 7.2,  yardstick: 6,     minima: true }, // 1.2 times the yardstick, whatever that takes
  W11c: { goal: 26,   yardstick: 18.5 },
  W12:  { goal: 5,    yardstick: 3.3,   scaleBy: "W8a" }, // calls that follow the clock; W11c follows cache latency
};
