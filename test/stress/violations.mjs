// @ts-check
/** What must never be, by name; the names are those of the result. */

export const VIOLATIONS = /** @type {const} */ ([
  "access flag lost", //          used since it was last reported, yet old and never reported
  "reported twice", //            more reports than uses, or young without a use
  "dirty lost", //                stored to, yet clean in the log and in its entry
  "store after write-protect", // a store went through after write-protection, flush and completion
  "store after unmap", //         a page was stored to after its unmap returned
  "load after unmap", //          a page was read after its unmap returned
  "wrong page", //                an access went to another page's memory
  "store lost", //                a guest's store is not where it stored
  "stale mapping", //             an entry maps what its page does not have
  "reference count", //           of a table page is not 1 and its entries
  "leaked page", //               a table page is in use and in no table
  "unexpected result", //         an errno or a fault that none of the rules allows
  "no progress", //               an access that faults for ever, a thread that does not come to the barrier
]);

/** @typedef {(typeof VIOLATIONS)[number]} Violation */
