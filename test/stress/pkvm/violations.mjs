// @ts-check
/** What must never be in a pKVM machine, by name. */

const NEW = /** @type {const} */ ([
  "record without leaf", // the host's kernel has written down what the hypervisor does not map
  "leaf without record", // and the other way round
  "share count", //         of a page is not the number of leaves that map it
  "page owner", //          a page has no owner, or more than one
  "admitted pages", //      pages in use by VMs are not those that VMs have admitted
]);
const SHARED = /** @type {const} */ ([
  "wrong page",
  "leaked page",
  "unexpected result",
  "no progress",
]);

/** @typedef {(typeof NEW)[number] | (typeof SHARED)[number]} PkvmViolation */

/** @type {readonly PkvmViolation[]} */
export const PKVM_VIOLATIONS = [...NEW, ...SHARED];
