// @ts-check
/** A VM with one slot and one vCPU that touches its memory; its table is the host's, or a hypervisor's. */
import assert from "node:assert/strict";
import { Access } from "stage2";
import { IPA, PA } from "./bed.mjs";

export const HVA = 2 ** 46;

export class Guest {
  /**
   * @param {import("stage2").Engine} engine
   * @param {number} size bytes of the slot
   * @param {number} leaf bytes of a leaf of the host's own tables
   * @param {import("stage2").Pkvm} [pkvm] the machine whose hypervisor keeps the table
   */
  constructor(engine, size, leaf, pkvm) {
    this.size = size;
    /** @type {import("stage2").Backing} */
    const memory = {
      resolve: ({ hva }) => ({ pa: hva - HVA + PA, writable: true, hostSize: leaf }),
    };
    this.vm = engine.vm({ ipaBits: 40, memory, ...(pkvm !== undefined && { pkvm }) });
    this.vm.setMemslot({ slot: 0, ipa: IPA, size, hva: HVA });
    // No TLB: what is timed is the host's work, not that of an emulated TLB.
    this.vcpu = this.vm.createVcpu({ tlb: false });
  }

  /** Leaves of its table. */
  get leaves() {
    return this.vm.stage2.counters().leafCount;
  }

  /** One write to each `step` bytes, faults and all. @param {number} step */
  touch(step) {
    const { vcpu } = this;
    for (let offset = 0; offset < this.size; offset += step) {
      const pa = vcpu.run(() => vcpu.cpu.translate(IPA + offset, Access.Write));
      if (pa !== PA + offset) assert.equal(pa, PA + offset);
    }
  }

  /** The host takes all of its memory away. */
  takeAway() {
    this.vm.invalidate({ hva: HVA, size: this.size }, () => {});
  }

  dispose() {
    this.vcpu.dispose();
    this.vm.dispose();
  }
}
