/** Who else makes pages dirty (M-8.14): writes of the host's kernel are told like those of guests, by bitmap or backup bitmap. */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag } from "../../../src/index.ts";
import { load, store, touch } from "../harness/slot/access.ts";
import { SLOT, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { type ModeName, collect, prepareMode } from "./modes.ts";

const PAGES = 70;
const MODES: readonly ModeName[] = ["log", "clear", "ring with bitmap"];

describe.each(MODES)("writes of the host, mode %s", (mode) => {
  const options: SceneOptions = {
    ...{ kind: "anonymous", size: PAGES * 4096, bytes: (PAGES + 2) * 4096 },
    ...{ flags: MemslotFlag.LOG_DIRTY_PAGES, prepare: (vm) => prepareMode(mode, vm, 4096) },
  };
  const bytes = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);

  it("writeGuest is told, whether the page is mapped or not; readGuest is not", () =>
    onScene(options, (scene) => {
      const { vm, vcpus, ipa, page, pages } = scene;
      const told = () =>
        [...collect(mode, { vm, vcpus, pages }).dirty.entries()].flatMap(([n, bit]) =>
          bit ? [n] : [],
        );
      store(vcpus[0]!, ipa + 3 * page, 7);
      expect(told()).toContain(3);
      expect(told()).toEqual([]);

      vm.writeGuest(ipa + 3 * page, bytes(11)); // mapped, read-only now
      vm.writeGuest(ipa + 66 * page + 8, bytes(12)); // not mapped
      vm.readGuest(ipa + 5 * page, 8);
      expect(told()).toEqual([3, 66]);
      expect([load(vcpus[0]!, ipa + 3 * page), load(vcpus[0]!, ipa + 66 * page + 8)]).toEqual([
        11, 12,
      ]);
      expect(told()).toEqual([]);
    }));

  it("markDirty, as devices do; a page beside the slot is nothing", () =>
    onScene(options, ({ vm, vcpus, ipa, page, pages }) => {
      collect(mode, { vm, vcpus, pages });
      vm.markDirty(ipa + 9 * page);
      vm.markDirty(ipa - page);
      const { dirty } = collect(mode, { vm, vcpus, pages });
      expect(dirty.indexOf(1)).toBe(9);
      expect(dirty.lastIndexOf(1)).toBe(9);
    }));

  it("a store of the host through its own mapping is not told", () =>
    onScene(options, ({ vm, vcpus, ipa, page, pages, ram, hva }) => {
      touch(vcpus[0]!, ipa, Access.Write);
      collect(mode, { vm, vcpus, pages });
      ram.write(hva, bytes(5));
      expect(collect(mode, { vm, vcpus, pages }).dirty.includes(1)).toBe(false);
      expect(load(vcpus[0]!, ipa)).toBe(5);
      expect([page, SLOT]).toEqual([4096, 3]);
    }));
});
