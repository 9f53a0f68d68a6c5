/**
 * Exclusive monitors: what opens them. A store-exclusive of strict mode goes by address and granule, and sees every store
 * between, hardware's into page tables too; the fast one compares values.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  DIRTY,
  PAGE,
  RO,
  RW,
  UPPER,
  flatRegisters,
  ipaOf,
  leaf2,
  paOf,
  slotOf,
  stage2,
} from "./guest.ts";
import { HCR, VTCR, changed, machine } from "./machine.ts";
import { S2 } from "./paging.ts";

const OLD = RW & ~S2.AF;
const STRICT = { strictMonitor: true } as const;

describe.each(MODES)("exclusive monitors (%s)", (mode) => {
  const here = machine(mode);
  /** A CPU on the pages; and one that works on memory as it is, as a hypervisor edits tables. */
  const guest = (options: VcpuOptions = {}): Vcpu =>
    here.vcpu({ registers: flatRegisters("HA HD"), ...options });
  const editor = (options: VcpuOptions = {}): Vcpu =>
    here.vcpu({ registers: { hcrEl2: HCR.RW }, ...options });
  const WORD = paOf(0);

  it.each([{}, STRICT])("let a store through that nobody came before: %o", (options) => {
    const vcpu = editor(options);
    expect(vcpu.loadExclusive(WORD, 8)).toBe(0n);
    expect(vcpu.storeExclusive(WORD, 8, 7n)).toBe(true);
    expect(here.changes()).toEqual(changed(WORD, 7n));
    // It is open again.
    expect(vcpu.storeExclusive(WORD, 8, 8n)).toBe(false);
    expect(here.changes()).toEqual({});
  });

  it.each<[string, (vcpu: Vcpu) => unknown]>([
    ["CLREX", (vcpu) => vcpu.clearExclusive()],
    ["an exception", (vcpu) => (vcpu.el = 1)],
    ["a load-exclusive of something else", (vcpu) => vcpu.loadExclusive(WORD + 8, 8)],
    ["one of another size", (vcpu) => vcpu.loadExclusive(WORD, 4)],
    ["a store-exclusive elsewhere", (vcpu) => vcpu.storeExclusive(WORD + 8, 8, 1n)],
  ])("are opened by %s", (_name, event) => {
    for (const options of [{}, STRICT]) {
      const vcpu = editor(options);
      vcpu.loadExclusive(WORD, 8);
      event(vcpu);
      expect(vcpu.storeExclusive(WORD, 8, 7n)).toBe(false);
    }
  });

  /** What another CPU does to the word at `pa`. */
  const STORES: [string, (vcpu: Vcpu, pa: number) => unknown][] = [
    ["a store", (vcpu, pa) => vcpu.write64(pa, 5n)],
    ["a store of a byte", (vcpu, pa) => vcpu.write8(pa, 5)],
    ["an atomic", (vcpu, pa) => vcpu.atomic("add", pa, 8, 5n)],
    ["a compare-and-swap", (vcpu, pa) => vcpu.compareAndSwap(pa, 8, 0n, 5n)],
    [
      "a store-exclusive",
      (vcpu, pa) => [vcpu.loadExclusive(pa, 8), vcpu.storeExclusive(pa, 8, 5n)],
    ],
  ];

  it.each(STORES)("are opened by %s of another CPU", (_name, store) => {
    for (const options of [{}, STRICT]) {
      const [one, other] = [editor(options), editor(options)];
      one.loadExclusive(WORD, 8);
      store(other, WORD);
      expect(one.storeExclusive(WORD, 8, 7n)).toBe(false);
      expect(here.changes()).toEqual(changed(WORD, 5n));
      here.set(WORD, 0n);
    }
  });

  // R7, H-12.2: the same value again
  it.each(STORES)("see %s and one back in strict mode only (ABA)", (_name, store) => {
    for (const [options, stored] of [
      [{}, true],
      [STRICT, false],
    ] as const) {
      const [one, other] = [editor(options), editor(options)];
      one.loadExclusive(WORD, 8);
      store(other, WORD);
      other.write64(WORD, 0n);
      expect(one.storeExclusive(WORD, 8, 7n)).toBe(stored);
      expect(here.changes()).toEqual(stored ? changed(WORD, 7n) : {});
      here.set(WORD, 0n);
    }
  });

  // H-12.1
  it.each(STORES)("fail for %s beside the word in strict mode only", (_name, store) => {
    for (const [options, stored] of [
      [{}, true],
      [STRICT, false],
    ] as const) {
      const [one, other] = [editor(options), editor(options)];
      one.loadExclusive(WORD, 8);
      store(other, WORD + 56);
      expect(one.storeExclusive(WORD, 8, 0n)).toBe(stored);
      expect(here.changes()).toEqual(changed(WORD + 56, 5n));
      here.set(WORD + 56, 0n);
      one.loadExclusive(WORD, 8);
      store(other, WORD + 64); // another granule
      expect(one.storeExclusive(WORD, 8, 0n)).toBe(true);
      expect(here.changes()).toEqual(changed(WORD + 64, 5n));
      here.set(WORD + 64, 0n);
    }
  });

  it("of one CPU are not opened by what another only reads", () => {
    const [one, other] = [editor(STRICT), editor(STRICT)];
    one.loadExclusive(WORD, 8);
    other.read64(WORD);
    other.loadExclusive(WORD, 8);
    expect(other.storeExclusive(WORD + 8, 8, 1n)).toBe(false);
    expect(other.compareAndSwap(WORD, 8, 1n, 2n)).toBe(0n);
    expect(one.storeExclusive(WORD, 8, 0n)).toBe(true);
  });

  // H-12.3
  it.each([{}, STRICT])("let one of two loops go ahead at a time: %o", (options) => {
    const cpus = [editor(options), editor(options)] as const;
    for (let i = 0; i < 50; i++) {
      const [first, second] = i % 2 === 0 ? cpus : ([cpus[1], cpus[0]] as const);
      const value = first.loadExclusive(WORD, 8) as bigint;
      second.loadExclusive(WORD, 8);
      expect(first.storeExclusive(WORD, 8, value + 1n)).toBe(true);
      expect(second.storeExclusive(WORD, 8, value + 1n)).toBe(false);
    }
    expect(here.changes()).toEqual(changed(WORD, 50n));
  });

  // H-7.23, R7: a descriptor that software edits while hardware updates it, or its neighbour
  describe("on descriptors", () => {
    const cases: [string, Record<number, bigint>, (vcpu: Vcpu) => unknown, object][] = [
      [
        "an access flag",
        { 0: RW, 1: OLD },
        (vcpu) => vcpu.read32(ipaOf(1)),
        changed(slotOf(1), leaf2(1, RW)),
      ],
      [
        "dirty state",
        { 0: RW, 1: CLEAN },
        (vcpu) => vcpu.write32(ipaOf(1), 0),
        changed(slotOf(1), leaf2(1, DIRTY)),
      ],
    ];
    it.each(cases)(
      "see %s that hardware sets in a neighbour, in strict mode",
      (_name, pages, access, change) => {
        for (const [options, stored] of [
          [{}, true],
          [STRICT, false],
        ] as const) {
          stage2(here, pages);
          const software = editor(options);
          const loaded = software.loadExclusive(slotOf(0), 8) as bigint;
          expect(loaded).toBe(leaf2(0, RW));
          expect(access(guest(options))).not.toBeInstanceOf(Fault);
          expect(software.storeExclusive(slotOf(0), 8, loaded)).toBe(stored);
          expect(here.changes()).toEqual(change);
        }
      },
    );

    it.each([{}, STRICT])("see what hardware sets in the descriptor itself: %o", (options) => {
      stage2(here, { 0: OLD });
      const software = editor(options);
      const loaded = software.loadExclusive(slotOf(0), 8) as bigint;
      expect(guest(options).read32(ipaOf(0))).toBe(0);
      expect(software.storeExclusive(slotOf(0), 8, loaded & ~S2.W)).toBe(false);
      expect(here.changes()).toEqual(changed(slotOf(0), leaf2(0, RW))); // the flag is not lost
    });

    it("see an access flag that hardware sets and software takes back, in strict mode", () => {
      for (const [options, stored] of [
        [{}, true],
        [STRICT, false],
      ] as const) {
        stage2(here, { 0: OLD });
        const software = editor(options);
        const loaded = software.loadExclusive(slotOf(0), 8) as bigint;
        guest(options).read32(ipaOf(0));
        editor(options).atomic("clr", slotOf(0), 8, S2.AF);
        expect(software.storeExclusive(slotOf(0), 8, loaded)).toBe(stored);
      }
    });

    it("see access flags that hardware sets in tables (HAFT), in strict mode", () => {
      stage2(here, { 0: RW });
      const software = editor(STRICT);
      const beside = UPPER[1] + 8;
      software.loadExclusive(beside, 8);
      const walker = guest({ ...STRICT, hafdbs: 3 });
      walker.setRegisters({ vtcrEl2: walker.registers.vtcrEl2 | VTCR.HAFT });
      expect(walker.translate(ipaOf(0), Access.Read)).toBe(paOf(0));
      expect(Object.keys(here.changes())).toHaveLength(2);
      expect(software.storeExclusive(beside, 8, 0n)).toBe(false);
    });

    it("see pages that the cleaner (HACDBS) makes clean, in strict mode", () => {
      stage2(here, { 0: RW, 1: DIRTY });
      const list = paOf(8);
      here.set(list, BigInt(ipaOf(1)) | (3n << 1n) | 1n);
      const cleaner = guest({ ...STRICT, hafdbs: 4 });
      cleaner.setRegisters({ hacdbsbrEl2: BigInt(list) | (1n << 11n) });
      const software = editor(STRICT);
      software.loadExclusive(slotOf(0), 8);
      expect(cleaner.cleanDirtyState()).toBe(1);
      expect(here.changes()).toEqual(changed(slotOf(1), leaf2(1, CLEAN)));
      expect(software.storeExclusive(slotOf(0), 8, leaf2(0, RO))).toBe(false);
      expect(here.changes()).toEqual({});
    });
  });

  it("watch physical memory: two addresses of one page are one", () => {
    stage2(here, { 0: RW });
    here.set(slotOf(1), leaf2(0, RW));
    const [one, other] = [guest(STRICT), guest(STRICT)];
    one.loadExclusive(ipaOf(0) + 16, 8);
    other.write64(ipaOf(0) + PAGE + 16, 0n);
    expect(one.storeExclusive(ipaOf(0) + 16, 8, 1n)).toBe(false);
  });

  it("fail when the address is mapped elsewhere by then", () => {
    for (const options of [{}, STRICT]) {
      stage2(here, { 0: RW });
      const vcpu = guest(options);
      vcpu.loadExclusive(ipaOf(0), 8);
      here.set(slotOf(0), leaf2(1, RW));
      expect(vcpu.storeExclusive(ipaOf(0), 8, 1n)).toBe(false);
    }
  });

  it("are open after a store-exclusive that faults", () => {
    stage2(here, { 0: RO });
    const vcpu = guest();
    expect(vcpu.loadExclusive(ipaOf(0), 8)).toBe(0n);
    expect(vcpu.storeExclusive(ipaOf(0), 8, 1n)).toMatchObject({ type: "permission", write: true });
    stage2(here, { 0: RW });
    expect(vcpu.storeExclusive(ipaOf(0), 8, 1n)).toBe(false);
  });
});
