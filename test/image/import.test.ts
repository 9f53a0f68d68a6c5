/** Recorded images: what goes in comes out, what does not fit is refused, and nothing is left in the pool. */
import { describe, expect, it } from "vitest";
import type { Mode } from "../../src/engine.ts";
import { type Expectations, checkExpectations, expectedRegime } from "../../src/image/expect.ts";
import { exportPages } from "../../src/image/export.ts";
import { type TableImage, parseImage, regimeNamed } from "../../src/image/format.ts";
import { importRegime } from "../../src/image/import.ts";
import { regimeDocument } from "../../src/image/listing.ts";
import { readExpectations, readImage } from "../../src/image/read.ts";
import { MODES, onEngine } from "../engines.ts";
import { dumpedPage, imageNames, imagePath, smallImage, withWord } from "./support.ts";

const RECORDED = imageNames("tables.json.gz");
const EXPECTED = imageNames("expect.jsonl.gz");

/** Checks expectations through the guest's stage 2. */
function check(image: TableImage, expected: Expectations, mode?: Mode) {
  const regime = regimeNamed(image, expectedRegime(image, expected));
  return checkExpectations(image, regime, expected, mode);
}

describe.each(MODES)("images, %s build", (mode) => {
  it.each(RECORDED)("%s: every regime comes out as it went in", async (name) => {
    const image = readImage(imagePath(name));
    await onEngine(mode, (engine) => {
      for (const regime of image.regimes) {
        const table = importRegime(engine, image, regime.name);
        const pages = exportPages(table);
        expect(pages.size).toBe(regime.tables);
        for (const [address, bytes] of pages) {
          const dumped = dumpedPage(image, regime.name, address);
          expect(Buffer.compare(bytes, dumped), `page 0x${address.toString(16)}`).toBe(0);
        }
        table.dispose();
      }
    });
  });

  it.each(EXPECTED)("%s: every expectation holds", async (name) => {
    const image = readImage(imagePath(name));
    const expected = readExpectations(imagePath(name, "expect.jsonl.gz"));
    const { passed, failed, bothStages, unmapped, failures } = await check(image, expected, mode);
    expect({ failed, failures }).toEqual({ failed: 0, failures: [] });
    expect(passed).toBe(expected.rows.length);
    const reads = expected.rows.filter(({ kind }) => kind === "read");
    expect(bothStages).toBe(expected.guestStage1 ? reads.length : 0);
    expect(passed - unmapped).toBeGreaterThan(1000);
  });

  it.each(EXPECTED)("%s: the VTCR is the one that KVM programmed there", async (name) => {
    const image = readImage(imagePath(name));
    await onEngine(mode, (engine) => {
      for (const regime of image.regimes.filter(({ stage }) => stage === 2)) {
        const table = importRegime(engine, image, regime.name);
        expect(table.stage2!.vtcr.toString(16)).toBe(regime.control.toString(16));
        table.dispose();
      }
    });
  });

  it("an imported stage 2 can be edited like any other, and frees what it has", async () => {
    const image = readImage(imagePath("max4k.age.c1"));
    await onEngine(mode, (engine) => {
      const table = importRegime(engine, image, "s2.cpu0");
      const s2 = table.stage2!;
      expect(s2.lookup(0x4000_0000)).toBe(0x4277_9000);
      s2.map({ ipa: 0x10_0000_0000, size: 0x1000, pa: 0x5000_0000, prot: 7 });
      expect(() => exportPages(table)).toThrow(/made after the import/);
      s2.unmap({ ipa: 0, size: 2 ** 40 });
      expect(table.counters()).toMatchObject({ leafCount: 0, tables: 0 });
      expect(s2.memoryUsage().tablePages).toBe(2);
      table.dispose();
    });
  });
});

