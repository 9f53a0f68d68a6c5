/** Rows M-4.1 to M-4.22: guest aborts up to where the backing is asked, access-flag faults, what is no usable slot. */
import { describe, expect, it } from "vitest";
import { Access, Fault, Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import {
  ACCESS_FLAG,
  DATA_ABORT,
  Guest,
  INSTRUCTION_ABORT,
  IPA,
  PA,
  PERMISSION,
  READONLY,
  TRANSLATION,
  expectResume,
} from "./support.ts";

const EXTERNAL = 0x10;
const ADDRESS_SIZE = 0x00;
const IL = 1n << 25n;
const NOWHERE = 2 * IPA;

/** What a guest reads in ESR_EL1 after an injected abort at EL1. */
function injected(instruction: boolean, fsc: number, el: 0 | 1 = 1, il = IL): bigint {
  const ec = (instruction ? 0x20n : 0x24n) + BigInt(el);
  return (ec << 26n) | il | BigInt(fsc);
}

const isTranslation = (fsc: number) => fsc === 0x2b || (fsc >= 0x04 && fsc <= 0x07);
const isPermission = (fsc: number) => fsc >= 0x0c && fsc <= 0x0f;
const isAccessFlag = (fsc: number) => fsc >= 0x08 && fsc <= 0x0b;
const isExternal = (fsc: number) =>
  [0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f].includes(fsc);
const ALL_FSC = Array.from({ length: 64 }, (_, fsc) => fsc);

describe.each(MODES)("guest aborts (%s)", (mode) => {
  const here = lab(mode);

  describe.each([
    ["data", DATA_ABORT],
    ["instruction", INSTRUCTION_ABORT],
  ] as const)("%s aborts", (kind, ec) => {
    const instruction = kind === "instruction";

    it("M-4.1: a translation fault beyond the host's limit is an address size fault in the guest", () => {
      const guest = new Guest(here, { ipaBits: 36, hostIpaBits: 44, size: 0 });
      for (const fsc of ALL_FSC.filter(isTranslation)) {
        for (const ipa of [2 ** 44, 2 ** 44 + 0x5000, 2 ** 48 - 4096]) {
          expect(guest.fault({ ipa, ec, fsc, far: 0xffff_0000_0000_1abcn })).toEqual({
            ...{ reason: "inject", ret: 1, instruction, far: BigInt(ipa) + 0xabcn },
            esr: injected(instruction, ADDRESS_SIZE),
          });
        }
      }
    });

    it("M-4.2: between the IPA size and the host's limit it is an external abort", () => {
      const guest = new Guest(here, { ipaBits: 36, hostIpaBits: 44, size: 0 });
      for (const fsc of ALL_FSC.filter(isTranslation)) {
        for (const ipa of [2 ** 36, 2 ** 40, 2 ** 44 - 4096]) {
          expect(guest.fault({ ipa, ec, fsc, far: 0x1234, s1ptw: false })).toEqual({
            ...{ reason: "inject", ret: 1, instruction, far: BigInt(ipa) + 0x234n },
            esr: injected(instruction, EXTERNAL),
          });
        }
      }
      expect(guest.facts.asked).toEqual([]);
      // The last page inside is no such case: there is no slot, and what follows is 4.1's.
      const inside = guest.fault({ ipa: 2 ** 36 - 4096, ec, access: { size: 4 } });
      expect(inside.reason).toBe(instruction ? "inject" : "mmio");
    });

    it("M-4.3, M-4.4, M-4.6, M-4.7: every fault status code", () => {
      for (const fsc of ALL_FSC) {
        const guest = new Guest(here);
        guest.facts.everywhere = { writable: !isPermission(fsc) || !instruction };
        if (isPermission(fsc) || isAccessFlag(fsc)) guest.read(IPA);
        guest.facts.asked.length = 0;
        const fault = () => guest.fault({ ipa: IPA, ec, fsc, write: !instruction });
        const name = `fault status code ${fsc}`;
        if (isExternal(fsc)) {
          expect(fault(), name).toEqual({ reason: "serror", ret: 1 });
        } else if (isTranslation(fsc) || isPermission(fsc) || isAccessFlag(fsc)) {
          expect(fault(), name).toEqual({ reason: "resume", ret: 1 });
          const call = isTranslation(fsc) ? "map" : isPermission(fsc) ? "relax" : "mkyoung";
          expect(guest.vcpu.lastCall.call, name).toBe(call);
        } else {
          expect(errorOf(fault).code, name).toBe("EFAULT");
          expect(guest.vcpu.lastCall.call, name).toBe("none");
        }
        const asks = isTranslation(fsc) || isPermission(fsc) ? 1 : 0;
        expect(guest.facts.asked, name).toHaveLength(asks);
        guest.vm.dispose();
      }
    });

    it("M-4.3, M-4.4: come before the slots are looked at, and without respect to the IPA space", () => {
      const guest = new Guest(here, { size: 0, ipaBits: 36, hostIpaBits: 44 });
      for (const ipa of [IPA, 2 ** 40, 2 ** 45]) {
        expect(guest.fault({ ipa, ec, fsc: 0x11 + 2 }).reason).toBe("serror");
        expect(errorOf(() => guest.fault({ ipa, ec, fsc: 0x21 })).code).toBe("EFAULT");
        expect(errorOf(() => guest.fault({ ipa, ec, fsc: 0x30 })).code).toBe("EFAULT");
      }
    });

    it("M-4.8: the injected syndrome: class by kind and EL, IL copied, nothing else", () => {
      const guest = new Guest(here, { size: 0, ipaBits: 36 });
      const { vcpu } = guest;
      vcpu.pc = 0x4000n;
      for (const el of [0, 1] as const) {
        vcpu.cpu.el = el;
        for (const il of [false, true]) {
          const shape = { ipa: 2 ** 37, ec, il, write: !instruction, access: undefined };
          const outcome = guest.fault(shape as never);
          expect(outcome).toMatchObject({
            ...{ reason: "inject", ret: 1 },
            esr: injected(instruction, EXTERNAL, el, il ? IL : 0n),
          });
        }
      }
      expect(vcpu.pc).toBe(0x4000n);
    });
  });

  it("M-4.5: no slot and a write to a READONLY slot are no page; reads and fetches of one are", () => {
    const guest = new Guest(here, { flags: READONLY });
    const access = { size: 4 } as const;
    for (const fsc of [TRANSLATION + 3, PERMISSION + 3, ACCESS_FLAG + 3]) {
      expect(guest.fault({ ipa: NOWHERE, fsc, access }).reason).toBe("mmio");
      expect(guest.fault({ ipa: IPA, fsc, write: true, access }).reason).toBe("mmio");
    }
    expect(guest.facts.asked).toEqual([]);
    expectResume(guest.read(IPA));
    expectResume(guest.execDenied(IPA));
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RX });
  });

  it("M-4.5: write_fault: S1PTW with a permission fault is a write; otherwise WnR of data aborts", () => {
    const guest = new Guest(here);
    const { facts } = guest;
    facts.everywhere = { writable: false };
    guest.read(IPA);
    const kindOf = (shape: object): [boolean, boolean] => {
      guest.fault({ ipa: IPA, ...shape });
      const { write, exec } = facts.asked.at(-1)!;
      return [write, exec];
    };
    facts.everywhere = {};
    const fsc = PERMISSION + 3;
    expect(kindOf({ s1ptw: true, fsc })).toEqual([true, false]);
    expect(kindOf({ s1ptw: true, fsc, ec: INSTRUCTION_ABORT })).toEqual([true, false]);
    expect(kindOf({ s1ptw: true })).toEqual([false, false]);
    expect(kindOf({ s1ptw: true, write: true })).toEqual([false, false]);
    expect(kindOf({ s1ptw: true, ec: INSTRUCTION_ABORT })).toEqual([false, false]);
    expect(kindOf({ ec: INSTRUCTION_ABORT })).toEqual([false, true]);
    expect(kindOf({ ec: INSTRUCTION_ABORT, write: true })).toEqual([false, true]);
    expect(kindOf({ write: true })).toEqual([true, false]);
    expect(kindOf({ write: true, fsc })).toEqual([true, false]);
    expect(kindOf({})).toEqual([false, false]);
  });

  it("M-4.5: page tables of the guest in a READONLY slot can be read, not updated", () => {
    const guest = new Guest(here, { flags: READONLY });
    expectResume(guest.fault({ ipa: IPA, s1ptw: true }));
    const denied = guest.fault({ ipa: IPA, s1ptw: true, fsc: PERMISSION + 3, far: 0x7777_0123 });
    expect(denied).toMatchObject({ reason: "inject", far: 0x7777_0123n, instruction: false });
  });

  it("M-4.7: HPFAR bits 3:0 do not count, and FAR says what is inside the page", () => {
    const guest = new Guest(here, { size: 0 });
    const { esr, far } = { esr: 0x9380_0007n, far: 0xabc_def8n };
    const hpfar = BigInt(NOWHERE / 256) | 0xfn;
    expect(guest.vcpu.handleAbort({ esr, far, hpfar })).toMatchObject({
      ...{ reason: "mmio", address: NOWHERE + 0xef8 },
    });
  });

  it("M-4.7: a Fault of a real PE goes in as it is", () => {
    const guest = new Guest(here);
    const { cpu } = guest.vcpu;
    const fault = cpu.translate(IPA + 0x123, Access.Write);
    expect(fault).toBeInstanceOf(Fault);
    expectResume(guest.vcpu.handleAbort(fault as Fault));
    expect(cpu.translate(IPA + 0x123, Access.Write)).toBe(PA + 0x123);
  });

  it("M-4.7: a device that is fetched from is an instruction abort in the guest, at the VA", () => {
    const guest = new Guest(here);
    guest.facts.everywhere = { device: true };
    expect(guest.fault({ ipa: IPA, ec: INSTRUCTION_ABORT, far: 0xffff_1111n })).toEqual({
      ...{ reason: "inject", ret: 1, instruction: true, far: 0xffff_1111n },
      esr: injected(true, EXTERNAL),
    });
    expect(guest.leaves).toEqual([]);
  });
});
