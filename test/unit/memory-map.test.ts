/** Guest memory: given at creation, added and taken away, looked at; and what is refused. */
import { describe, expect, it } from "vitest";
import { Access, Engine, type EngineOptions, Fault, Prot } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab, rejectionOf } from "../support.ts";

const MIB = 2 ** 20;
const RAM = { pa: 0x8000_0000, size: MIB };
const POOL = 2 ** 30;

describe.each(MODES)("guest memory (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: [RAM, { pa: 0x9000_0000n, size: 0x1000n }] });
  const map = () => here.engine.memoryMap;

  it("lies below the engine, behind the table pages in the map, and is zero", () => {
    const [pool, first, second, ...rest] = map().segments;
    expect(pool).toMatchObject({ pa: POOL });
    expect(first).toEqual({ ...RAM, pointer: 65536 });
    expect(second).toEqual({ pa: 0x9000_0000, size: 0x1000, pointer: 65536 + MIB });
    expect(rest).toEqual([]);
    expect(here.engine.handle.base).toBe(65536 + MIB + 65536);
    expect(
      map()
        .bytes(RAM.pa, RAM.size)
        .every((byte) => byte === 0),
    ).toBe(true);
  });

  it("is what guests access and what is looked at", () => {
    const s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0, size: MIB, pa: RAM.pa, prot: Prot.RW });
    const vcpu = here.keep(here.engine.vcpu(s2));
    map()
      .bytes(RAM.pa + 0x2346, 2)
      .set([0x34, 0x12]);
    expect(vcpu.read16(0x2346)).toBe(0x1234);
    expect(vcpu.write32(MIB - 4, 0x8899_aabb)).toBeUndefined();
    expect([...map().bytes(RAM.pa + MIB - 4, 4n)]).toEqual([0xbb, 0xaa, 0x99, 0x88]);
  });

  it("is still there after the memory grew", () => {
    const view = map().bytes(RAM.pa, 8);
    view.set([1, 2, 3]);
    const before = here.engine.memory.buffer.byteLength;
    const s2 = here.keep(here.engine.stage2());
    const vcpu = here.keep(here.engine.vcpu(s2));
    s2.map({ ipa: 0, size: 2 ** 32, pa: RAM.pa, prot: Prot.RW, forcePages: true });
    expect(here.engine.memory.buffer.byteLength).toBeGreaterThan(before);
    expect([...map().bytes(RAM.pa, 3)]).toEqual([1, 2, 3]);
    expect(vcpu.read32(0)).toBe(0x0003_0201);
    expect(vcpu.translate(2 ** 33, Access.Read)).toBeInstanceOf(Fault); // its state page is read anew
    expect(vcpu.statistics.faults).toBe(1);
  });

  it("can come and go", () => {
    const pointer = 65536;
    expect(errorOf(() => map().add({ pa: 0x9000_0000, size: 0x1000, pointer })).code).toBe(
      "EEXIST",
    );
    map().remove(0x9000_0000);
    expect(map().segments).toHaveLength(2);
    map().add({ pa: 0xa000_0000, size: 0x2000, pointer: pointer + 0x3000 }); // the same bytes twice
    map().bytes(0xa000_0000, 1)[0] = 7;
    expect(map().bytes(RAM.pa + 0x3000, 1)[0]).toBe(7);
    expect(errorOf(() => map().remove(0x9000_0000)).code).toBe("ENOENT");
    expect(errorOf(() => map().remove(0xa000_1000)).code).toBe("ENOENT");
    expect(map().segments).toHaveLength(3);
  });

  it("aborts where it went away", () => {
    const s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0x9000_0000, size: 0x1000, pa: 0x9000_0000, prot: Prot.RW });
    const vcpu = here.keep(here.engine.vcpu(s2));
    expect(vcpu.read32(0x9000_0000)).toBe(0);
    map().remove(0x9000_0000);
    expect(vcpu.read32(0x9000_0000)).toMatchObject({ type: "externalAbort", level: undefined });
    expect(vcpu.write8(0x9000_0000, 1)).toMatchObject({ type: "externalAbort", write: true });
  });

  it("has no more than 7 segments", () => {
    for (let i = 0; i < 5; i++) map().add({ pa: 2 ** 40 + i * MIB, size: 0x1000, pointer: 65536 });
    const add = () => map().add({ pa: 2 ** 41, size: 0x1000, pointer: 65536 });
    expect(errorOf(add).code).toBe("EMFILE");
    map().remove(2 ** 40);
    add();
    expect(map().segments).toHaveLength(8);
  });

  it("is looked at where it is, and only there", () => {
    const bad: [number, number][] = [
      [RAM.pa - 1, 1],
      [RAM.pa - 1, 2],
      [RAM.pa + MIB, 1],
      [RAM.pa + MIB - 1, 2],
      [RAM.pa, MIB + 1],
      [0x9000_0000, 0x1001],
      [0, 8],
      [POOL - 8, 16],
    ];
    for (const [pa, length] of bad) {
      const error = errorOf(() => map().bytes(pa, length));
      expect(error).toMatchObject({ code: "EFAULT", errno: 14 });
    }
    expect(map().bytes(RAM.pa + MIB - 1, 1)).toHaveLength(1);
    const s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0, size: 0x1000, pa: RAM.pa, prot: Prot.RW });
    const root = map().bytes(Number(s2.vttbr()), 8); // table pages are in the map too
    expect(root[0]! & 3).toBe(3);
  });

  it("refuses segments that are none", () => {
    const good = { pa: 2 ** 40, size: 0x1000, pointer: 65536 };
    const bad: [string, object][] = [
      ["EINVAL", { pa: good.pa + 8 }],
      ["EINVAL", { size: 0x800 }],
      ["EINVAL", { pointer: 65544 }],
      ["EINVAL", { pa: 2 ** 52 }],
      ["EINVAL", { pa: 2 ** 52 - 0x1000, size: 0x2000 }],
      ["EINVAL", { pointer: 2 ** 32 - 0x1000 }],
      ["EINVAL", { pointer: here.engine.handle.base }],
      ["EINVAL", { pointer: here.engine.handle.base - 0x1000, size: 0x2000 }],
      ["EEXIST", { pa: POOL }],
      ["EEXIST", { pa: POOL + 4096 * 4095 }], // a table page that is not there yet
      ["EEXIST", { pa: RAM.pa + MIB - 0x1000 }],
      ["BAD_SIZE", { size: 0 }],
      ["BAD_ADDRESS", { pa: -0x1000 }],
      ["BAD_ADDRESS", { pa: undefined }],
      ["BAD_OPTION", { pointer: "0" }],
      ["BAD_OPTION", { pointer: 2 ** 32 }],
    ];
    for (const [code, change] of bad) {
      expect(
        errorOf(() => map().add({ ...good, ...change })).code,
        String(Object.entries(change)),
      ).toBe(code);
    }
    expect(errorOf(() => map().add(undefined as never)).code).toBe("BAD_OPTION");
    expect(map().segments).toHaveLength(3);
    map().add(good); // the control
    expect(map().segments).toHaveLength(4);
  });

  it("is the same for every thread that is attached", async () => {
    if (mode === "single") return;
    const other = await Engine.attach(here.engine.handle);
    expect(other.memoryMap.segments).toEqual(map().segments);
    other.memoryMap.add({ pa: 2 ** 40, size: 0x1000, pointer: 65536 });
    expect(map().segments).toHaveLength(4);
    map().bytes(2 ** 40, 1)[0] = 9;
    expect(other.memoryMap.bytes(RAM.pa, 1)[0]).toBe(9);
    other.dispose();
    expect(errorOf(() => other.memoryMap.segments).code).toBe("DISPOSED");
    expect(errorOf(() => other.memoryMap.bytes(RAM.pa, 1)).code).toBe("DISPOSED");
  });
});

