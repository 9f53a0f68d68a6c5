/**
 * The dummy upper table of early arm64 KVM. Where a host walks more levels than its guests' stage 2 has, software kept
 * a table whose entries pointed at the concatenated tables of the root; hardware never read it. Here there is none,
 * and every address must still come out in the table that such an entry would have led to.
 */
import { describe, expect, it } from "vitest";
import { type Granule, Prot, fakePgd } from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

const IPA_BITS = 40;
const PAGE = { "4K": 4096, "16K": 16384, "64K": 65536 } as const;

interface Host {
  granule: Granule;
  vaBits: number;
  /** Bytes that an entry of the host's top level covers. */
  covers: number;
  /** Entries of the dummy table; 0: the root is the top level. */
  entries: number;
  startLevel: number;
  rootPages: number;
}

const HOSTS: Host[] = [
  { granule: "4K", vaBits: 39, covers: 2 ** 30, entries: 0, startLevel: 1, rootPages: 2 },
  { granule: "4K", vaBits: 48, covers: 2 ** 39, entries: 2, startLevel: 1, rootPages: 2 },
  { granule: "16K", vaBits: 47, covers: 2 ** 36, entries: 16, startLevel: 2, rootPages: 16 },
  { granule: "64K", vaBits: 42, covers: 2 ** 29, entries: 0, startLevel: 2, rootPages: 1 },
  { granule: "64K", vaBits: 48, covers: 2 ** 42, entries: 1, startLevel: 2, rootPages: 1 },
];

describe("fakePgd", () => {
  it.each(HOSTS)("$granule pages, $vaBits-bit host", (host) => {
    const { granule, vaBits, covers, entries, startLevel, rootPages } = host;
    expect(fakePgd({ granule, vaBits, ipaBits: IPA_BITS })).toMatchObject({
      ...{ entries, startLevel, rootPages, entrySize: covers },
    });
  });
});

describe.each(MODES)("a table of 40 bits, %s build", (mode) => {
  it.each(HOSTS)(
    "$granule pages, $vaBits-bit host: dummy entry k leads to table k of the root",
    async ({ granule, rootPages }) => {
      await onEngine(mode, (engine) => {
        const table = engine.stage2({ granule, ipaBits: IPA_BITS });
        const page = PAGE[granule];
        const share = 2 ** IPA_BITS / rootPages; // what one concatenated table covers
        for (let k = 0; k < rootPages; k++) {
          const ipa = k * share + 5 * page;
          table.map({ ipa, size: page, pa: 0x8000_0000 + k * page, prot: Prot.RW });
          // The root is physically contiguous: walk its table k alone, as hardware would from a dummy entry.
          expect(walkFrom(engine, table.shape.rootPhysical + k * page, ipa % share, table)).toBe(
            0x8000_0000 + k * page,
          );
        }
        expect(table.counters()).toMatchObject({ leafCount: rootPages });
        table.dispose();
      });
    },
  );

  it("4K pages: address 0x80_0000_0000 is entry 0 of the second table", async () => {
    await onEngine(mode, (engine) => {
      const table = engine.stage2({ ipaBits: IPA_BITS });
      table.map({ ipa: 0x80_0000_0000, size: 2 ** 30, pa: 2 ** 30, prot: Prot.RW });
      const second = engine.context.pointer(table.shape.rootPhysical + 4096);
      expect(engine.u64[second / 8]).toBe(0x0040_0000_4000_07fdn);
      expect(engine.u64[second / 8 - 512]).toBe(0n);
      table.dispose();
    });
  });

  it("unmapping the whole space frees all tables but the root", async () => {
    await onEngine(mode, (engine) => {
      const table = engine.stage2({ ipaBits: IPA_BITS });
      for (const ipa of [0, 2 ** 39, 2 ** 40 - 4096]) {
        table.map({ ipa, size: 4096, pa: 0x8000_0000, prot: Prot.RW });
      }
      table.unmap({ ipa: 0, size: 2 ** 40 });
      expect(table.memoryUsage().tablePages).toBe(2);
      expect(table.map({ ipa: 2 ** 39, size: 4096, pa: 0x8000_0000, prot: Prot.RW })).toBe("ok");
      table.dispose();
    });
  });
});

/** Walks raw descriptors from one table of the root, with nothing but their bits: the output address of `offset`. */
function walkFrom(
  engine: { u64: BigUint64Array; context: { pointer(physical: number): number } },
  root: number,
  offset: number,
  table: { startLevel: number; granule: Granule },
): number {
  const pageBits = Math.log2(PAGE[table.granule]);
  let physical = root;
  for (let level = table.startLevel; level <= 3; level++) {
    const shift = pageBits + (3 - level) * (pageBits - 3);
    const index = Math.floor(offset / 2 ** shift) % 2 ** (pageBits - 3);
    const entry = engine.u64[engine.context.pointer(physical) / 8 + index] as bigint;
    physical = Number(entry & 0xffff_ffff_f000n & ~(2n ** BigInt(pageBits) - 1n));
    if (level < 3) expect(entry & 3n).toBe(3n);
  }
  return physical;
}
