/**
 * Exclusives by address: the granule, stores that leave no trace in the value (ABA), hardware's updates of descriptors, and
 * loops that get on all the same.
 */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Prot, type Stage2, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { Guest, MACHINE as TLB_MACHINE, RAM as TLB_RAM, S1, TABLES } from "../tlb/support.ts";
import { BASE, MACHINE, PAGE, cpu, table, word } from "./support.ts";

const STRICT: VcpuOptions = { strictMonitor: true };
const BY_VALUE: VcpuOptions = {};

describe.each(MODES)("exclusives by address (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let s2: Stage2;
  const pair = (options: VcpuOptions): [Vcpu, Vcpu] => [
    cpu(here, s2, options),
    cpu(here, s2, options),
  ];

  beforeEach(() => {
    s2 = table(here);
  });

  describe.each([16, 32, 64, 128, 256, 512, 1024, 2048])("a granule of %i bytes", (granule) => {
    it("is what a store of another must stay out of", () => {
      const [self, other] = pair({ ...STRICT, exclusivesGranule: granule });
      // What is watched lies at the start, in the middle, at the end of its granule.
      for (const at of [0, granule / 2, granule - 8]) {
        const start = BASE + 0x800 - (0x800 % granule);
        const watched = start + at;
        const offsets = [-granule, -8, -1, 0, 7, granule / 2, granule - 1, granule, granule + 8];
        for (const offset of offsets) {
          if (offset === at) continue; // to what is watched itself
          const target = start + offset;
          self.loadExclusive(watched, 8);
          other.write8(target, 0);
          const inside = offset >= 0 && offset < granule;
          expect(self.storeExclusive(watched, 8, 0n), `${at} ${offset}`).toBe(!inside);
        }
      }
    });

    /** Stores of every size: which bytes from `at` on. */
    const STORES: [number, (vcpu: Vcpu, at: number) => unknown][] = [
      [1, (vcpu, at) => vcpu.write8(at, 1)],
      [2, (vcpu, at) => vcpu.write16(at, 1)],
      [4, (vcpu, at) => vcpu.write32(at, 1)],
      [8, (vcpu, at) => vcpu.write64(at, 1n)],
      [16, (vcpu, at) => vcpu.writePair(at, [1n, 1n])],
    ];
    const start = BASE + 0x800;
    const watched = start + granule / 2;

    it("is touched by stores that only reach into it, too", () => {
      const [self, other] = pair({ ...STRICT, exclusivesGranule: granule });
      for (const [size, store] of STORES) {
        for (const end of [start, start + granule]) {
          for (let at = end - size - 1; at <= end + 1; at++) {
            const inside = at < start + granule && at + size > start;
            if (at < watched + 8 && at + size > watched) continue; // what is watched itself
            self.loadExclusive(watched, 8);
            store(other, at);
            expect(self.storeExclusive(watched, 8, 0n), `${size} at ${at - start}`).toBe(!inside);
          }
        }
      }
    });

    it("lets this CPU's own stores be, wherever they are", () => {
      const [self, other] = pair({ ...STRICT, exclusivesGranule: granule });
      for (const [size, store] of STORES) {
        const step = granule <= 64 ? 3 : granule / 16 + 3;
        for (let at = start - size; at <= start + granule; at += step) {
          if (at < watched + 8 && at + size > watched) continue;
          self.loadExclusive(watched, 8);
          store(self, at);
          expect(self.storeExclusive(watched, 8, 1n), `${size} at ${at - start}`).toBe(true);
          // And they hide no store of another's.
          self.loadExclusive(watched, 8);
          other.write8(start + granule - 1, 0);
          store(self, at);
          expect(self.storeExclusive(watched, 8, 1n), `${size} at ${at - start}`).toBe(false);
        }
      }
    });
  });

  it("of one CPU and another that share a granule take each other's claims, and both get on", () => {
    // Eight words of one granule, as eight entries of a page table are: loops retry, and never give up.
    for (const options of [BY_VALUE, STRICT]) {
      const [a, b] = pair(options);
      const cpus = [a, b] as const;
      let state = 7;
      const next = (below: number) => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
        return (state >>> 8) % below;
      };
      const words = Array.from({ length: 8 }, (_, i) => BASE + 8 * i);
      for (const address of words) a.write64(address, 0n);
      const total = Array<bigint>(8).fill(0n);
      const attempts = [0, 0];
      const under: ({ address: number; value: bigint } | undefined)[] = [undefined, undefined];
      for (let step = 0; step < 4000; step++) {
        const who = next(2) as 0 | 1;
        const self = cpus[who];
        const claim = under[who];
        if (claim === undefined) {
          const address = words[next(8)] as number;
          under[who] = { address, value: self.loadExclusive(address, 8) as bigint };
        } else {
          attempts[who]!++;
          const stored = self.storeExclusive(claim.address, 8, claim.value + 1n);
          if (stored === true) total[words.indexOf(claim.address)]! += 1n;
          under[who] = undefined;
        }
      }
      expect(words.map((address) => word(here.engine, address))).toEqual(total);
      const done = Number(total.reduce((sum, one) => sum + one, 0n));
      expect(done, "they get on").toBeGreaterThan((attempts[0]! + attempts[1]!) / 4);
      if (options === STRICT) expect(done).toBeLessThan(attempts[0]! + attempts[1]!);
    }
  });

  describe("see what values do not tell (ABA)", () => {
    /** A stack of nodes: each holds the address of the next; HEAD holds that of the first. */
    const HEAD = BASE + PAGE;
    const NODES = [0, 1, 2].map((i) => BASE + 0x400 + i * 0x100);
    const push = (vcpu: Vcpu, node: number) => {
      for (;;) {
        const head = vcpu.loadExclusive(HEAD, 8) as bigint;
        vcpu.clearExclusive();
        vcpu.write64(node, head);
        if (vcpu.compareAndSwap(HEAD, 8, head, BigInt(node)) === head) return;
      }
    };
    const pop = (vcpu: Vcpu) => {
      for (;;) {
        const head = vcpu.loadExclusive(HEAD, 8) as bigint;
        const next = vcpu.read64(Number(head)) as bigint;
        if (vcpu.storeExclusive(HEAD, 8, next) === true) return Number(head);
      }
    };
    const list = () => {
      const found: number[] = [];
      for (let at = word(here.engine, HEAD); at !== 0n && found.length < 9;) {
        found.push(Number(at));
        at = word(here.engine, Number(at));
      }
      return found;
    };

    it.each([
      [
        "by value, a pop in the middle of which the stack changed and changed back ruins it",
        BY_VALUE,
        true,
      ],
      ["strict, it has to try again", STRICT, false],
    ])("%s", (_, options, stored) => {
      const [self, other] = pair(options);
      const [a, b, c] = NODES as [number, number, number];
      for (const node of [c, b, a]) push(self, node);
      expect(list()).toEqual([a, b, c]);
      // Half a pop: the head and what comes after it
      expect(self.loadExclusive(HEAD, 8)).toBe(BigInt(a));
      const next = self.read64(a) as bigint;
      expect(next).toBe(BigInt(b));
      // Meanwhile another takes two and puts the first back.
      expect([pop(other), pop(other)]).toEqual([a, b]);
      push(other, a);
      expect(list()).toEqual([a, c]);
      expect(self.storeExclusive(HEAD, 8, next)).toBe(stored);
      if (stored) expect(list()[0], "a node that nobody gave back").toBe(b);
      else {
        expect(list()).toEqual([a, c]);
        expect(pop(self)).toBe(a);
        expect(list()).toEqual([c]);
      }
    });
  });

  describe("that fail for no reason, one in so many", () => {
    it.each([2, 3, 10])("%i: about as often, and nothing is stored then", (oneIn) => {
      for (const options of [BY_VALUE, STRICT]) {
        const self = cpu(here, s2, { ...options, spuriousExclusiveFailures: oneIn, seed: 5 });
        let failed = 0;
        const rounds = 2000;
        for (let i = 0; i < rounds; i++) {
          const value = self.loadExclusive(BASE, 8) as bigint;
          const stored = self.storeExclusive(BASE, 8, value + 1n);
          if (stored !== true) failed++;
          expect(word(here.engine, BASE)).toBe(stored === true ? value + 1n : value);
        }
        const mean = rounds / oneIn;
        expect(Math.abs(failed - mean)).toBeLessThan(6 * Math.sqrt(mean));
      }
    });

    it("loops get on", () => {
      const [a, b] = pair({ ...STRICT, spuriousExclusiveFailures: 2, seed: 11 });
      let most = 0;
      for (let i = 0; i < 500; i++) {
        const self = i % 2 === 0 ? a : b;
        let tries = 0;
        for (;;) {
          tries++;
          const value = self.loadExclusive(BASE, 4) as bigint;
          if (self.storeExclusive(BASE, 4, value + 1n) === true) break;
        }
        most = Math.max(most, tries);
      }
      expect(a.read32(BASE)).toBe(500);
      expect(most).toBeGreaterThan(1);
      expect(most).toBeLessThan(40);
    });

    it("the same seed fails the same ones; another seed others; none by default", () => {
      const run = (options: VcpuOptions) => {
        const self = cpu(here, s2, options);
        return Array.from({ length: 64 }, () => {
          self.loadExclusive(BASE, 8);
          return self.storeExclusive(BASE, 8, 0n) === true ? "." : "x";
        }).join("");
      };
      const spurious = { spuriousExclusiveFailures: 3 };
      expect(run({ ...spurious, seed: 1 })).toBe(run({ ...spurious, seed: 1 }));
      expect(run({ ...spurious, seed: 1 })).not.toBe(run({ ...spurious, seed: 2 }));
      expect(run({})).toBe(".".repeat(64));
    });
  });
});

