/**
 * How large a leaf a fault maps (M-5.10 to M-5.15, M-5.41): as the host's page is, if the slot's place in guest and in host
 * memory agree, if it holds the block whole, and if nobody logs.
 */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag } from "../../../src/index.ts";
import { machineOf } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { SIZES, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { leafAt, shapeOf } from "../harness/slot/shape.ts";

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

describe.each(["4K", "16K", "64K"] as const)("%s pages", (granule) => {
  const machine = machineOf(granule);
  const { page, pmd } = SIZES[granule];
  const base = 4 * GIB;

  describe.each(["thp", "hugetlb"] as const)("%s", (kind) => {
    const common = { machine, kind, ...(kind === "hugetlb" ? { pageSize: pmd } : {}) };

    it("a slot that begins and ends inside of blocks: pages there, blocks between", () =>
      onScene({ ...common, ...inside(pmd, 3 * page) }, (scene) => {
        const { vm, ipa, size } = scene;
        const head = leafAfter(scene, ipa);
        const last = leafAfter(scene, ipa + size - page);
        const middle = leafAfter(scene, base + pmd + 5 * page);
        expect([head.size, middle.size, last.size]).toEqual([page, pmd, page]);
        expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": 2, "L2 rw-": 1 });
      }));

    it("guest and host addresses that differ modulo the block: pages alone", () =>
      onScene({ ...common, ipa: base, size: 3 * pmd, skew: page }, (scene) => {
        for (const block of [0, 1, 2]) {
          expect(leafAfter(scene, base + block * pmd + 3 * page).size).toBe(page);
        }
      }));

    it("a slot that is logged from the start: pages alone (M-5.10)", () =>
      onScene(
        { ...common, ipa: base, size: 2 * pmd, flags: MemslotFlag.LOG_DIRTY_PAGES },
        (scene) => {
          expect(leafAfter(scene, base + page).size).toBe(page);
          expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 rw-": 1 });
        },
      ));

    it("a slot that is read-only and logged does not count as logged (M-3.27)", () =>
      onScene(
        {
          ...{ ...common, ipa: base, size: 2 * pmd },
          flags: MemslotFlag.LOG_DIRTY_PAGES | MemslotFlag.READONLY,
        },
        (scene) => {
          touch(scene.vcpus[0]!, base + page, Access.Read);
          expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 r--": 1 });
        },
      ));

    it("an access anywhere in a block maps it from its first byte", () =>
      onScene({ ...common, ipa: base, size: 2 * pmd }, (scene) => {
        const leaf = leafAfter(scene, base + 2 * pmd - 8);
        expect([leaf.ipa, leaf.size, leaf.pa % pmd]).toEqual([base + pmd, pmd, 0]);
      }));
  });

  /** A slot of one whole block with `more` bytes on either side. */
  function inside(block: number, more: number): Pick<SceneOptions, "ipa" | "size" | "memory"> {
    return { ipa: base + block - more, size: block + 2 * more, memory: 4 * block };
  }
});

describe("hugetlb pages of other sizes, 4K pages", () => {
  const machine = machineOf("4K");
  const slot = { machine, kind: "hugetlb", size: 2 * GIB } as const;

  it.each([
    ["1 GiB, in a slot of 2 GiB", GIB, 4 * GIB, 2 * GIB, GIB],
    ["1 GiB, in a slot that holds none whole: 2 MiB", GIB, 4 * GIB + 512 * MIB, GIB, 2 * MIB],
    ["32 MiB (contiguous blocks): 2 MiB", 32 * MIB, 4 * GIB, 64 * MIB, 2 * MIB],
    ["64 KiB (contiguous pages): 4 KiB", 64 * KIB, 4 * GIB, 64 * MIB, 4 * KIB],
  ])("%s", async (_name, pageSize, ipa, size, expected) => {
    const memory = 4 * GIB;
    await onScene({ ...slot, pageSize, ipa, size, memory, judged: false }, (scene) => {
      expect(leafAfter(scene, ipa + size / 2 + 12 * KIB).size).toBe(expected);
    });
  });
});

/** The leaf that an access to an address leaves there. */
function leafAfter(
  { vm, vcpus }: Parameters<Parameters<typeof onScene>[1]>[0],
  ipa: number,
): NonNullable<ReturnType<typeof leafAt>> {
  const pa = touch(vcpus[0]!, ipa, Access.Write);
  const leaf = leafAt(vm.stage2, ipa);
  if (leaf === undefined) throw new Error(`nothing is mapped at ${ipa.toString(16)}`);
  expect(pa, "its output address").toBe(leaf.pa + (ipa - leaf.ipa));
  return leaf;
}
