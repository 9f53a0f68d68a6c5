// @ts-check
/** What must never be in a VM, by name: that of tables, and what only logs and slots can get wrong. */
import { MODES } from "./scene.mjs";

/** @typedef {`dirty lost: ${import("./scene.mjs").Mode}`} Lost */

/** Stored to, copied before that, and in no log since. By the way of logging. */
export const LOST = /** @type {readonly Lost[]} */ (MODES.map((mode) => `dirty lost: ${mode}`));

const NEW = /** @type {const} */ ([
  "dirty without a store", // a page that nobody ever stored to, or that no slot has, is in a log
  "ring count", //            a reset says another number than was harvested
  "slot lost", //             an access finds no slot where one is
]);
const SHARED = /** @type {const} */ ([
  "store after unmap",
  "load after unmap",
  "wrong page",
  "stale mapping",
  "leaked page",
  "unexpected result",
  "no progress",
]);

/** @typedef {Lost | (typeof NEW)[number] | (typeof SHARED)[number]} VmViolation */

/** Those that tables do not have. @type {readonly VmViolation[]} */
export const NEW_VIOLATIONS = [...LOST, ...NEW];
/** @type {readonly VmViolation[]} */
export const VM_VIOLATIONS = [...NEW_VIOLATIONS, ...SHARED];