describe.each(MODES)("hardware's updates of descriptors (%s)", (mode) => {
  const here = lab(mode, TLB_MACHINE);
  const HARDWARE = (1n << 39n) | (1n << 40n); // TCR_EL1.HA, HD
  const VA = 0x60_0000;
  /** A guest's kernel sees its tables at this VA. */
  const WINDOW = 0x80_0000;

  /** A guest whose page VA is young or not, clean or not; its descriptor as the kernel sees it. */
  function ready(bits: bigint, options: VcpuOptions) {
    const guest = new Guest(here);
    const slot = guest.map(VA, TABLES + TLB_RAM.size - PAGE, bits);
    guest.map(WINDOW, TABLES + slot.pa - (slot.pa % PAGE) - TLB_RAM.pa);
    const make = () => {
      const vcpu = here.keep(here.engine.vcpu(guest.s2, options));
      vcpu.setRegisters(guest.registers(1, { tcr: HARDWARE }));
      return vcpu;
    };
    return { slot, at: WINDOW + (slot.pa % PAGE), kernel: make(), user: make() };
  }

  describe.each([
    ["by value", BY_VALUE, true],
    ["strict", STRICT, false],
  ] as const)("%s", (_, options, byValue) => {
    it.each([
      ["access flag", 0n, Access.Read, S1.AF],
      ["dirty state", S1.READ_ONLY | S1.DBM, Access.Write, S1.READ_ONLY],
    ])("take the claim of who edits the entry: %s", (_name, bits, access, changed) => {
      const { slot, at, kernel, user } = ready(bits, options);
      if (changed === S1.AF) slot.value &= ~S1.AF;
      const before = slot.value;
      expect(kernel.loadExclusive(at, 8)).toBe(before);
      expect(user.translate(VA, access)).toBeTypeOf("number");
      expect(slot.value).toBe(before ^ changed);
      expect(kernel.storeExclusive(at, 8, 0n)).toBe(false);
      expect(slot.value, "nothing is lost").toBe(before ^ changed);
    });

    it("take, or not, the claim of who edits a neighbour", () => {
      const { slot, at, kernel, user } = ready(0n, options);
      slot.value &= ~S1.AF;
      kernel.loadExclusive(at ^ 8, 8);
      user.translate(VA, Access.Read);
      expect(kernel.storeExclusive(at ^ 8, 8, 0n)).toBe(byValue);
    });

    it("take it, or not, if software has undone them (ABA)", () => {
      const { slot, at, kernel, user } = ready(0n, options);
      slot.value &= ~S1.AF;
      const before = slot.value;
      kernel.loadExclusive(at, 8);
      user.translate(VA, Access.Read); // sets the flag
      user.write64(at, before); // and somebody clears it
      expect(kernel.storeExclusive(at, 8, before | (1n << 55n))).toBe(byValue);
    });

    it("leave it alone where they update nothing", () => {
      const { at, kernel, user } = ready(0n, options);
      const before = kernel.loadExclusive(at, 8) as bigint;
      user.translate(VA, Access.Read);
      user.translate(VA, Access.Write);
      expect(kernel.storeExclusive(at, 8, before)).toBe(true);
    });
  });

  it("of stage 2 are no store of the guest's, and a guest's page is not its table", () => {
    const guest = new Guest(here);
    guest.s2.map({ ipa: 0x7000_0000, size: PAGE, pa: TLB_RAM.pa, prot: Prot.RW });
    const vcpu = here.keep(here.engine.vcpu(guest.s2, { ...STRICT, hd: true }));
    guest.s2.testClearYoung({ ipa: 0x7000_0000, size: PAGE });
    vcpu.tlbi("VMALLS12E1");
    vcpu.setRegisters({ hcrEl2: vcpu.registers.hcrEl2 | (1n << 12n) });
    expect(vcpu.loadExclusive(0x7000_0000, 8)).toBeTypeOf("bigint"); // sets its access flag
    expect(vcpu.storeExclusive(0x7000_0000, 8, 0n)).toBe(true);
  });
});
