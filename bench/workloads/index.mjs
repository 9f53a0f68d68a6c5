// @ts-check
import { GIB, evenBed, scatteredBed } from "../bed.mjs";
import { ageEach, ageRange, makeYoungEach } from "./age.mjs";
import { lookUp, lookUpScattered } from "./lookup.mjs";
import { mapBlocks, mapEach, mapEachShuffled, mapRange } from "./map.mjs";
import { relaxPermissions, writeProtect } from "./protect.mjs";
import { splitBlocks } from "./split.mjs";
import {
  accessFlagStorm,
  translateBatches,
  translateBatchesScattered,
  translateChain,
  translateHot,
} from "./translate.mjs";
import { translateTwoStages, translateTwoStagesHot } from "./two_stage.mjs";
import { unmapEach, unmapRange } from "./unmap.mjs";

/** A CPU whose maintenance can be deferred: no cleaning of caches, one range invalidation at the end. */
const DEFERRED = { fwb: true, tlbiRange: true };

/**
 * The workloads by their fixed names. 1 GiB that starts at 4 GiB, and 262,144 pages spread over 16 GiB.
 *
 * @param {import("stage2").Engine} engine with GUEST_RAM
 * @returns {import("../measure.mjs").Workload[]}
 */
export function allWorkloads(engine) {
  const dense = evenBed(engine, 4 * GIB, GIB);
  const scattered = scatteredBed(engine, 16 * GIB);
  return [
    mapEach("W1", dense),
    mapRange("W2", dense),
    mapBlocks("W2b", dense),
    mapEachShuffled("W3", scattered),
    writeProtect("W4", dense),
    ageRange("W5a", dense, 1),
    ageRange("W5b", dense, 0),
    ageRange("W5c", dense, 100),
    ageEach("W5d", dense),
    relaxPermissions("W6", dense),
    makeYoungEach("W7", dense),
    lookUp("W8a", dense),
    lookUpScattered("W8b", scattered),
    splitBlocks("W9", dense),
    unmapRange("W10a", dense),
    unmapEach("W10b", dense),
    unmapRange("W10c", dense, DEFERRED),
    translateBatches("W11a", dense),
    translateBatchesScattered("W11b", scattered),
    translateChain("W11c", dense),
    translateHot("W12", dense),
    translateTwoStages("two-stage-cold", dense),
    translateTwoStagesHot("two-stage-hot", dense),
    accessFlagStorm("af-storm", dense),
  ];
}

/** Bytes for the sizes that figures are measured against: 1 MiB to 64 GiB. */
export const SCALE = [2 ** -10, 2 ** -6, 2 ** -2, 1, 4, 16, 64].map((gib) => gib * GIB);

/**
 * One operation of each kind at each size; single-page calls use at most 262,144 pages of it.
 *
 * @param {import("stage2").Engine} engine
 * @param {number} size
 * @param {string} label
 * @returns {import("../measure.mjs").Workload[]}
 */
export function workloadsOf(engine, size, label) {
  const bed = evenBed(engine, 0, size);
  return [
    mapEach(`map each ${label}`, bed),
    mapRange(`map ${label}`, bed),
    writeProtect(`wrprotect ${label}`, bed),
    ageRange(`age young ${label}`, bed, 1),
    ageRange(`age old ${label}`, bed, 0),
    lookUp(`lookup ${label}`, bed),
    translateBatches(`translate ${label}`, bed),
    unmapRange(`unmap ${label}`, bed),
  ];
}
