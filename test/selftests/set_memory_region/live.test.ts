/**
 * set_memory_region_test, SR5 to SR7 and SR9: slots that move and go while a guest uses them. One thread: between any two
 * steps of the host the guest looks. A guest that spins meanwhile in a thread of its own is in threads.test.ts.
 */
import { describe, expect, it } from "vitest";
import { decodeSyndrome } from "../../../src/index.ts";
import { configurations } from "../harness/configurations.ts";
import type { Guest, GuestOptions } from "../harness/guest.ts";
import { answer, codeReturning } from "../harness/guest.ts";
import type { Place, Scene } from "../harness/machine.ts";
import { refusal, stage } from "./regions.ts";

/** What a device answers where no slot is. */
const MMIO_VALUE = 0xbeefn;
const SLOT = 10;

/** A guest without an MMU of its own, whose loads where nothing is come back as MMIO_VALUE. */
function guestOf(scene: Scene, options: GuestOptions = {}): Guest {
  return scene.guest({ mmio: (exit) => answer(exit, MMIO_VALUE), ...options });
}

/** What the guest reads. */
function look(guest: Guest, ipa: number): bigint {
  let value = 0n;
  expect(guest.run(() => (value = guest.load(ipa)))).toBe("done");
  return value;
}

describe.each(configurations())("$name", (one) => {
  const here = stage(one);
  const { page } = one;
  const ipa = 0xc000_0000;

  /** The slot's first two words: each page's number, from 1 on. */
  const numbered = (pages: number): Place => {
    const place = here.scene.addSlot({ slot: SLOT, ipa, size: pages * page });
    return place;
  };

  it("SR5: set_memory_region_test: a slot that moves down a page and back", () => {
    const { scene } = here;
    const { vm, host } = scene;
    const guest = guestOf(scene);
    const { hva, size } = numbered(2);
    const write = (value: bigint) =>
      host.write(hva, new Uint8Array(BigUint64Array.of(value).buffer));
    expect(look(guest, ipa)).toBe(0n);
    write(1n);
    expect(look(guest, ipa)).toBe(1n);

    expect(vm.setMemslot({ slot: SLOT, ipa: ipa - page, size, hva })).toBe("move");
    expect(look(guest, ipa), "the second page is here now").toBe(0n);
    expect(look(guest, ipa + page), "and nothing behind it").toBe(MMIO_VALUE);
    write(2n);
    expect([look(guest, ipa - page), look(guest, ipa)]).toEqual([2n, 0n]);
    write(1n);

    expect(vm.setMemslot({ slot: SLOT, ipa, size, hva })).toBe("move");
    expect([look(guest, ipa - page), look(guest, ipa), look(guest, ipa + page)]).toEqual([
      MMIO_VALUE,
      1n,
      0n,
    ]);
  });

  it("SR5: set_memory_region_test: a move that is refused leaves the slot, without its mappings", () => {
    const { scene } = here;
    const guest = guestOf(scene);
    const { hva, size } = numbered(2);
    expect(look(guest, ipa)).toBe(0n);
    expect([...scene.vm.stage2.leaves()]).toHaveLength(1);
    const beyond = { slot: SLOT, ipa: scene.limit - page, size, hva };
    expect(refusal(() => scene.vm.setMemslot(beyond))).toBe("EFAULT");
    expect([...scene.vm.stage2.leaves()]).toEqual([]);
    expect(scene.vm.memslot(SLOT)).toMatchObject({ ipa, size, hva });
    expect(look(guest, ipa)).toBe(0n);
    expect(guest.mmio).toBe(0);
  });

  it("SR6: set_memory_region_test: a slot that goes, comes again, and goes", () => {
    const { scene } = here;
    const { vm } = scene;
    const guest = guestOf(scene);
    const { hva, size } = numbered(2);
    expect(guest.run(() => guest.store(ipa, 1n))).toBe("done");
    expect(vm.setMemslot({ slot: SLOT, ipa, size: 0, hva })).toBe("delete");
    expect(look(guest, ipa)).toBe(MMIO_VALUE);
    scene.addSlot({ slot: SLOT, ipa, size });
    expect(look(guest, ipa), "a page of zeros").toBe(0n);
    expect(guest.run(() => guest.store(ipa, 3n))).toBe("done");
    expect(vm.setMemslot({ slot: SLOT, ipa, size: 0, hva: 0 })).toBe("delete");
    expect(look(guest, ipa)).toBe(MMIO_VALUE);
    expect(guest.mmio).toBe(2);
    expect([...vm.stage2.leaves()]).toEqual([]);
  });

  it("SR7: set_memory_region_test: the slot with the guest's code goes", () => {
    const { scene } = here;
    const { size, hva } = numbered(1);
    const [first, second] = codeReturning(0x77);
    scene.words.set(ipa, BigInt(first >>> 0) | (BigInt(second >>> 0) << 32n));
    const guest = guestOf(scene);
    let x0 = 0n;
    expect(guest.run(() => (x0 = guest.call(ipa)))).toBe("done");
    expect(x0).toBe(0x77n);
    expect(scene.vm.setMemslot({ slot: SLOT, ipa, size: 0, hva })).toBe("delete");
    expect(size).toBe(page);
    expect(guest.run(() => guest.call(ipa))).toBe("abort");
    expectInstructionAbort(guest, ipa);
  });

  it("SR9: set_memory_region_test: a vCPU without slots fetches", () => {
    const { scene } = here;
    const addresses = [0, page, ipa, scene.limit / 2, scene.limit - page, scene.limit - 4];
    for (const address of addresses) {
      const guest = guestOf(scene);
      expect(guest.run(() => guest.call(address))).toBe("abort");
      expectInstructionAbort(guest, address);
    }
    expect([...scene.vm.stage2.leaves()]).toEqual([]);
  });
});

/** The guest got this one exception, and nothing else happened. */
function expectInstructionAbort(guest: Guest, address: number): void {
  const { aborts, mmio, failures } = guest;
  expect([mmio, failures, aborts.length]).toEqual([0, [], 1]);
  expect(aborts[0]).toMatchObject({ far: BigInt(address), instruction: true });
  const { ec, abort } = decodeSyndrome(aborts[0]?.esr ?? 0n);
  expect([ec, abort?.fsc]).toEqual([0x21, 0x10]);
}
