/** VTCR_EL2 as KVM programs it, by granule, input size and output size code (PARange), with 16-bit VMIDs and HA. */
import { describe, expect, it } from "vitest";
import { type Granule, Stage2Error, vtcr } from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

// prettier-ignore
const PROGRAMMED: [granule: Granule, ipaBits: number, parange: 0 | 1 | 2 | 3 | 4 | 5 | 6, value: bigint][] = [
  ["4K", 32, 0, 0x80283520n], ["16K", 32, 0, 0x8028b560n], ["64K", 32, 0, 0x80287560n],
  ["4K", 36, 1, 0x8029355cn], ["16K", 36, 1, 0x8029b55cn], ["64K", 36, 1, 0x8029755cn],
  ["4K", 40, 2, 0x802a3558n], ["16K", 40, 2, 0x802ab558n], ["64K", 40, 2, 0x802a7558n],
  ["4K", 40, 5, 0x802d3558n],                              ["64K", 40, 5, 0x802d7558n],
  ["4K", 44, 4, 0x802c3594n], ["16K", 44, 4, 0x802cb594n], ["64K", 44, 4, 0x802c7554n],
  ["4K", 48, 5, 0x802d3590n], ["16K", 48, 5, 0x802db590n], ["64K", 48, 5, 0x802d7590n],
  ["4K", 52, 6, 0x1802e358cn], ["16K", 52, 6, 0x1802eb5ccn], ["64K", 52, 6, 0x802e758cn],
];

const HA = 1n << 21n;
const VMID16 = 1n << 19n;

/** 52 bits need a host built for them, and LPA2 descriptors or 64K pages. */
function shape(granule: Granule, ipaBits: number) {
  const wide = ipaBits === 52;
  return { granule, ipaBits, lpa2: wide && granule !== "64K", pa52: wide };
}

describe.each(MODES)("VTCR_EL2, %s build", (mode) => {
  it.each(PROGRAMMED)("%s pages, %i bits, PARange %i", async (granule, ipaBits, parange, value) => {
    const options = { ...shape(granule, ipaBits), parange };
    await onEngine(mode, (engine) => {
      const table = engine.stage2(options);
      expect(table.vtcr.toString(16)).toBe(value.toString(16));
      table.dispose();
    });
    expect(vtcr(options)).toBe(value);
  });

  it("has HA and 16-bit VMIDs only where the CPU has them", async () => {
    await onEngine(mode, (engine) => {
      for (const [options, lacks] of [
        [{ ha: false }, HA],
        [{ vmidBits: 8 }, VMID16],
        [{ ha: false, vmidBits: 8 }, HA | VMID16],
      ] as const) {
        const table = engine.stage2({ ipaBits: 40, parange: 2, ...options });
        expect(table.vtcr).toBe(0x802a3558n - lacks);
        expect(vtcr({ ipaBits: 40, parange: 2, ...options })).toBe(0x802a3558n - lacks);
        table.dispose();
      }
    });
  });

  it("never has HD: dirty state is tracked by write protection", async () => {
    for (const [granule, ipaBits, parange] of PROGRAMMED) {
      expect(vtcr({ ...shape(granule, ipaBits), parange }) & (1n << 22n)).toBe(0n);
    }
  });
});

describe("shapes that cannot be", () => {
  it.each([31, 53, 40.5, "40"])("refuses %j bits", async (ipaBits) => {
    expect(() => vtcr({ ipaBits: ipaBits as number })).toThrow(Stage2Error);
    await onEngine("single", (engine) => {
      expect(() => engine.stage2({ ipaBits: ipaBits as number })).toThrow(Stage2Error);
    });
  });
});
