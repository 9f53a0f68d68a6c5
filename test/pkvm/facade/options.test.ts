/** What a pKVM machine may be made with: generations are presets, everything else is refused at the door. */
import { describe, expect, it } from "vitest";
import {
  GENERATIONS,
  HYPERCALLS,
  NOT_SUPPORTED,
  type PkvmFeatures,
  type PkvmOptions,
  type Stage2Error,
} from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { MEMORY, PAGE, RAM, RAM_BYTES } from "../support.ts";

const memory = MEMORY;
const one = (size: number): PkvmOptions => ({ memory: [{ pa: RAM, size }] });

const REFUSED: readonly [what: string, options: unknown, code: string][] = [
  ["no options", undefined, "BAD_OPTION"],
  ["no memory", {}, "BAD_OPTION"],
  ["an empty memory", { memory: [] }, "BAD_OPTION"],
  ["memory that is no array", { memory: { pa: RAM, size: PAGE } }, "BAD_OPTION"],
  ["a region that is no object", { memory: [RAM] }, "BAD_OPTION"],
  [
    "a region with an unknown name",
    { memory: [{ pa: RAM, size: PAGE, nomap: true }] },
    "BAD_OPTION",
  ],
  [
    "more than 32 regions",
    { memory: Array.from({ length: 33 }, (_, i) => ({ pa: RAM + i * 2 * PAGE, size: PAGE })) },
    "BAD_OPTION",
  ],
  ["an unaligned region", { memory: [{ pa: RAM + 1, size: PAGE }] }, "BAD_OPTION"],
  ["a region of part of a page", { memory: [{ pa: RAM, size: PAGE + 1 }] }, "BAD_OPTION"],
  ["an empty region", { memory: [{ pa: RAM, size: 0 }] }, "BAD_SIZE"],
  ["an address that is none", { memory: [{ pa: -1, size: PAGE }] }, "BAD_ADDRESS"],
  [
    "regions that overlap",
    {
      memory: [
        { pa: RAM + PAGE, size: PAGE },
        { pa: RAM, size: 2 * PAGE },
      ],
    },
    "BAD_OPTION",
  ],
  [
    "memory beyond the address size",
    { memory: [{ pa: 2 ** 40 - PAGE, size: 2 * PAGE }] },
    "BAD_OPTION",
  ],
  ["an unknown option", { memory, blockes: true }, "BAD_OPTION"],
  ["an unknown generation", { memory, generation: "6.17" }, "BAD_OPTION"],
  ["a feature that is no flag", { memory, blocks: 1 }, "BAD_OPTION"],
  ["31-bit addresses", { memory, paBits: 31 }, "BAD_OPTION"],
  ["52-bit addresses without LPA2", { memory, paBits: 52 }, "BAD_OPTION"],
  ["an offset of half a page", { memory, hypVaOffset: PAGE / 2 }, "BAD_OPTION"],
  ["host pages of half a page", { memory, hostPages: { pa: RAM, size: PAGE / 2 } }, "BAD_OPTION"],
  [
    "host pages with an unknown name",
    { memory, hostPages: { pa: RAM, size: PAGE, n: 1 } },
    "BAD_OPTION",
  ],
  ["host pages that are no object", { memory, hostPages: 5 }, "BAD_OPTION"],
  ["host pages that are no memory", { memory, hostPages: { pa: 0, size: PAGE } }, "EINVAL"],
  ["an offset above the memory", { memory, hypVaOffset: RAM + PAGE }, "EINVAL"],
  ["an unknown event group", { memory, events: ["page"] }, "BAD_OPTION"],
];

