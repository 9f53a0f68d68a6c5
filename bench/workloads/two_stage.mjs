// @ts-check
import { Prot } from "stage2";
import { PA_OFFSET } from "../bed.mjs";
import { stage1Bytes, writeStage1 } from "../stage1.mjs";
import { mapPages } from "./state.mjs";
import { hotPages, translateEach } from "./translate.mjs";
import { hitTlb, onFreshVcpu, walked } from "./vcpu.mjs";

/**
 * @typedef {import("../bed.mjs").Bed} Bed
 * @typedef {import("stage2").Stage2} Stage2
 * @typedef {import("stage2").Vcpu} Vcpu
 */

/** Virtual addresses are intermediate physical ones plus this. */
const VA_OFFSET = 2 ** 40;
/** Where the guest has its stage-1 tables. */
const TABLES = 0;

/** Guest memory that these workloads need of their engine: for the stage-1 tables of 1 GiB. */
export const GUEST_RAM = { pa: TABLES + PA_OFFSET, size: 4 * 2 ** 20 };

/** Four levels of stage 1, the address of each descriptor and of the page through three of stage 2. */
const READS = { stage1: [1, 1, 1, 1], stage2: [0, 5, 5, 5] };

/** Walks both stages, one address per call, random order. @param {string} name @param {Bed} bed */
export function translateTwoStages(name, bed) {
  const addresses = virtual(bed.shuffled);
  return onFreshVcpu(bed, name, {
    operations: addresses.length,
    vcpu: { tlb: false },
    map: mapBoth(bed),
    prepare: (vcpu) => stage1On(vcpu, bed),
    expected: addresses.length * (PA_OFFSET - VA_OFFSET),
    run: (vcpu) => translateEach(vcpu, addresses),
    verify: walked(addresses.length, READS),
  });
}

/** The same where the TLB knows all the pages. @param {string} name @param {Bed} bed */
export function translateTwoStagesHot(name, bed) {
  const hot = virtual(hotPages(bed));
  return onFreshVcpu(bed, name, {
    unit: "hit",
    operations: hot.length,
    vcpu: {},
    map: mapBoth(bed),
    prepare(vcpu) {
      stage1On(vcpu, bed);
      translateEach(vcpu, hot);
    },
    expected: hot.length * (PA_OFFSET - VA_OFFSET),
    run: (vcpu) => translateEach(vcpu, hot),
    verify: hitTlb(hot.length),
  });
}

/** @param {Float64Array} addresses */
function virtual(addresses) {
  return addresses.map((ipa) => ipa + VA_OFFSET);
}

/** Maps the bed, and the guest's memory. @param {Bed} bed @returns {(s2: Stage2) => void} */
function mapBoth(bed) {
  const { pa, size } = GUEST_RAM;
  return (s2) => {
    mapPages(bed)(s2);
    s2.map({ ipa: TABLES, size, pa, prot: Prot.RW, forcePages: true });
  };
}

/** @param {Vcpu} vcpu @param {Bed} bed */
function stage1On(vcpu, { engine, ipa, size }) {
  const memory = engine.memoryMap.bytes(GUEST_RAM.pa, stage1Bytes(size));
  vcpu.setRegisters(writeStage1(memory, { va: ipa + VA_OFFSET, ipa, size, tables: TABLES }));
}
