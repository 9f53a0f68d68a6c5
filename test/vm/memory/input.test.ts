/** Bad input: refused at the door, and nothing has changed. */
import { describe, expect, it } from "vitest";
import { Engine } from "../../../src/engine.ts";
import type { ErrorCode } from "../../../src/errors.ts";
import { GuestMemory, type GuestMemoryOptions } from "../../../src/vm/memory/guest_memory.ts";
import { errorOf } from "../../support.ts";
import { BANK, FakeVm, HVA, MIB, PAGE, bytes, lab } from "./support.ts";

describe("options of a guest memory", () => {
  const BAD: [string, object, ErrorCode][] = [
    ["nothing", {}, "BAD_OPTION"],
    ["size and frames", { ...BANK, frames: 4 }, "BAD_OPTION"],
    ["an unknown option", { ...BANK, sise: 4 }, "BAD_OPTION"],
    ["a granule that is none", { ...BANK, granule: "8K" }, "BAD_OPTION"],
    ["a pa that is none", { ...BANK, pa: -1 }, "BAD_ADDRESS"],
    ["a pa inside of a page", { ...BANK, pa: BANK.pa + 512, size: PAGE }, "EINVAL"],
    ["a size that is no pages", { ...BANK, size: 100 }, "EINVAL"],
    ["no bytes", { ...BANK, size: 0 }, "BAD_SIZE"],
    ["more than the bank", { ...BANK, size: BANK.size + PAGE }, "EFAULT"],
    ["where no memory is", { pa: 0, size: PAGE }, "EFAULT"],
    ["table pages", { pa: 2 ** 30, size: PAGE }, "EFAULT"],
    ["pages of 64K in a bank of 4K", { pa: BANK.pa + PAGE, size: MIB, granule: "64K" }, "EINVAL"],
    ["no frames", { frames: 0 }, "BAD_OPTION"],
    ["too many frames", { frames: 2 ** 25 + 1 }, "BAD_OPTION"],
    ["frames without bytes over memory", { frames: 4, pa: BANK.pa }, "EEXIST"],
    ["frames without bytes over tables", { frames: 4, pa: 2 ** 30 }, "EEXIST"],
    ["frames beyond 2^52", { frames: 4, pa: 2 ** 52 - PAGE }, "EINVAL"],
    ["no mappable pages", { ...BANK, mappablePages: 0 }, "BAD_OPTION"],
    ["no areas", { ...BANK, maxAreas: 0 }, "BAD_OPTION"],
  ];

  it.each(BAD)("%s", async (_, options, code) => {
    const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    expect(errorOf(() => GuestMemory.create(engine, options as GuestMemoryOptions)).code).toBe(
      code,
    );
    engine.dispose();
  });
});

describe("bytes of a guest memory", () => {
  const half = { pa: BANK.pa + BANK.size / 2, size: BANK.size / 2 };

  it("are of no other one in this thread until it is disposed", async () => {
    const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    const codeOf = (options: GuestMemoryOptions): string =>
      errorOf(() => GuestMemory.create(engine, options)).code;
    const ram = GuestMemory.create(engine, half);
    expect(codeOf(half)).toBe("EEXIST");
    expect(codeOf(BANK)).toBe("EEXIST");
    expect(codeOf({ pa: half.pa - PAGE, size: 2 * PAGE })).toBe("EEXIST");
    GuestMemory.create(engine, { ...BANK, size: half.size }); // the other half
    const twin = GuestMemory.attach(engine, ram.handle);
    ram.dispose();
    expect(codeOf(half)).toBe("EEXIST");
    twin.dispose();
    GuestMemory.create(engine, half);
    engine.dispose();
  });

  it("are those of one engine, and frames without bytes share nothing", async () => {
    const [engine, other] = await Promise.all([1, 2].map(() => Engine.create({ guestRam: BANK })));
    for (const one of [engine, other]) GuestMemory.create(one as Engine, BANK);
    for (const one of [1, 2]) GuestMemory.create(engine as Engine, { frames: one, pa: 0 });
    for (const one of [engine, other]) one?.dispose();
  });
});

