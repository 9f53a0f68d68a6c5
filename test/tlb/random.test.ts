/**
 * Random operations on page tables, beside two vCPUs that run the same guests: one with a TLB, one that always walks. Every
 * operation of the engine sends the invalidations that it owes, and so does every edit of the guests' own tables here; so
 * both vCPUs must agree on every access. What may differ:
 *
 *   - whether an entry of the TLB decided (`fromTlb`);
 *   - access flags: an access that hits need not set them. One that walks must.
 *
 * A flag that was cleared without an invalidation is the only thing that a TLB may be behind with. Where hardware does not
 * manage access flags, a page that the TLB holds goes on without the fault that a walk has until it is invalidated; which
 * the model knows.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, Prot, type TlbShape, type Vcpu } from "../../src/index.ts";
import { MODES, lab, type Lab } from "../support.ts";
import { Guest, type GuestOptions, MACHINE, RAM, S1, S2, type Slot, TABLES } from "./support.ts";

type Random = (below: number) => number;

function generator(seed: number): Random {
  let state = seed * 0x9e37_79b9;
  return (below) => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Sizes by granule: page, block of level 2, and an IPA window of two blocks. */
const SIZES = {
  "4K": { page: 0x1000, block: 0x20_0000 },
  "16K": { page: 0x4000, block: 0x200_0000 },
  "64K": { page: 0x1_0000, block: 0x2000_0000 },
} as const;
const WINDOW = 0x8000_0000;
const BLOCKS = 2;
/** Pages of a block that are used, mostly: so that they are met again. */
const PAGES = 6;
/** Accesses after each operation. */
const ACCESSED = 6;
const PROTS = [Prot.R, Prot.RW, Prot.RX, Prot.RWX, Prot.RWX, Prot.W];
const ACCESSES = [Access.Read, Access.Write, Access.ReadWrite, Access.Fetch];

interface World {
  tlb: TlbShape;
  guests: GuestOptions[];
  /** Guests have stage 1 on. */
  stage1?: boolean;
  hd?: boolean;
  /** Ranges are no whole pages. */
  odd?: boolean;
  steps: number;
}

/** One guest, and what the test knows of it. */
class Subject {
  readonly guest: Guest;
  readonly page: number;
  readonly block: number;
  /** Stage 1: VAs of pages, by ASID or for all. */
  readonly vas: number[] = [];
  /** Leaves whose access flag software cleared, with no invalidation since: by first IPA. */
  readonly aged = new Set<number>();

  constructor(here: Lab, options: GuestOptions) {
    this.guest = new Guest(here, { ipaBits: 40, parange: 4, ...options });
    const { page, block } = SIZES[options.granule ?? "4K"];
    this.page = page;
    this.block = block;
  }

  ipa(random: Random): number {
    const at = random(16) === 0 ? random(this.block / this.page) : random(PAGES);
    return WINDOW + random(BLOCKS) * this.block + at * this.page;
  }

  /** The leaf that decides an IPA, or undefined. */
  leaf(ipa: number): Slot | undefined {
    for (let level = this.guest.s2.startLevel; ; level++) {
      const slot = this.guest.slot2(ipa, level);
      if ((slot.value & 1n) === 0n) return undefined;
      if (level === 3 || (slot.value & 2n) === 0n) return slot;
    }
  }
}

class Run {
  readonly #world: World;
  readonly #random: Random;
  readonly #subjects: Subject[];
  /** With a TLB, and without. */
  readonly tlb: Vcpu;
  readonly walking: Vcpu;
  readonly log: string[] = [];
  compared = 0;
  faults = 0;
  stale = 0;
  #current = 0;
  #asid = 1;