describe.each(MODES)("options of a pKVM machine (%s)", (mode) => {
  const here = lab(mode);

  it.each(REFUSED)("refuses %s", (_, options, code) => {
    expect(errorOf(() => here.engine.pkvm(options as PkvmOptions)).code).toBe(code);
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  const TABLES = { pa: 2 ** 30, size: PAGE };

  it.each([
    ["its first page", [TABLES]],
    ["what lies around them", [{ pa: 0, size: PAGE }, { pa: 2 ** 30 - PAGE, size: 2 ** 20 }]], // prettier-ignore
    ["memory that nobody maps", [{ ...TABLES, noMap: true }]],
  ])("is not made of memory where the engine keeps its page tables: %s", (_, regions) => {
    const error = errorOf(() => here.engine.pkvm({ memory: regions }));
    const { pa, size } = regions.at(-1) ?? TABLES;
    expect(error).toMatchObject({ code: "EEXIST", errno: 17 });
    expect(error.details).toMatchObject({ pa, size, tablePhysicalBase: 2 ** 30 });
    expect(error.message).toMatch(/keeps its page tables in this region .*tablePhysicalBase/);
    expect(error.message).toContain(`pa 0x${pa.toString(16)}`);
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("is made of memory up to the page tables, and behind them", () => {
    const end = error(2 ** 30).details["end"] as number;
    expect(error(end - PAGE).code).toBe("EEXIST");
    const around = [
      { pa: 2 ** 30 - PAGE, size: PAGE },
      { pa: end, size: PAGE },
    ];
    here.keep(here.engine.pkvm({ memory: around }));
  });

  const error = (pa: number): Stage2Error =>
    errorOf(() => here.engine.pkvm({ memory: [{ pa, size: PAGE }] }));

  it("has a preset of features for each generation", () => {
    for (const generation of ["seed", "default", "newest"] as const) {
      const pkvm = here.engine.pkvm({ memory, generation });
      expect(pkvm.features).toEqual(GENERATIONS[generation]);
      pkvm.dispose();
    }
  });

  it("takes each feature by name over its preset", () => {
    for (const name of Object.keys(GENERATIONS.default) as (keyof PkvmFeatures)[]) {
      const value = !GENERATIONS.default[name];
      const pkvm = here.engine.pkvm({ memory, [name]: value });
      expect(pkvm.features).toEqual({ ...GENERATIONS.default, [name]: value });
      pkvm.dispose();
    }
  });

  it("says what it is", () => {
    const pkvm = here.keep(here.engine.pkvm({ memory: [...memory].reverse(), paBits: 36 }));
    expect(pkvm.regions).toEqual(memory.map((region) => ({ noMap: false, ...region })));
    expect(pkvm).toMatchObject({ paBits: 36, granule: "4K", pageSize: PAGE, isOpen: true });
    expect(pkvm.hostStage2.ipaBits).toBe(36);
    expect(pkvm.entryTablePages).toBe(pkvm.hostStage2.rootBytes / PAGE);
    expect(pkvm.hypStage1.vaBits).toBe(36);
  });

  it("gives the host's kernel an eighth of the largest region, or 64 pages, or what there is", () => {
    const pagesOf = (options: PkvmOptions): number => {
      using pkvm = here.engine.pkvm(options);
      return pkvm.hostPages.all;
    };
    expect(pagesOf({ memory })).toBe(RAM_BYTES / PAGE / 8);
    expect(pagesOf(one(100 * PAGE))).toBe(64);
    expect(pagesOf(one(10 * PAGE))).toBe(10);
    expect(pagesOf({ memory, hostPages: { pa: RAM, size: 3 * PAGE } })).toBe(3);
    expect(pagesOf({ memory, hostPages: null })).toBe(0);
  });

  it.each(["16K", "64K"] as const)("has pages of %s", (granule) => {
    const size = 2 ** 22;
    const pkvm = here.keep(here.engine.pkvm({ memory: [{ pa: RAM, size }], granule }));
    expect(pkvm.granule).toBe(granule);
    expect(pkvm.hypercall("shareHyp", RAM / pkvm.pageSize)).toBe(0);
    expect(pkvm.pageState(RAM).host).toBe("SHARED_OWNED");
    expect(pkvm.pageState(RAM + pkvm.pageSize).host).toBe("OWNED");
  });

  it("lists hypercalls with arguments, by number", () => {
    const numbers = HYPERCALLS.map(({ number }) => number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(HYPERCALLS[0]).toEqual({
      number: 1,
      name: "shareHyp",
      caller: "host",
      parameters: ["pfn"],
      memcache: false,
    });
    expect(HYPERCALLS.find(({ name }) => name === "guestShareHost")?.caller).toBe("guest");
    expect(HYPERCALLS.find(({ name }) => name === "donateGuest")?.memcache).toBe(true);
    expect(HYPERCALLS.find(({ name }) => name === "pin")?.caller).toBe("hyp");
    expect(NOT_SUPPORTED).toBe(-(2 ** 31));
  });
});