describe("areas", () => {
  const t = lab();
  const area = { hva: HVA, size: 4 * MIB };
  const BAD: [string, object, ErrorCode][] = [
    ["no object", undefined as never, "BAD_OPTION"],
    ["an unknown option", { ...area, write: true }, "BAD_OPTION"],
    ["an address that is none", { ...area, hva: 1.5 }, "BAD_ADDRESS"],
    ["no size", { hva: HVA }, "BAD_SIZE"],
    ["an address inside of a page", { ...area, hva: HVA + 8 }, "EINVAL"],
    ["a size that is no pages", { ...area, size: 8 }, "EINVAL"],
    ["beyond 2^52", { ...area, hva: 2 ** 52 }, "EINVAL"],
    ["a kind that is none", { ...area, kind: "swap" }, "BAD_OPTION"],
    ["hugetlb without a page size", { ...area, kind: "hugetlb" }, "BAD_OPTION"],
    ["hugetlb of a size that is none", { ...area, kind: "hugetlb", pageSize: MIB }, "BAD_OPTION"],
    ["a page size in words", { ...area, kind: "hugetlb", pageSize: `${2 * MIB}` }, "BAD_OPTION"],
    ["a list of page sizes", { ...area, kind: "hugetlb", pageSize: [2 * MIB] }, "BAD_OPTION"],
    ["a device's in words", { ...area, kind: "device", pa: 0, pageSize: "4096" }, "BAD_OPTION"],
    ["hugetlb of a page", { ...area, kind: "hugetlb", pageSize: PAGE }, "BAD_OPTION"],
    [
      "hugetlb unaligned",
      { ...area, hva: HVA + MIB, kind: "hugetlb", pageSize: 2 * MIB },
      "EINVAL",
    ],
    ["half a huge page", { ...area, size: 3 * MIB, kind: "hugetlb", pageSize: 2 * MIB }, "EINVAL"],
    ["a page size of pages", { ...area, pageSize: 2 * MIB }, "BAD_OPTION"],
    ["a device without pa", { ...area, kind: "device" }, "BAD_OPTION"],
    ["a device inside of a page", { ...area, kind: "device", pa: 8 }, "EINVAL"],
    ["a device beyond 2^52", { ...area, kind: "device", pa: 2 ** 52 }, "EINVAL"],
    ["a pa of memory", { ...area, pa: 0 }, "BAD_OPTION"],
    ["memory that is non-cacheable", { ...area, normalNc: true }, "BAD_OPTION"],
    ["writable that is none", { ...area, writable: 1 }, "BAD_OPTION"],
    ["noMte that is none", { ...area, noMte: "no" }, "BAD_OPTION"],
    ["over another", { hva: HVA - 8 * MIB, size: 32 * MIB }, "EEXIST"],
    ["more than there are page words", { hva: 2 ** 40, size: 2 ** 34 }, "ENOMEM"],
  ];

  it.each(BAD)("%s", (_, request, code) => {
    t.ram.map({ hva: HVA + 16 * MIB, size: PAGE });
    expect(errorOf(() => t.ram.map(request as never)).code).toBe(code);
    expect(t.ram.mapped(0, 2 ** 52)).toEqual([{ hva: HVA + 16 * MIB, size: PAGE }]);
  });

  it("take page sizes as bigints too", () => {
    t.ram.map({ ...area, kind: "hugetlb", pageSize: BigInt(2 * MIB) });
    expect(t.ram.state(HVA)).toMatchObject({ kind: "hugetlb", size: 2 * MIB });
  });

  it("as many as there may be, and no more", async () => {
    const engine = await Engine.create({ maxTablePages: 64 });
    const ram = GuestMemory.create(engine, { frames: 8, maxAreas: 2 });
    ram.map({ hva: HVA, size: 2 * PAGE });
    ram.map({ hva: HVA + MIB, size: 2 * PAGE });
    expect(errorOf(() => ram.map({ hva: 0, size: PAGE })).code).toBe("ENOMEM");
    const cut = { hva: HVA, size: PAGE, writable: false };
    expect(errorOf(() => ram.protect(cut)).code).toBe("ENOMEM");
    expect(ram.state(HVA).writable).toBe(false); // absent, as it was
    expect(ram.mapped(0, 2 ** 52)).toHaveLength(2);
    engine.dispose();
  });
});