describe("guest memory of an embedder", () => {
  const region = { offset: 4 * MIB, size: 4 * MIB };
  const memory = () => new WebAssembly.Memory({ initial: 256, maximum: 256, shared: true });

  it("is where the pointer says, and stays as it is", async () => {
    const own = memory();
    new Uint8Array(own.buffer, MIB, 4).set([5, 6, 7, 8]);
    const guestRam = [
      { pa: RAM.pa, size: MIB, pointer: MIB },
      { pa: 0xc000_0000, size: MIB, pointer: 0 },
      { pa: 0xd000_0000, size: MIB, pointer: 8 * MIB },
    ];
    const engine = await Engine.create({ memory: own, region, guestRam });
    expect(engine.memoryMap.segments.slice(1)).toEqual(guestRam);
    expect([...engine.memoryMap.bytes(RAM.pa, 4)]).toEqual([5, 6, 7, 8]);
    engine.dispose();
  });

  const bad: [string, object][] = [
    ["no pointer", { pa: RAM.pa, size: MIB }],
    ["in the region", { pa: RAM.pa, size: MIB, pointer: 4 * MIB }],
    ["ends in the region", { pa: RAM.pa, size: MIB + 0x1000, pointer: 3 * MIB }],
    ["beyond the memory", { pa: RAM.pa, size: MIB, pointer: 16 * MIB }],
    ["ends beyond the memory", { pa: RAM.pa, size: MIB + 0x1000, pointer: 15 * MIB }],
    ["misaligned", { pa: RAM.pa, size: MIB, pointer: 8 }],
    ["over table pages", { pa: POOL, size: MIB, pointer: MIB }],
  ];
  it.each(bad)("is refused: %s, and the memory is not touched", async (_what, bank) => {
    const own = memory();
    new Uint8Array(own.buffer).fill(0xa5);
    const error = await rejectionOf(
      Engine.create({ memory: own, region, guestRam: bank } as EngineOptions),
    );
    expect(error.code).toBe("BAD_OPTION");
    expect(new Uint8Array(own.buffer).every((byte) => byte === 0xa5)).toBe(true);
  });

  it("needs a region beside it", async () => {
    const guestRam = { pa: RAM.pa, size: MIB, pointer: MIB };
    const error = await rejectionOf(Engine.create({ memory: memory(), guestRam }));
    expect(error.code).toBe("BAD_OPTION");
  });
});

