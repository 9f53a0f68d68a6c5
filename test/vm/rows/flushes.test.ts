/** Rows M-6.1, M-6.2: what cleans all that a guest may have cached, of machines without FWB. */
import { describe, expect, it } from "vitest";
import { MODES, lab } from "../../support.ts";
import { Guest, HVA, IPA } from "./support.ts";

describe.each(MODES)("flushes of all slots (%s)", (mode) => {
  const here = lab(mode);
  /** Five slots of one page; where flushes go, by slot. */
  const guestOf = (options: object = {}) => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"], ...options });
    const { page } = guest;
    for (let slot = 0; slot < 5; slot++) {
      guest.vm.setMemslot({ slot, ipa: IPA + slot * page, size: page, hva: HVA + slot * page });
    }
    guest.forget();
    const order = () => guest.logged("flush").map(({ ipa }) => (ipa - IPA) / page);
    return { guest, order };
  };

  it("M-6.1, M-6.2: flushAll: slots in hash order", () => {
    const { guest, order } = guestOf();
    guest.vm.flushAll();
    expect(order()).toEqual([0, 3, 1, 4, 2]);
  });

  it("M-6.1, M-6.2: whatever the ids: by the top 7 bits of id * 0x61C88647", () => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"] });
    const bucket = (id: number) => Math.imul(id, 0x61c88647) >>> 25;
    const buckets = new Map<number, number>();
    for (const id of [32766, 0, 1, 2, 5, 8, 13, 77, 100, 511, 512, 4096, 9999, 20_000, 32_000]) {
      if (!buckets.has(bucket(id))) buckets.set(bucket(id), id);
    }
    const ids = [...buckets.values()];
    ids.forEach((slot, i) => {
      guest.vm.setMemslot({ slot, ipa: IPA + i * 4096, size: 4096, hva: HVA + i * 4096 });
    });
    guest.forget();
    guest.vm.flushAll();
    const order = guest.logged("flush").map(({ ipa }) => ids[(ipa - IPA) / 4096]);
    expect(order).toEqual([...ids].sort((a, b) => bucket(a) - bucket(b)));
    expect(order.length).toBeGreaterThan(10);
  });

  it("M-6.2: caches on or off: a change flushes, the same again does not; on stops trapping", () => {
    const { guest, order } = guestOf();
    const { vm, vcpu } = guest;
    vm.setCaches(vcpu, false);
    expect(order()).toEqual([]);
    vm.setCaches(vcpu, true);
    expect(order()).toHaveLength(5);
    vm.setCaches(vcpu, true);
    expect(order()).toEqual([]);
  });

  it("M-6.2: set/way flushes and traps, unless control registers are trapped, as from the start", () => {
    const { guest, order } = guestOf();
    const { vm, vcpu } = guest;
    vm.setWay(vcpu);
    expect(order()).toEqual([]);
    vm.setCaches(vcpu, true); // flushes, and stops trapping
    expect(order()).toHaveLength(5);
    vm.setWay(vcpu);
    expect(order()).toHaveLength(5);
    vm.setWay(vcpu);
    expect(order()).toEqual([]);
    vm.setCaches(vcpu, true); // on to on: stops trapping
    expect(order()).toEqual([]);
    vm.setCaches(vcpu, false); // which nobody sees
    expect(order()).toEqual([]);
    vm.setWay(vcpu);
    expect(order()).toHaveLength(5);
    vm.setCaches(vcpu, false);
    vm.setCaches(vcpu, true);
    expect(order().length % 5).toBe(0);
  });

  it("M-6.2: with FWB there is nothing to flush", () => {
    const { guest, order } = guestOf({ fwb: true, events: ["maintenance"] });
    guest.write(IPA);
    guest.forget();
    guest.vm.setWay(guest.vcpu);
    guest.vm.setCaches(guest.vcpu, true);
    expect(order()).toEqual([]);
  });
});
