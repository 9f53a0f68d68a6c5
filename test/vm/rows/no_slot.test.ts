/** Rows M-4.10 to M-4.22: aborts where no usable slot is, and access-flag faults. */
import { describe, expect, it } from "vitest";
import { Access, type AbortOutcome } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import {
  ACCESS_FLAG,
  Guest,
  HVA,
  INSTRUCTION_ABORT,
  IPA,
  PA,
  PERMISSION,
  READONLY,
  expectResume,
} from "./support.ts";

const NOWHERE = 2 * IPA;

/** ESR_EL1 of an external abort at EL1, of a 32-bit instruction. */
function external(instruction: boolean): bigint {
  return ((instruction ? 0x21n : 0x25n) << 26n) | (1n << 25n) | 0x10n;
}

describe.each(MODES)("no usable slot (%s)", (mode) => {
  const here = lab(mode);
  const guestOf = (options: object = {}) => new Guest(here, { flags: READONLY, ...options });
  const inject = (outcome: AbortOutcome, instruction: boolean, far: bigint) =>
    expect(outcome).toEqual({
      ...{ reason: "inject", ret: 1, instruction, far },
      esr: external(instruction),
    });

  it("M-4.10: an instruction abort, also on a fetch's stage-1 walk, first of all", () => {
    const guest = guestOf();
    const far = 0xffff_ffff_0000_4242n;
    for (const s1ptw of [false, true]) {
      for (const cm of [false, true]) {
        const shape = { ipa: NOWHERE, ec: INSTRUCTION_ABORT, s1ptw, cm, far };
        inject(guest.fault(shape), true, far);
      }
    }
  });

  it("M-4.11: a data abort on a stage-1 descriptor, before anything of MMIO", () => {
    const guest = guestOf();
    const far = 0x4242n;
    for (const cm of [false, true]) {
      inject(guest.fault({ ipa: NOWHERE, s1ptw: true, cm, far }), false, far);
      const access = { size: 8 } as const;
      inject(guest.fault({ ipa: NOWHERE, s1ptw: true, cm, far, write: true, access }), false, far);
    }
    // A hardware update of a descriptor in a READONLY slot.
    inject(guest.fault({ ipa: IPA, s1ptw: true, fsc: PERMISSION + 3, far }), false, far);
  });

  it("M-4.12: cache maintenance where no slot is is skipped", () => {
    const guest = guestOf();
    guest.vcpu.pc = 0x1000n;
    expect(guest.fault({ ipa: NOWHERE, cm: true, write: true })).toEqual({
      reason: "skip",
      ret: 1,
    });
    expect(guest.vcpu.pc).toBe(0x1004n);
  });

  it("M-4.13: otherwise MMIO at the IPA with the low 12 bits of FAR, whatever the granule", () => {
    for (const granule of ["4K", "16K", "64K"] as const) {
      const guest = guestOf({ granule });
      const access = { size: 4 } as const;
      const shape = { ipa: NOWHERE + 0x3000, far: 0x7_7abcn, access };
      expect(guest.fault(shape)).toMatchObject({
        ...{ reason: "mmio", ret: 0, address: NOWHERE + 0x3abc, size: 4, write: false },
      });
      guest.vm.dispose();
    }
  });

  it("M-4.14: cache maintenance on an unmapped page of a READONLY slot is a write without ISV", () => {
    const guest = guestOf();
    const clean = { ipa: IPA, cm: true, write: true };
    guest.vcpu.pc = 0x1000n;
    expect(errorOf(() => guest.fault(clean)).code).toBe("ENOSYS");
    expect(guest.vcpu.pc).toBe(0x1000n);
    guest.vm.enableNisvExits();
    expect(guest.fault(clean)).toMatchObject({ reason: "nisv", ret: 0 });
  });
});

describe.each(MODES)("access-flag faults (%s)", (mode) => {
  const here = lab(mode);
  const old = (guest: Guest, ipa: number) => {
    guest.vm.clearYoung({ hva: HVA, size: 2 ** 20 });
    expect(guest.leaf(ipa)?.accessed).toBe(false);
  };

  it("M-4.20: set under the read side, told to the host, without TLBI; the address as it is", () => {
    for (const granule of ["4K", "16K", "64K"] as const) {
      const guest = new Guest(here, { granule, events: ["maintenance", "writes"] });
      guest.write(IPA);
      old(guest, IPA);
      guest.forget();
      const inside = IPA + guest.page - 0x1000; // a unit of 4 KiB
      expectResume(guest.fault({ ipa: inside, fsc: ACCESS_FLAG + 3 }));
      expect(guest.leaf(IPA)?.accessed).toBe(true);
      expect(guest.facts.young).toEqual([guest.leaf(IPA)?.pa]);
      expect(guest.vcpu.lastCall).toMatchObject({ call: "mkyoung", ipa: inside });
      const events = [...here.engine.events.drain()];
      expect(events.filter(({ kind }) => kind.startsWith("tlbi"))).toEqual([]);
      expect(events.filter(({ kind }) => kind === "write")).toHaveLength(1);
      guest.vm.dispose();
    }
  });

  it("M-4.20: an entry that vanished is no error, and nothing is told", () => {
    const guest = new Guest(here);
    guest.write(IPA);
    guest.vm.invalidate({ hva: HVA, size: 4096 }, () => undefined);
    expectResume(guest.fault({ ipa: IPA, fsc: ACCESS_FLAG + 3 }));
    expect(guest.facts.young).toEqual([]);
    expect(guest.leaves).toEqual([]);
  });

  it("M-4.21: the slot is looked at first: a write to a READONLY slot is MMIO", () => {
    const guest = new Guest(here, { flags: READONLY });
    guest.read(IPA);
    old(guest, IPA);
    const shape = { ipa: IPA, fsc: ACCESS_FLAG + 3, access: { size: 4 as const } };
    expect(guest.fault({ ...shape, write: true }).reason).toBe("mmio");
    expect(guest.leaf(IPA)?.accessed).toBe(false);
    expect(guest.fault({ ...shape, ipa: NOWHERE }).reason).toBe("mmio");
    expectResume(guest.fault(shape));
    expect(guest.leaf(IPA)?.accessed).toBe(true);
  });

  it.each([true, false])("M-4.22: with hardware access flags there are none; ha: %s", (ha) => {
    const guest = new Guest(here, { ha });
    const { cpu } = guest.vcpu;
    const go = (ipa: number) => guest.vcpu.run(() => cpu.translate(ipa, Access.Read));
    for (let round = 0; round < 3; round++) {
      for (let page = 0; page < 8; page++) expect(go(IPA + page * 4096)).toBe(PA + page * 4096);
      guest.vm.clearFlushYoung({ hva: HVA, size: 8 * 4096 });
    }
    expect(guest.vcpu.statistics.accessFlagFaults).toBe(ha ? 0 : 16);
    expect(guest.vcpu.statistics.translationFaults).toBe(8);
  });
});
