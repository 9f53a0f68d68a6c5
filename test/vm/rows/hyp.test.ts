/**
 * Rows M-11.x, as far as there is something for them: the library has the hypervisor's page table (HypStage1), not the layout
 * of its address space, the hand-out of private ranges, or the counts of shared pages.
 */
import { describe, expect, it } from "vitest";
import { type HypStage1, Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";

const PAGE = 4096;
const VA = 0x4000_0000;
const PA = 0x9000_0000;

describe.each(MODES)("hypervisor stage 1 (%s)", (mode) => {
  const here = lab(mode);
  const make = (options: object = {}): HypStage1 => here.keep(here.engine.hyp(options));
  const seen = (hyp: HypStage1) =>
    [...hyp.leaves()].map(({ va, size, pa, prot }) => ({ va, size, pa, prot }));

  it("M-11.1: 48 or 52 bits of VA; a page of code maps to itself, RX", () => {
    for (const vaBits of [48, 52]) {
      const hyp = make({ vaBits, lpa2: vaBits === 52 });
      expect(hyp.vaBits).toBe(vaBits);
      hyp.map({ va: PA, size: PAGE, pa: PA, prot: Prot.RX });
      expect(seen(hyp)).toEqual([{ va: PA, size: PAGE, pa: PA, prot: Prot.RX }]);
    }
  });

  it("M-11.3: mappings are made page by page; the same again is nothing, another one an error", () => {
    const hyp = make();
    for (let i = 0; i < 4; i++) {
      hyp.map({ va: VA + i * PAGE, size: PAGE, pa: PA + (3 - i) * PAGE, prot: Prot.RW });
    }
    expect(seen(hyp).map(({ pa }) => (pa - PA) / PAGE)).toEqual([3, 2, 1, 0]);
    const before = seen(hyp);
    hyp.map({ va: VA, size: PAGE, pa: PA + 3 * PAGE, prot: Prot.RW });
    expect(seen(hyp)).toEqual(before);
    const other = { va: VA, size: PAGE, pa: PA, prot: Prot.RW };
    expect(errorOf(() => hyp.map(other)).code).toBe("EINVAL");
    expect(errorOf(() => hyp.map({ ...other, pa: PA + 3 * PAGE, prot: Prot.R })).code).toBe(
      "EINVAL",
    );
    expect(seen(hyp)).toEqual(before);
  });

  it("M-11.5: a stack: the upper page of two mapped RW, the lower one a guard", () => {
    const hyp = make();
    hyp.map({ va: VA + PAGE, size: PAGE, pa: PA, prot: Prot.RW });
    expect(hyp.getLeaf(VA).kind).toBe("empty");
    expect(hyp.getLeaf(VA + PAGE)).toMatchObject({ kind: "leaf", prot: Prot.RW });
    expect(hyp.getLeaf(VA + 2 * PAGE).kind).toBe("empty");
  });

  it("M-11.6: devices are DEVICE and RW, code is RX; what is neither is refused", () => {
    const hyp = make();
    hyp.map({ va: VA, size: PAGE, pa: PA, prot: Prot.RW | Prot.DEVICE });
    hyp.map({ va: VA + PAGE, size: PAGE, pa: PA + PAGE, prot: Prot.RX });
    expect(seen(hyp).map(({ prot }) => prot)).toEqual([Prot.RW | Prot.DEVICE, Prot.RX]);
    for (const prot of [Prot.RWX, Prot.RX | Prot.DEVICE, Prot.W, 0]) {
      const request = { va: VA + 4 * PAGE, size: PAGE, pa: PA, prot };
      expect(errorOf(() => hyp.map(request)).code, `${prot}`).toBe("EINVAL");
    }
    expect(seen(hyp)).toHaveLength(2);
  });
});
