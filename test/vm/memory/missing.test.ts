/** Hooks for missing pages. */
import { describe, expect, it } from "vitest";
import type { MissingFault } from "../../../src/vm/memory/guest_memory.ts";
import { errorOf, rejectionOf } from "../../support.ts";
import { HVA, MIB, MODES, PAGE, bytes, lab } from "./support.ts";

describe.each(MODES)("hooks for missing pages (%s)", (mode) => {
  const t = lab(mode);

  it("are asked once for each page, with its first address, and bring its bytes (DP1)", () => {
    const asked: MissingFault[] = [];
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    t.ram.onMissing({ hva: HVA, size: 4 * PAGE }, (fault) => {
      asked.push(fault);
      return bytes(PAGE, 0xab);
    });
    const { pa, writable } = t.page(HVA + PAGE);
    expect([writable, t.byte(pa), t.byte(pa + PAGE - 1)]).toEqual([true, 0xab, 0xab]);
    t.page(HVA + PAGE, true);
    t.page(HVA + 3 * PAGE, true);
    const common = { size: PAGE, mode: "missing", vcpu: 0 };
    expect(asked).toEqual([
      { hva: HVA + PAGE, write: false, ...common },
      { hva: HVA + 3 * PAGE, write: true, ...common },
    ]);
    expect(t.ram.counters).toMatchObject({ missing: 2, filled: 2, exists: 0, framesUsed: 2 });
    expect(t.vm.told()).toEqual([]);
  });

  it("are asked again for what was punched, and not outside of their range", () => {
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    t.ram.onMissing({ hva: HVA + PAGE, size: PAGE }, () => "zero");
    t.page(HVA, true);
    t.page(HVA + 2 * PAGE, true);
    expect(t.ram.counters.missing).toBe(0);
    expect(t.page(HVA + PAGE).writable).toBe(false);
    expect(t.page(HVA + PAGE, true).writable).toBe(true); // breaks the page of zeros: it is not missing
    t.ram.punch({ hva: HVA, size: 4 * PAGE });
    t.page(HVA + PAGE);
    t.page(HVA);
    expect(t.ram.counters.missing).toBe(2);
  });

  it("fill less than a page with zeros behind it", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    const dirty = t.page(HVA, true);
    t.engine.memoryMap.bytes(dirty.pa, PAGE).fill(0xee);
    t.ram.punch({ hva: HVA, size: PAGE });
    t.ram.onMissing({ hva: HVA, size: PAGE }, () => bytes(3, 1));
    const { pa } = t.page(HVA);
    expect([...t.engine.memoryMap.bytes(pa, 5)]).toEqual([1, 1, 1, 0, 0]);
  });

  it("are asked once for a huge page (DP4)", () => {
    const asked: number[] = [];
    t.ram.map({ hva: HVA, size: 4 * MIB, kind: "hugetlb", pageSize: 2 * MIB });
    t.ram.onMissing({ hva: HVA, size: 4 * MIB }, ({ hva, size }) => {
      asked.push(hva, size);
      return bytes(2 * MIB, 0xab);
    });
    const { pa } = t.page(HVA + 3 * MIB);
    expect(t.byte(pa + 4)).toBe(0xab);
    t.page(HVA + 2 * MIB, true);
    expect(asked).toEqual([HVA + 2 * MIB, 2 * MIB]);
  });

  it("keep transparent huge pages away", () => {
    t.ram.map({ hva: HVA, size: 2 * MIB, kind: "thp" });
    const registration = t.ram.onMissing({ hva: HVA, size: 2 * MIB }, () => bytes(1, 1));
    expect(t.page(HVA).hostSize).toBe(PAGE);
    expect(t.ram.collapse({ hva: HVA, size: 2 * MIB })).toBe(0);
    registration.dispose();
    expect(t.ram.collapse({ hva: HVA, size: 2 * MIB })).toBe(1);
  });

  it("are asked about pages that are in the page cache only, in minor mode (DP3)", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE, kind: "file" });
    t.ram.preload(HVA, bytes(PAGE, 0xab));
    t.ram.onMissing({ hva: HVA, size: 2 * PAGE, mode: "minor" }, () => "continue");
    const { pa, writable } = t.page(HVA);
    expect([t.byte(pa), writable]).toEqual([0xab, true]);
    t.page(HVA + PAGE); // not in the cache: missing, and nobody asked for that
    expect(t.ram.counters).toMatchObject({ minor: 1, missing: 0, framesUsed: 2 });
    t.ram.preload(HVA, bytes(1, 0xcd)); // through the other mapping
    expect(t.byte(pa)).toBe(0xcd);
  });

  it("can bring the page themselves, and others with it", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    t.ram.onMissing({ hva: HVA, size: 2 * PAGE }, () => {
      expect(t.ram.state(HVA).state).toBe("filling");
      expect(t.ram.fill(HVA, bytes(PAGE, 1))).toBe("filled");
      expect(t.ram.fill(HVA + PAGE, bytes(PAGE, 2))).toBe("filled");
      expect(t.ram.fill(HVA, "zero")).toBe("exists");
    });
    expect(t.byte(t.page(HVA).pa)).toBe(1);
    expect(t.byte(t.page(HVA + PAGE).pa)).toBe(2);
    expect(t.ram.counters).toMatchObject({ missing: 1, filled: 2, exists: 1 });
  });

  it("can say that there is none", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.onMissing({ hva: HVA, size: PAGE }, () => "poison");
    expect(t.access(HVA)).toBe("poisoned");
    expect(t.access(HVA)).toBe("poisoned");
    expect(t.ram.counters.missing).toBe(1);
  });

  it("may throw, answer nonsense, or nothing: the page is missing as before", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    const answers: [unknown, RegExp][] = [
      [42, /filled with bytes/],
      [bytes(PAGE + 1, 0), /more bytes/],
      [undefined, /neither answered nor brought/],
      ["continue", /not in the page cache/],
    ];
    for (const [answer, message] of answers) {
      const registration = t.ram.onMissing({ hva: HVA, size: PAGE }, () => answer as never);
      expect(errorOf(() => t.access(HVA)).message).toMatch(message);
      expect(t.ram.state(HVA).state).toBe("absent");
      registration.dispose();
    }
    t.ram.onMissing({ hva: HVA, size: PAGE }, () => {
      throw new RangeError("mine");
    });
    expect(() => t.access(HVA)).toThrow("mine");
    expect(t.ram.state(HVA).state).toBe("absent");
    expect(t.ram.counters.framesUsed).toBe(0);
  });

  it("that touch the page that they are asked for are told so", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.onMissing({ hva: HVA, size: PAGE }, () => {
      expect(errorOf(() => t.access(HVA)).code).toBe("EDEADLK");
      return "zero";
    });
    t.page(HVA);
  });

  it("may drop the area, and the access finds that out", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    t.ram.onMissing({ hva: HVA, size: PAGE }, () => t.ram.unmap({ hva: HVA, size: PAGE }));
    expect(t.access(HVA)).toBe("unmapped");
  });

  it("are asked by the host's own accesses too", () => {
    const vcpus: unknown[] = [];
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    t.ram.onMissing({ hva: HVA, size: 2 * PAGE }, ({ vcpu }) => {
      vcpus.push(vcpu);
      return bytes(PAGE, 9);
    });
    const into = bytes(8, 0);
    expect(t.ram.read(HVA + PAGE - 4, into)).toBe(true);
    expect([...into]).toEqual(Array(8).fill(9));
    expect(vcpus).toEqual([undefined, undefined]);
  });

  it("end with their registration; a new area at the same place was never registered", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    const registration = t.ram.onMissing({ hva: HVA, size: 2 * PAGE }, () => bytes(1, 1));
    t.ram.unmap({ hva: HVA, size: PAGE });
    t.ram.map({ hva: HVA, size: PAGE });
    t.page(HVA, true);
    expect(t.ram.counters.missing).toBe(0);
    registration.dispose();
    registration.dispose();
    t.page(HVA + PAGE, true);
    expect(t.ram.counters.missing).toBe(0);
    expect(t.ram.counters.framesUsed).toBe(2);
  });
});