describe("ranges and pages", () => {
  const t = lab();

  it("must be mapped as a whole, aligned, and memory", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    t.ram.map({ hva: HVA + 4 * PAGE, size: PAGE, kind: "device", pa: 0 });
    t.ram.map({ hva: HVA + 2 * MIB, size: 2 * MIB, kind: "hugetlb", pageSize: 2 * MIB });
    const operations: ((range: { hva: number; size: number }) => unknown)[] = [
      (range) => t.ram.punch(range),
      (range) => t.ram.share(range),
      (range) => t.ram.collapse(range),
      (range) => t.ram.splitHuge(range),
      (range) => t.ram.populate(range),
      (range) => t.ram.protect({ ...range, writable: true }),
      (range) => t.ram.onMissing(range, () => "zero"),
    ];
    const misspelt = { hva: HVA, size: PAGE, sice: 1 };
    expect(errorOf(() => t.ram.unmap(misspelt)).code).toBe("BAD_OPTION");
    expect(t.ram.state(HVA).state).toBe("absent");
    for (const operation of operations) {
      const codeOf = (hva: number, size: number): string =>
        errorOf(() => operation({ hva, size })).code;
      expect(codeOf(HVA, 3 * PAGE)).toBe("EFAULT");
      expect(codeOf(HVA + 8 * MIB, PAGE)).toBe("EFAULT");
      expect(codeOf(HVA + 4 * PAGE, PAGE)).toBe("EINVAL");
      expect(codeOf(HVA + 1, PAGE)).toBe("EINVAL");
      expect(codeOf(HVA, 100)).toBe("EINVAL");
      expect(codeOf(HVA, 0)).toBe("BAD_SIZE");
      expect(codeOf(HVA + 2 * MIB, MIB)).toBe("EINVAL");
      expect(errorOf(() => operation({ hva: HVA, size: PAGE, sice: 1 } as never)).code).toBe(
        "BAD_OPTION",
      );
      expect(errorOf(() => operation(undefined as never)).code).toMatch(/^BAD_(OPTION|ADDRESS)$/);
    }
    expect(errorOf(() => t.ram.unmap({ hva: HVA + 3 * MIB, size: MIB })).code).toBe("EINVAL");
    expect(t.vm.told()).toEqual([]);
  });

  it("refuse values that are none", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    const range = { hva: HVA, size: PAGE };
    const calls: [() => unknown, ErrorCode][] = [
      [() => t.ram.protect(range as never), "BAD_OPTION"],
      [() => t.ram.punch({ ...range, keepCache: 1 as never }), "BAD_OPTION"],
      [() => t.ram.populate({ ...range, write: 1 as never }), "BAD_OPTION"],
      [() => t.ram.onMissing(range, 5 as never), "BAD_OPTION"],
      [() => t.ram.onMissing({ ...range, mode: "major" as never }, () => "zero"), "BAD_OPTION"],
      [() => t.ram.poison(-1), "BAD_ADDRESS"],
      [() => t.ram.poison(0), "EFAULT"],
      [() => t.ram.state(-1), "BAD_ADDRESS"],
      [() => t.ram.read(HVA, "x" as never), "BAD_OPTION"],
      [() => t.ram.write(-1, bytes(1, 1)), "BAD_ADDRESS"],
      [() => t.ram.fill(HVA, 5 as never), "BAD_OPTION"],
      [() => t.ram.fill(HVA + 8, "zero"), "EINVAL"],
      [() => t.ram.fill(0, "zero"), "EFAULT"],
      [() => t.ram.fill(HVA, bytes(PAGE + 1, 0)), "BAD_SIZE"],
      [() => t.ram.fill(HVA, "continue"), "ENOENT"],
      [() => t.ram.preload(HVA, bytes(1, 1)), "EINVAL"],
      [() => t.ram.addVm({} as never), "BAD_OPTION"],
      [() => t.ram.addVm(undefined as never), "BAD_OPTION"],
    ];
    for (const [call, code] of calls) expect(errorOf(call).code).toBe(code);
    expect(t.ram.counters).toMatchObject({ framesUsed: 0, filled: 0, exists: 0 });
  });

  it("refuse bytes where frames have none", async () => {
    const ram = GuestMemory.create(t.engine, { frames: 4, pa: 0 });
    ram.map({ hva: HVA, size: PAGE });
    expect(errorOf(() => ram.read(HVA, bytes(1, 0))).code).toBe("ENOSYS");
    expect(errorOf(() => ram.write(HVA, bytes(1, 0))).code).toBe("ENOSYS");
    expect(errorOf(() => ram.fill(HVA, bytes(1, 0))).code).toBe("ENOSYS");
    expect(ram.fill(HVA, "zero")).toBe("filled");
    expect(ram.populate({ hva: HVA, size: PAGE, write: true })).toBe(true);
    expect(ram.state(HVA)).toMatchObject({ state: "readWrite", dirty: true });
    ram.dispose();
  });
});