describe("listing", () => {
  async function documentOf(name: string, regime: string) {
    const image = readImage(imagePath(name));
    const found: ReturnType<typeof regimeDocument>[] = [];
    await onEngine("single", (engine) => {
      const table = importRegime(engine, image, regime);
      found.push(regimeDocument(table));
      table.dispose();
    });
    return found[0]!;
  }

  it("shows what pKVM's host stage 2 gave away: its annotations", async () => {
    const { ranges, invalid } = await documentOf("a72pkvm.notif.c2", "s2.cpu0");
    const owned = ranges.filter(({ kind }) => kind === "invalid");
    expect(new Set(owned.map(({ text }) => text))).toEqual(new Set(["owner 1"]));
    expect(owned.reduce((sum, { entries }) => sum + entries, 0)).toBe(invalid);
    expect(invalid).toBe(3114);
    expect(owned.at(-1)).toMatchObject({ start: "0x0009f000000", end: "0x0009fc00000" });
  });

  it("shows addresses of the upper half, and of tables as they were", async () => {
    const { ranges, tables, root } = await documentOf("max16k.stage1", "guest_ttbr1.cpu0");
    expect(root).toBe("0x41efe000");
    expect(tables[0]).toEqual({ address: "0x41efe000", level: -1, start: "0xfff0000000000000" });
    expect(ranges[0]!.start).toBe("0xfff0000000000000");
    expect(ranges.at(-1)!.end).toMatch(/^0xffffffff/);
  });

  it("reads a root that is a small part of its page", async () => {
    const { root, leafCount } = await documentOf("max16k.stage1", "guest_ttbr0.cpu0");
    expect({ root, leafCount }).toEqual({ root: "0x43abf500", leafCount: 2685 });
  });

  it("tells absent tables of a guest's stage 1 apart", async () => {
    const { tables } = await documentOf("max4k.rand.c0", "guest_ttbr0.cpu0");
    const absent = tables.filter((table) => table.absent).map(({ address }) => address);
    expect(absent).toEqual(["0x104000", "0x106000", "0x107000", "0x108000"]);
  });

  it("keeps hypervisor mappings apart by every attribute bit", async () => {
    const { ranges } = await documentOf("a72pkvm.stage1", "hyp_ttbr0_el2.cpu0");
    expect(ranges[0]).toMatchObject({ text: "r-x attr0 inner af", pa: "0x004113a000" });
    expect(ranges.filter(({ text }) => text.startsWith("invalid"))).toMatchObject([
      { entries: 2, bits: "0x40000042c2c742" },
    ]);
  });

  it("reads 64 KiB tables with 52-bit output addresses", async () => {
    const { json, bytes } = smallImage();
    const image = parseImage("small", json, bytes);
    await onEngine("single", (engine) => {
      const table = importRegime(engine, image, "s2.cpu0");
      const [page, owned, block] = [...table.ranges()];
      expect(page).toMatchObject({ ia: 0, level: 3, pa: 0xf_0000_0002_0000 });
      expect(owned).toMatchObject({ kind: "invalid", ia: 0x2_0000, attributes: 12n });
      expect(block).toMatchObject({ ia: 0x2000_0000, level: 2, pa: 0x8000_0000 });
      table.dispose();
    });
  });
});

describe("a changed image", () => {
  const image = readImage(imagePath("max4k.age.c1"));
  const offsetOf = (level: number, want: (word: bigint) => boolean): number => {
    const view = new DataView(image.bytes.buffer, image.bytes.byteOffset);
    for (const page of image.pages.filter(({ places }) => places[0]!.level === level)) {
      for (let at = page.offset; at < page.offset + page.size; at += 8)
        if (want(view.getBigUint64(at, true))) return at;
    }
    throw new Error("no such word");
  };
  const leaf = offsetOf(3, (word) => (word & 1n) === 1n);
  const table = offsetOf(2, (word) => (word & 3n) === 3n);

  it.each([
    ["a leaf that became invalid", leaf, (word: bigint) => word & ~1n, /leaves at level 3/],
    ["a leaf that became zero", leaf, () => 0n, /leaves at level 3/],
    ["a lost table", table, () => 0n, /no entry points to table/],
    ["a pointer to no table", table, (word: bigint) => word ^ (1n << 40n), /is missing/],
    ["a table that points to itself", table, () => 0x44c5_5003n, /not listed there/],
  ])("%s is refused, and nothing is left", async (_what, offset, change, message) => {
    await onEngine("single", (engine) => {
      expect(() => importRegime(engine, withWord(image, offset, change), "s2.cpu0")).toThrow(
        message,
      );
    });
  });

  it("a leaf with another address disagrees with the expectations", async () => {
    const changed = withWord(image, leaf, (word) => word ^ (1n << 20n));
    const expected = readExpectations(imagePath("max4k.age.c1", "expect.jsonl.gz"));
    expect((await check(changed, expected)).failed).toBeGreaterThan(0);
  });

  it("an import that the pool has no room for leaves nothing", async () => {
    await onEngine("single", (engine) => {
      engine.tableBudget = 7;
      expect(() => importRegime(engine, image, "s2.cpu0")).toThrow(/ENOMEM|pool is full/);
    });
  });
});