  constructor(here: Lab, world: World, seed: number) {
    this.#world = world;
    this.#random = generator(seed);
    this.#subjects = world.guests.map((options, i) => {
      return new Subject(here, { offset: i * 0x50_0000, ...options });
    });
    const { s2 } = (this.#subjects[0] as Subject).guest;
    const hd = world.hd ?? false;
    this.tlb = here.keep(here.engine.vcpu(s2, { tlb: world.tlb, hd }));
    this.walking = here.keep(here.engine.vcpu(s2, { tlb: false, hd }));
    if (world.stage1) for (const subject of this.#subjects) this.#mapStage1(subject);
    this.#enter();
  }

  get #subject(): Subject {
    return this.#subjects[this.#current] as Subject;
  }

  #mapStage1(subject: Subject): void {
    const { guest } = subject;
    const size = 2 ** (guest.shift ?? 12);
    for (let i = 0; i < 24; i++) {
      const va = (i < 16 ? 0x4000_0000 : -0x4000_0000) + i * size * (i % 5 === 0 ? 3 : 1);
      subject.vas.push(va);
      this.#point(subject, va);
    }
  }

  /** Points a stage-1 leaf somewhere. */
  #point(subject: Subject, va: number): void {
    const random = this.#random;
    const size = 2 ** subject.guest.shift;
    const ipa = Math.floor(subject.ipa(random) / size) * size;
    const bits = [S1.USER, S1.READ_ONLY, S1.NOT_GLOBAL, 1n << 54n, 1n << 53n];
    const chosen = bits.filter(() => random(3) === 0).reduce((all, bit) => all | bit, 0n);
    subject.guest.map(va, ipa, chosen);
  }

  #enter(): void {
    const { guest } = this.#subject;
    const stage1 = this.#world.stage1 ? guest.registers(this.#asid) : { sctlrEl1: 0n };
    for (const vcpu of [this.tlb, this.walking]) {
      const hd = this.#world.hd ? 1n << 22n : 0n;
      const { vtcrEl2, vttbrEl2 } = guest.switchTo();
      vcpu.setRegisters({ vtcrEl2: (vtcrEl2 as bigint) | hd, vttbrEl2: vttbrEl2 as bigint });
      vcpu.setRegisters(stage1);
    }
  }

  step(): void {
    const random = this.#random;
    const kinds = Object.keys(this.#operations);
    const kind = random(3) === 0 ? "map" : (kinds[random(kinds.length)] as string);
    const what = this.#operations[kind]?.();
    this.log.push(`${kind} ${what}`);
    if (this.log.length > 12) this.log.shift();
    for (let i = 0; i < ACCESSED; i++) this.#access();
  }

  #range(): { ipa: number; size: number } {
    const { page, block } = this.#subject;
    const ipa = this.#subject.ipa(this.#random);
    const choice = this.#random(24);
    if (choice === 0) return { ipa: Math.floor(ipa / block) * block, size: block };
    if (choice === 1) return { ipa: WINDOW, size: BLOCKS * block };
    const size = (1 + this.#random(4)) * page;
    if (!this.#world.odd) return { ipa, size };
    return { ipa: ipa + this.#random(page), size: size - this.#random(page) };
  }

  readonly #operations: Record<string, () => string> = {
    map: () => {
      const random = this.#random;
      const { page, block, guest } = this.#subject;
      const whole = random(4) === 0;
      const ipa = this.#subject.ipa(random);
      const range = whole
        ? { ipa: Math.floor(ipa / block) * block, size: block }
        : { ipa, size: (1 + random(6)) * page };
      const pa = 2 ** 36 + random(4) * 2 ** 33 + (range.ipa - WINDOW);
      const prot = PROTS[random(PROTS.length)] as number;
      const result = guest.s2.map({ ...range, pa, prot });
      return `${show(range)} ${pa.toString(16)} prot ${prot}: ${result}`;
    },
    unmap: () => {
      const range = this.#range();
      this.#subject.guest.s2.unmap(range);
      return show(range);
    },
    wrprotect: () => {
      const range = this.#range();
      this.#subject.guest.s2.wrprotect(range);
      this.#subject.guest.s2.tlbFlushRange(range);
      return show(range);
    },
    relax: () => {
      const ipa = this.#subject.ipa(this.#random);
      const prot = PROTS[this.#random(PROTS.length)] as number;
      return `${ipa.toString(16)} ${prot} ${this.#subject.guest.s2.relaxPerms({ ipa, prot })}`;
    },
    age: () => {
      const range = this.#range();
      const { s2 } = this.#subject.guest;
      for (const { ipa, accessed } of s2.leaves(range)) if (accessed) this.#subject.aged.add(ipa);
      const young = s2.testClearYoung(range);
      if (this.#random(2) === 0) {
        s2.tlbFlushRange({ ipa: WINDOW, size: BLOCKS * this.#subject.block });
        this.#subject.aged.clear();
      }
      return `${show(range)} ${young}`;
    },
    mkyoung: () => {
      const ipa = this.#subject.ipa(this.#random);
      this.#subject.guest.s2.mkyoung(ipa);
      return ipa.toString(16);
    },
    split: () => {
      const { block, guest } = this.#subject;
      const ipa = WINDOW + this.#random(BLOCKS) * block;
      return guest.s2.split({ ipa, size: block });
    },
    owner: () => {
      const range = { ipa: this.#subject.ipa(this.#random), size: this.#subject.page };
      this.#subject.guest.s2.setOwner({ ...range, owner: 1 });
      return show(range);
    },
    dirty: () => {
      if (!this.#world.hd) return "";
      const ipa = this.#subject.ipa(this.#random);
      const leaf = this.#subject.leaf(ipa);
      if (leaf === undefined) return "none";
      leaf.value |= S2.DBM;
      this.#subject.guest.s2.tlbFlushRange({ ipa, size: this.#subject.page });
      return ipa.toString(16);
    },
    guest: () => {
      this.#current = this.#random(this.#subjects.length);
      this.#asid = 1 + this.#random(3);
      this.#enter();
      return `${this.#current} ASID ${this.#asid}`;
    },
    level: () => {
      const el = this.#random(2) as 0 | 1;
      const pan = this.#random(4) === 0;
      for (const vcpu of [this.tlb, this.walking]) {
        vcpu.el = el;
        vcpu.pan = pan;
      }
      return `EL${el} PAN ${pan}`;
    },
    guestEdit: () => {
      if (!this.#world.stage1) return "";
      const va = this.#va();
      this.#point(this.#subject, va);
      const leaf = this.#random(2) === 0;
      if (this.#random(3) > 0) this.tlb.tlbi(leaf ? "VAALE1" : "VAAE1", { address: va });
      else this.tlb.tlbi("VMALLE1");
      return va.toString(16);
    },
    guestTable: () => {
      if (!this.#world.stage1) return "";
      // Another last table, with what the old one held.
      const { guest } = this.#subject;
      const va = this.#va();
      const parent = guest.slot1(va, 2);
      const table = guest.newTable(guest.shift);
      const size = 2 ** guest.shift;
      const old = guest.paOf(Number(parent.value & 0xffff_ffff_f000n));
      guest.engine.memoryMap
        .bytes(guest.paOf(table), size)
        .set(guest.engine.memoryMap.bytes(old, size));
      guest.engine.memoryMap.bytes(old, size).fill(0xff); // leads nowhere
      parent.value = BigInt(table) | 3n;
      this.tlb.tlbi("VAAE1", { address: va });
      // Every page of it, as break-before-make wants it
      const span = size * (size / 8);
      const first = Math.floor(va / span) * span;
      this.tlb.tlbi("RVAAE1", { address: first, pages: span / 4096 });
      return va.toString(16);
    },
    guestMemory: () => {
      if (!this.#world.stage1) return "";
      // The memory that the guest's own tables are in goes and comes back: faults on descriptors meanwhile.
      const { s2 } = this.#subject.guest;
      const range = { ipa: TABLES, size: RAM.size };
      s2.unmap(range);
      for (let i = 0; i < 2; i++) this.#access();
      s2.map({ ...range, pa: RAM.pa, prot: Prot.RW, forcePages: this.#random(2) === 0 });
      return "";
    },
  };

  #va(): number {
    const { vas } = this.#subject;
    return vas[this.#random(vas.length)] as number;
  }

  #access(): void {
    const random = this.#random;
    const subject = this.#subject;
    const { stage1 } = this.#world;
    const access = ACCESSES[random(ACCESSES.length)] as number;
    const within = random(subject.page / 8) * 8;
    const va = stage1
      ? this.#va() + (within % 2 ** subject.guest.shift)
      : subject.ipa(random) + within;
    const both: [Vcpu, boolean][] = [
      [this.tlb, true],
      [this.walking, false],
    ];
    if (random(2) === 0) both.reverse();
    const results = new Map<boolean, number | Fault>();
    const probe = this.walking.probe(va, Access.Read);
    const ipa = stage1 ? (probe instanceof Fault ? probe.ipa : probe.ipa) : va;
    for (const [vcpu, hasTlb] of both) {
      results.set(hasTlb, this.#one(vcpu, hasTlb, va, access, ipa));
    }
    this.#compare(results.get(true)!, results.get(false)!, va, access, ipa);
  }

  /** One access, and what it did to the stage-2 leaf. */
  #one(vcpu: Vcpu, hasTlb: boolean, va: number, access: number, ipa: number | undefined) {
    const leaf = ipa === undefined ? undefined : this.#subject.leaf(ipa);
    const before = leaf?.value ?? 0n;
    const used = () => vcpu.statistics.tlb.hits + vcpu.statistics.tlb.stage2Hits;
    const hits = hasTlb && (before & S2.AF) === 0n ? used() : 0;
    const result = vcpu.translate(va, access);
    if (leaf === undefined) return result;
    const changed = leaf.value ^ before;
    const where = () => `${va.toString(16)} ${this.log.join("\n")}`;
    if (result instanceof Fault) {
      expect(changed, where()).toBe(0n);
      return result;
    }
    const mayDirty = this.#world.hd && (access & Access.Write) !== 0 && (before & S2.DBM) !== 0n;
    expect(changed & ~(S2.AF | (mayDirty ? S2.W : 0n)), where()).toBe(0n);
    if ((access & Access.Write) !== 0) expect(leaf.value & S2.W, where()).toBe(S2.W);
    if ((leaf.value & S2.AF) === 0n) {
      expect(hasTlb && used() > hits, `no access flag: ${where()}`).toBe(true);
      this.stale++;
    }
    return result;
  }

  #compare(
    tlb: number | Fault,
    walked: number | Fault,
    va: number,
    access: number,
    ipa: number | undefined,
  ): void {
    this.compared++;
    const where = () => `VA ${va.toString(16)} access ${access}\n${this.log.join("\n")}`;
    if (walked instanceof Fault && walked.type === "accessFlag" && !same(tlb, walked)) {
      // Only without hardware flags, and only of a leaf that was young when it was taken in.
      const leaf = [...this.#subject.guest.s2.leaves({ ipa: ipa as number, size: 1 })][0];
      if (leaf === undefined) throw new Error(`no leaf: ${where()}`);
      expect(this.#subject.aged.has(leaf.ipa), where()).toBe(true);
      if (tlb instanceof Fault) expect(tlb, where()).toMatchObject(DECIDED);
      else expect(tlb, where()).toBe(leaf.pa + (ipa as number) - leaf.ipa);
      this.stale++;
      return;
    }
    if (walked instanceof Fault) {
      this.faults++;
      expect(tlb, where()).toBeInstanceOf(Fault);
      expect({ ...(tlb as Fault), fromTlb: false }, where()).toEqual({ ...walked });
    } else expect(tlb, where()).toBe(walked);
  }
}

/** A fault of an entry: for permissions, which come after the access flag. */
const DECIDED = { type: "permission", fromTlb: true, stage: 2 };

function same(a: number | Fault, b: Fault): boolean {
  return a instanceof Fault && a.esr === b.esr;
}

function show({ ipa, size }: { ipa: number; size: number }): string {
  return `[${ipa.toString(16)} +${size.toString(16)}]`;
}

const small = { sets: 2, ways: 2 };
const usual = { sets: 64, ways: 4 };
// prettier-ignore
const WORLDS: [string, World][] = [
  ["one guest, a tiny TLB", { tlb: small, guests: [{}], steps: 800 }],
  ["one guest", { tlb: usual, guests: [{}], steps: 800 }],
  ["range invalidations, forced write-back", { tlb: usual, guests: [{ tlbiRange: true, fwb: true }], steps: 800 }],
  ["range invalidations", { tlb: usual, guests: [{ tlbiRange: true }], steps: 500 }],
  ["ranges that are no whole pages", { tlb: usual, odd: true, guests: [{}, { tlbiRange: true }, { tlbiRange: true, fwb: true }], steps: 500 }],
  ["no hardware access flag", { tlb: usual, guests: [{ ha: false }], steps: 800 }],
  ["no hardware access flag, by pages", { tlb: usual, guests: [{ ha: false, pagesOnly: true, tlbiRange: true, fwb: true }], steps: 500 }],
  ["hardware dirty state", { tlb: usual, hd: true, guests: [{}], steps: 800 }],
  ["pages of 16K", { tlb: usual, guests: [{ granule: "16K" }], steps: 400 }],
  ["pages of 64K", { tlb: usual, guests: [{ granule: "64K", tlbiRange: true, fwb: true }], steps: 200 }],
  ["three guests", { tlb: usual, guests: [{}, {}, { tlbiRange: true, fwb: true }], steps: 800 }],
  ["guests of three granules", { tlb: { sets: 16, ways: 1 }, guests: [{}, { granule: "16K" }, { granule: "64K" }], steps: 400 }],
  ["stage 1", { tlb: usual, stage1: true, guests: [{}], steps: 800 }],
  ["stage 1, a tiny TLB", { tlb: { sets: 1, ways: 1 }, stage1: true, guests: [{ pagesOnly: true }], steps: 400 }],
  ["stage 1 of 64K pages", { tlb: usual, stage1: true, guests: [{ shift: 16 }], steps: 300 }],
  ["stage 1 of 16K pages over 64K", { tlb: usual, stage1: true, guests: [{ shift: 14, granule: "64K" }], steps: 150 }],
  ["stage 1, two guests, dirty state", { tlb: { sets: 32, ways: 8 }, stage1: true, hd: true, guests: [{}, {}], steps: 500 }],
];
const SHAPES = [1, 2, 16, 512, 4096].flatMap((sets) =>
  [1, 2, 4, 8].map((ways) => ({ sets, ways })),
);

describe.each(MODES)("a vCPU with a TLB agrees with one without (%s)", (mode) => {
  const here = lab(mode, { ...MACHINE, maxTablePages: 16384 });

  function play(world: World, seed: number): Run {
    const run = new Run(here, world, seed);
    for (let step = 0; step < world.steps; step++) run.step();
    // It did what it is about: hits, misses, faults, agreement.
    expect(run.compared).toBeGreaterThanOrEqual(world.steps * ACCESSED);
    expect(run.faults).toBeGreaterThan(world.steps / 20);
    expect(run.tlb.statistics.tlb.hits).toBeGreaterThan(world.steps / 20);
    return run;
  }

  it.each(WORLDS)("%s", (name, world) => {
    const seeds = mode === "threads" ? [1, 2] : [3];
    const runs = seeds.map((seed) => play(world, seed + name.length * 100));
    if (name === "one guest") {
      expect(runs.reduce((sum, { stale }) => sum + stale, 0)).toBeGreaterThan(0);
    }
  });

  it.each(SHAPES.filter(({ sets, ways }) => sets * ways <= 16384))(
    "whatever its shape: %o",
    (tlb) => {
      const guests = [{}, { tlbiRange: true, fwb: true }];
      play({ tlb, stage1: tlb.ways % 4 === 0, guests, steps: 120 }, tlb.sets + tlb.ways);
    },
  );
});
