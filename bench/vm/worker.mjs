// @ts-check
/** A thread of the storm: a vCPU that writes to each page of a range. */
import { Access } from "stage2";
import { PAGE } from "../bed.mjs";
import { serve } from "../threads/serve.mjs";
import { IPA, linearBacking } from "./guest.mjs";

/**
 * @typedef {object} Data
 * @property {import("stage2").VmHandle} vm
 * @property {number} first offset of the range in the slot
 * @property {number} size
 */

/** @param {import("stage2").Engine} engine @param {Data} data */
function page(engine, { vm: handle, first, size }) {
  const vm = engine.attachVm(handle, { memory: linearBacking(PAGE) });
  const vcpu = vm.createVcpu({ tlb: false });
  return {
    work() {
      let written = 0;
      for (let ipa = IPA + first; ipa < IPA + first + size; ipa += PAGE) {
        if (typeof vcpu.run(() => vcpu.cpu.translate(ipa, Access.Write)) === "number") written++;
      }
      return written;
    },
    finish() {
      vcpu.dispose();
      vm.dispose();
      return {};
    },
  };
}

await serve({ page });
