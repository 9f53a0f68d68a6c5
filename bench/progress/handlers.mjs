// @ts-check
/**
 * Two ways to handle a guest's fault. The moments between which others run are yields; who is in the lock keeps other
 * handlers out, but no vCPU.
 *
 *     prejudgement     a leaf that differs in permissions at most is left as it is (map: "again"), relaxing adds to it
 *     none             whatever differs from what this fault wants is taken out and put in anew
 */
import { Prot, WalkFlag } from "stage2";
import { PAGE } from "../bed.mjs";

/**
 * @typedef {object} Guest
 * @property {import("stage2").Stage2} s2
 * @property {number} ipa
 * @property {number} pa
 * @property {{ taken: boolean }} lock
 */

/** @typedef {(guest: Guest, fault: import("stage2").Fault, prot: number) => Generator<void, void, void>} Handler */

const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;
const RIGHTS = Prot.RWX;

/** @type {Record<"on" | "off", Handler>} */
export const HANDLERS = {
  *on({ s2, ipa, pa }, fault, prot) {
    if (fault.type === "permission") s2.raw.relaxPerms(ipa, prot);
    else s2.raw.map(ipa, PAGE, pa, prot, FAULT);
  },

  *off({ s2, ipa, pa, lock }, _, prot) {
    while (lock.taken) yield;
    lock.taken = true;
    const found = s2.getLeaf(ipa);
    if (found.kind !== "leaf" || (found.prot & RIGHTS) !== prot) {
      if (found.kind === "leaf") {
        s2.raw.unmap(ipa, PAGE);
        yield; // the entry is invalid: whoever comes now faults, and wants its own mapping afterwards
      }
      s2.raw.map(ipa, PAGE, pa, prot, FAULT);
    }
    lock.taken = false;
  },
};