describe.each(MODES)("hooks that answer with promises (%s)", (mode) => {
  const t = lab(mode);

  /** A hook that waits until it is told, and how often it was asked. */
  function slow(answer: () => unknown = () => bytes(PAGE, 0xab)) {
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => (go = resolve));
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    t.ram.onMissing({ hva: HVA, size: 4 * PAGE }, async () => {
      await gate;
      return answer() as never;
    });
    return { go: () => go() };
  }

  it("make accesses promises, and who comes by meanwhile waits for the same page (DP2)", async () => {
    const { go } = slow();
    const answers = [t.access(HVA), t.access(HVA, true), t.access(HVA + PAGE)];
    for (const answer of answers) expect(answer).toBeInstanceOf(Promise);
    expect(t.ram.state(HVA).state).toBe("filling");
    go();
    const [first, second, third] = await Promise.all(answers);
    expect(second).toEqual(first);
    expect(third).not.toEqual(first);
    expect(t.ram.counters).toMatchObject({ missing: 2, filled: 2, waited: 1, framesUsed: 2 });
  });

  it("find a page that somebody else brought (DP2)", async () => {
    const { go } = slow();
    const answer = t.access(HVA);
    expect(t.ram.fill(HVA, bytes(PAGE, 1))).toBe("filled");
    const direct = t.page(HVA);
    go();
    expect(await answer).toEqual(direct);
    expect(t.byte(direct.pa)).toBe(1);
    expect(t.ram.counters).toMatchObject({ missing: 1, filled: 1, exists: 1 });
  });

  it("pass their failure on to who asked; who waited asks again", async () => {
    let failures = 1;
    const { go } = slow(() => {
      if (failures-- > 0) throw new RangeError("mine");
      return "zero";
    });
    const [asked, waited] = [t.access(HVA), t.access(HVA)];
    go();
    await expect(asked).rejects.toThrow("mine");
    expect(await waited).toMatchObject({ writable: false });
    expect(t.ram.counters.missing).toBe(2);
  });

  it("fill what was punched meanwhile, and find out what was unmapped", async () => {
    const { go } = slow();
    const [first, second] = [t.access(HVA), t.access(HVA + PAGE)];
    t.ram.punch({ hva: HVA, size: PAGE });
    t.ram.unmap({ hva: HVA + PAGE, size: PAGE });
    go();
    expect(await first).toMatchObject({ writable: true });
    expect((await rejectionOf(Promise.resolve(second))).code).toBe("EFAULT");
    expect(t.ram.counters.framesUsed).toBe(1);
  });

  it("go on in the middle of the host's own access", async () => {
    const { go } = slow();
    const into = bytes(2 * PAGE, 0);
    const done = t.ram.read(HVA + 100, into);
    expect(done).toBeInstanceOf(Promise);
    go();
    expect(await done).toBe(true);
    expect(into.every((byte) => byte === 0xab)).toBe(true);
    expect(t.ram.counters.missing).toBe(3);
  });
});