describe("guest memory that cannot be", () => {
  const bad: [string, unknown][] = [
    ["BAD_OPTION", 5],
    ["BAD_OPTION", { ...RAM, pointer: 65536 }],
    ["BAD_OPTION", { ...RAM, at: 0 }],
    ["BAD_OPTION", { pa: 8, size: MIB }],
    ["BAD_OPTION", { pa: 0, size: 8 }],
    ["BAD_OPTION", { pa: 2 ** 52 - 0x1000, size: 0x2000 }],
    ["BAD_OPTION", [RAM, { pa: RAM.pa + MIB - 0x1000, size: MIB }]],
    ["BAD_OPTION", [RAM, RAM]],
    ["BAD_OPTION", { pa: POOL + 4096 * 4095, size: MIB }],
    ["BAD_OPTION", Array.from({ length: 8 }, (_, i) => ({ pa: i * MIB, size: MIB }))],
    ["BAD_ADDRESS", { pa: -1, size: MIB }],
    ["BAD_ADDRESS", { size: MIB }],
    ["BAD_SIZE", { pa: 0, size: 0 }],
    ["BAD_SIZE", { pa: 0 }],
    ["MEMORY_TOO_SMALL", { pa: 2 ** 32, size: 2 ** 32 }],
    ["MEMORY_TOO_SMALL", { pa: 2 ** 32, size: 2 ** 32 - 16 * MIB - 2 * 65536 }],
    [
      "MEMORY_TOO_SMALL",
      [
        { pa: 2 ** 32, size: 2 ** 31 },
        { pa: 2 ** 33, size: 2 ** 31 },
      ],
    ],
  ];
  it.each(bad)("is %s: %o", async (code, guestRam) => {
    const error = await rejectionOf(Engine.create({ ...SMALL, guestRam } as EngineOptions));
    expect(error.code).toBe(code);
  });

  it("may be none", async () => {
    const engine = await Engine.create({ ...SMALL, guestRam: [] });
    expect(engine.memoryMap.segments).toHaveLength(1);
    expect(engine.handle.base).toBe(65536);
    engine.dispose();
  });

  it("is as large as it may be with 7 banks of 4 KiB", async () => {
    const guestRam = Array.from({ length: 7 }, (_, i) => ({ pa: 2 ** 40 + i * 4096, size: 4096 }));
    const engine = await Engine.create({ ...SMALL, guestRam });
    const pointers = engine.memoryMap.segments.slice(1).map(({ pointer }) => pointer);
    expect(pointers).toEqual(guestRam.map((_, i) => (i + 1) * 65536));
    engine.dispose();
  });

  it("may push the engine above 2 GiB, where pointers have their top bit set", async () => {
    const guestRam = { pa: 2 ** 32, size: 2.5 * 2 ** 30 };
    const engine = await Engine.create({ ...SMALL, guestRam });
    const s2 = engine.stage2();
    s2.map({ ipa: 0, size: 2 ** 21, pa: 2 ** 32 + 2 ** 31, prot: Prot.RW });
    const vcpu = engine.vcpu(s2);
    const batch = engine.batch(8);
    batch.addresses.fill(0x1238);
    expect(vcpu.write32(0x1238, 0xcafe)).toBeUndefined();
    expect(vcpu.read32(0x1238)).toBe(0xcafe);
    expect(engine.memoryMap.bytes(2 ** 32 + 2 ** 31 + 0x1238, 2)).toEqual(
      Uint8Array.of(0xfe, 0xca),
    );
    expect(vcpu.translateMany(batch, Access.Write)).toBe(0);
    expect(batch.results[7]).toBe(2 ** 32 + 2 ** 31 + 0x1238);
    expect(vcpu.translate(2 ** 33, Access.Read)).toMatchObject({ type: "translation", stage: 2 });
    expect(vcpu.probe(0x1238, Access.Read)).toMatchObject({ pa: batch.results[7] });
    for (const object of [batch, vcpu, s2]) object.dispose();
    expect(engine.memoryUsage().used).toBe(0);
    engine.dispose();
  });
});