describe("ends", () => {
  it("after dispose everything is refused, and no VM is told", async () => {
    const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    const ram = GuestMemory.create(engine, BANK);
    ram.addVm(new FakeVm());
    ram.dispose();
    ram.dispose();
    const calls = [
      () => ram.map({ hva: HVA, size: PAGE }),
      () => ram.counters,
      () => ram.handle,
      () => ram.read(HVA, bytes(1, 1)),
      () => ram.resolve({ hva: HVA } as never),
      () => ram.unmap({ hva: HVA, size: PAGE }),
      () => ram.inspect(HVA, PAGE),
      () => ram.dirtied(0),
    ];
    for (const call of calls) expect(errorOf(call).code).toBe("DISPOSED");
    engine.dispose();
  });

  it("an engine that ends takes its guest memories along", async () => {
    const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    const ram = GuestMemory.create(engine, BANK);
    engine.dispose();
    expect(errorOf(() => ram.counters).code).toBe("DISPOSED");
    ram.dispose();
  });

  it("handles are for threads of the same engine", async () => {
    const engine = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    const other = await Engine.create({ maxTablePages: 64, guestRam: BANK });
    const single = await Engine.create({ mode: "single", maxTablePages: 64, guestRam: BANK });
    const ram = GuestMemory.create(engine, BANK);
    const { handle } = ram;
    const codeOf = (given: unknown, on = engine): string =>
      errorOf(() => GuestMemory.attach(on, given as never)).code;
    expect(codeOf(handle, other)).toBe("FOREIGN");
    for (const bad of [undefined, {}, { ...handle, kind: "x" }, { ...handle, state: undefined }]) {
      expect(codeOf(bad)).toBe("BAD_OPTION");
    }
    expect(codeOf({ ...handle, state: new SharedArrayBuffer(4096) })).toBe("BAD_OPTION");
    expect(errorOf(() => GuestMemory.create(single, BANK).handle).code).toBe("NO_SHARED_MEMORY");
    const twin = GuestMemory.attach(engine, handle);
    ram.map({ hva: HVA, size: PAGE });
    expect(twin.state(HVA)).toMatchObject({ state: "absent", kind: "anonymous" });
    for (const one of [engine, other, single]) one.dispose();
  });
});
