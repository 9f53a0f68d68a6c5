/** Batches of addresses: where they lie, what comes back, and what is refused. */
import { describe, expect, it } from "vitest";
import { Access, Engine, Prot } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const PAGE = 4096;

describe.each(MODES)("a batch (%s)", (mode) => {
  const here = lab(mode);

  it.each([1, 3, 255, 256, 257, 1024, 1025, 4095, 4096])(
    "of %i is in the engine's memory",
    (capacity) => {
      const { engine } = here;
      const batch = here.keep(engine.batch(capacity));
      expect(batch.capacity).toBe(capacity);
      for (const view of [batch.addresses, batch.results]) {
        expect(view).toHaveLength(capacity);
        expect(view.buffer).toBe(engine.memory.buffer);
        expect(view.every((number) => number === 0)).toBe(true);
      }
      expect(batch.results.byteOffset).toBe(batch.addresses.byteOffset + capacity * 8);
      const pages = capacity <= 256 ? 1 : capacity <= 1024 ? 4 : 16;
      expect(engine.memoryUsage().used).toBe(pages);
      batch.dispose();
      expect(engine.memoryUsage().used).toBe(0);
      batch.dispose();
      expect(engine.memoryUsage().used).toBe(0);
    },
  );

  it.each([false, undefined] as const)("gives what translate gives (tlb: %s)", (tlb) => {
    const s2 = here.keep(here.engine.stage2());
    for (let i = 0; i < 64; i += 2) {
      s2.map({
        ipa: i * PAGE,
        size: PAGE,
        pa: 0x8000_0000 + i * 2 * PAGE,
        prot: i % 3 ? Prot.RW : Prot.R,
      });
    }
    const options = tlb === undefined ? {} : { tlb };
    const [one, many] = [0, 1].map(() => here.keep(here.engine.vcpu(s2, options)));
    const batch = here.keep(here.engine.batch(67)); // a length that is no multiple of four
    for (const access of [Access.Read, Access.Write, Access.ReadWrite, Access.Fetch]) {
      batch.addresses.forEach((_, i) => (batch.addresses[i] = i * PAGE + i * 8));
      batch.results.fill(-99);
      const expected = [...batch.addresses].map((va) => {
        const pa = one!.translate(va, access);
        return typeof pa === "number" ? pa : -1 - pa.fsc;
      });
      const failed = many!.translateMany(batch, access);
      expect([...batch.results]).toEqual(expected);
      expect(failed).toBe(expected.filter((pa) => pa < 0).length);
      expect([...batch.addresses]).toEqual(expected.map((_, i) => i * PAGE + i * 8));
      expect(failed).toBeGreaterThan(0);
      if (access !== Access.Fetch) expect(failed).toBeLessThan(67);
    }
  });

  it("translates as many as it is told", () => {
    const s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0, size: PAGE, pa: 0x8000_0000, prot: Prot.R });
    const vcpu = here.keep(here.engine.vcpu(s2, { tlb: false }));
    const batch = here.keep(here.engine.batch(10));
    for (const count of [0, 1, 4, 5, 9, 10]) {
      batch.results.fill(7);
      expect(vcpu.translateMany(batch, Access.Read, count)).toBe(0);
      expect(batch.results.filter((pa) => pa === 0x8000_0000)).toHaveLength(count);
      expect(batch.results.subarray(count).every((pa) => pa === 7)).toBe(true);
    }
  });

  it("takes what is no address for some address, and stays inside", () => {
    const s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0, size: PAGE, pa: 0x8000_0000, prot: Prot.R });
    for (const tlb of [{}, { tlb: false }] as const) {
      const vcpu = here.keep(here.engine.vcpu(s2, tlb));
      const batch = here.keep(here.engine.batch(256)); // a page to the last byte
      const beside = here.keep(here.engine.batch(256));
      const strange = [NaN, 5.9, -0.5, Infinity, -Infinity, 1e300, 2 ** 64, -(2 ** 63), 2 ** 53];
      batch.addresses.forEach((_, i) => (batch.addresses[i] = strange[i % strange.length]!));
      const failed = vcpu.translateMany(batch, Access.Read);
      const bad = [...batch.results].filter((pa) => pa < 0);
      expect(failed).toBe(bad.length);
      for (const pa of batch.results) {
        expect(pa < 0 || (pa >= 0x8000_0000 && pa < 0x8000_0000 + PAGE), String(pa)).toBe(true);
      }
      expect([...beside.addresses, ...beside.results].every((number) => number === 0)).toBe(true);
    }
  });

  it("survives that the memory grows", () => {
    const { engine } = here;
    const s2 = here.keep(engine.stage2());
    const vcpu = here.keep(engine.vcpu(s2));
    const batch = here.keep(engine.batch(4));
    batch.addresses.set([0, PAGE, 2 * PAGE, 2 ** 39]);
    const before = engine.memory.buffer.byteLength;
    s2.map({ ipa: 0, size: 2 ** 32, pa: 2 ** 32, prot: Prot.RW, forcePages: true });
    expect(engine.memory.buffer.byteLength).toBeGreaterThan(before);
    expect([...batch.addresses]).toEqual([0, PAGE, 2 * PAGE, 2 ** 39]);
    expect(batch.addresses.buffer).toBe(engine.memory.buffer);
    expect(vcpu.translateMany(batch, Access.Write)).toBe(1);
    expect([...batch.results].slice(0, 3)).toEqual([0, PAGE, 2 * PAGE].map((ia) => 2 ** 32 + ia));
  });

  it("is refused when it is too large, too small, or cannot be had", () => {
    const { engine } = here;
    for (const capacity of [0, -1, 4097, 1.5, NaN, "8", undefined]) {
      expect(errorOf(() => engine.batch(capacity as number)).code).toBe("BAD_OPTION");
    }
    engine.tableBudget = 15;
    expect(errorOf(() => engine.batch(4096))).toMatchObject({ code: "ENOMEM", errno: 12 });
    here.keep(engine.batch(1024));
  });

  it("is refused to others, and after its end; nothing is written then", async () => {
    const { engine } = here;
    const s2 = here.keep(engine.stage2());
    s2.map({ ipa: 0, size: PAGE, pa: 0x8000_0000, prot: Prot.R });
    const vcpu = here.keep(engine.vcpu(s2));
    const batch = engine.batch(8);
    const call = (of: unknown, count?: unknown, access: unknown = Access.Read) =>
      errorOf(() => vcpu.translateMany(of as never, access as never, count as never)).code;
    for (const count of [-1, 9, 1.5, NaN, "4", null]) expect(call(batch, count)).toBe("BAD_OPTION");
    for (const access of [0, 5, 8, 12, 16, 32, 1.5, "1", undefined]) {
      if (access !== undefined) expect(call(batch, 8, access)).toBe("BAD_OPTION");
    }
    const other = await Engine.create({ ...SMALL, mode });
    const foreign = other.batch(8);
    expect(call(foreign)).toBe("FOREIGN");
    for (const none of [
      {},
      undefined,
      null,
      { addresses: [], results: [], capacity: 8 },
      new Float64Array(8),
    ]) {
      expect(call(none)).toBe("FOREIGN");
    }
    expect(foreign.results.every((result) => result === 0)).toBe(true);
    expect(batch.results.every((result) => result === 0)).toBe(true);
    foreign.dispose();
    expect(call(foreign)).toBe("FOREIGN");
    other.dispose();
    const { addresses, results } = batch;
    batch.dispose();
    expect(call(batch)).toBe("DISPOSED");
    expect(errorOf(() => batch.addresses).code).toBe("DISPOSED");
    expect(errorOf(() => batch.results).code).toBe("DISPOSED");
    expect([addresses.length, results.length]).toEqual([8, 8]); // old views stay what they were: the caller's to forget
  });

  it("ends with its engine", async () => {
    const engine = await Engine.create({ ...SMALL, mode });
    const batch = engine.batch(8);
    engine.dispose();
    expect(errorOf(() => batch.results).code).toBe("DISPOSED");
    batch.dispose();
  });
});
