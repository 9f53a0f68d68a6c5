/** Random operations: a vCPU with a TLB and one without agree on every access after every one of them. See twins.ts. */
import { describe, expect, it } from "vitest";
import { MODES, lab } from "../support.ts";
import { CONTEXT, ENGINE, STAGE1 } from "./operations.ts";
import { pick } from "./subject.ts";
import { MACHINE } from "./support.ts";
import { Twins, type World } from "./twins.ts";

/** Accesses after each operation. */
const ACCESSES = 6;
const SMALL = { sets: 2, ways: 2 };
const USUAL = { sets: 64, ways: 4 };
const RANGES = { tlbiRange: true };
const DEFERRED = { tlbiRange: true, fwb: true };

// prettier-ignore
const WORLDS: [string, World][] = [
  ["one guest, a tiny TLB",                    { tlb: SMALL, guests: [{}], steps: 600 }],
  ["one guest",                                { tlb: USUAL, guests: [{}], steps: 800 }],
  ["range invalidations, forced write-back",   { tlb: USUAL, guests: [DEFERRED], steps: 800 }],
  ["range invalidations",                      { tlb: USUAL, guests: [RANGES], steps: 500 }],
  ["ranges that are no whole pages",           { tlb: USUAL, odd: true, guests: [{}, RANGES, DEFERRED], steps: 1000 }],
  ["no hardware access flag",                  { tlb: USUAL, guests: [{ ha: false }], steps: 800 }],
  ["no hardware access flag, by pages",        { tlb: USUAL, guests: [{ ha: false, pagesOnly: true, ...DEFERRED }], steps: 600 }],
  ["hardware dirty state",                     { tlb: USUAL, hd: true, guests: [{}], steps: 800 }],
  ["pages of 16K",                             { tlb: USUAL, guests: [{ granule: "16K" }], steps: 300 }],
  ["pages of 64K",                             { tlb: USUAL, guests: [{ granule: "64K", ...DEFERRED }], steps: 200 }],
  ["four levels",                              { tlb: USUAL, guests: [{ ipaBits: 48, parange: 5 }], steps: 300 }],
  ["52 bits",                                  { tlb: USUAL, stage1: true, guests: [{ ipaBits: 52, parange: 6, lpa2: true }], steps: 300 }],
  ["three guests",                             { tlb: USUAL, guests: [{}, {}, DEFERRED], steps: 800 }],
  ["guests of three granules",                 { tlb: { sets: 16, ways: 1 }, guests: [{}, { granule: "16K" }, { granule: "64K" }], steps: 400 }],
  ["stage 1",                                  { tlb: USUAL, stage1: true, guests: [{}], steps: 800 }],
  ["stage 1, a tiny TLB",                      { tlb: { sets: 1, ways: 1 }, stage1: true, guests: [{ pagesOnly: true }], steps: 400 }],
  ["stage 1 of 64K pages",                     { tlb: USUAL, stage1: true, guests: [{ shift: 16 }], steps: 300 }],
  ["stage 1 of 16K pages over 64K",            { tlb: USUAL, stage1: true, guests: [{ shift: 14, granule: "64K" }], steps: 150 }],
  ["stage 1 of 4K and 64K pages",              { tlb: USUAL, stage1: true, guests: [{ highShift: 16 }], steps: 300 }],
  ["stage 1, two guests, dirty state",         { tlb: { sets: 32, ways: 8 }, stage1: true, hd: true, guests: [{}, {}], steps: 500 }],
];
const SHAPES = [1, 2, 16, 512, 4096]
  .flatMap((sets) => [1, 2, 4, 8].map((ways) => ({ sets, ways })))
  .filter(({ sets, ways }) => sets * ways <= 16384);

describe.each(MODES)("a vCPU with a TLB agrees with one without (%s)", (mode) => {
  const here = lab(mode, { ...MACHINE, maxTablePages: 16384 });

  function play(world: World, seed: number): Twins {
    const twins = new Twins(here, world, seed);
    const operations = Object.entries({ ...ENGINE, ...CONTEXT, ...(world.stage1 ? STAGE1 : {}) });
    const map = operations.find(([name]) => name === "map")!;
    for (let step = 0; step < world.steps; step++) {
      const [name, operation] = twins.random(3) === 0 ? map : pick(twins.random, operations);
      twins.note(`${name} ${operation(twins)}`);
      for (let i = 0; i < ACCESSES; i++) twins.access();
    }
    // It was about something: hits, faults, and more than those.
    expect(twins.faults).toBeGreaterThan(world.steps / 4);
    expect(twins.compared - twins.faults).toBeGreaterThan(world.steps / 2);
    const { hits, stage2Hits } = twins.tlb.statistics.tlb;
    expect(hits + stage2Hits).toBeGreaterThan(world.steps / 10);
    return twins;
  }

  it.each(WORLDS)("%s", (name, world) => {
    const seeds = mode === "threads" ? [1, 2] : [3];
    const all = seeds.map((seed) => play(world, seed + name.length * 100));
    const behind = all.reduce((sum, one) => sum + one.behind, 0);
    if (name.startsWith("no hardware")) expect(behind).toBeGreaterThan(0);
  });

  it.each(SHAPES)("whatever its shape: %o", (tlb) => {
    const stage1 = tlb.ways % 4 === 0;
    play({ tlb, stage1, guests: [{}, DEFERRED], steps: 60 }, tlb.sets + tlb.ways);
  });
});
