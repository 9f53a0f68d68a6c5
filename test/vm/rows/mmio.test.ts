/** Rows M-4.30 to M-4.34: accesses to what is no memory. */
import { describe, expect, it } from "vitest";
import type { AbortOutcome, Bus } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { Guest, INSTRUCTION_ABORT, IPA } from "./support.ts";

const DEVICE = 0x900_0000;
const BYTES = [1, 2, 4, 8] as const;
const PATTERN = 0x8877_6655_c433_e2f1n;
const ALL = 2n ** 64n - 1n;

type Mmio = Extract<AbortOutcome, { reason: "mmio" }>;

describe.each(MODES)("MMIO (%s)", (mode) => {
  const here = lab(mode);
  const exit = (guest: Guest, shape: object): Mmio => {
    const outcome = guest.fault({ ipa: DEVICE, ...shape });
    if (outcome.reason !== "mmio") throw new Error(`no MMIO exit: ${outcome.reason}`);
    return outcome;
  };

  it("M-4.30: without a syndrome, of a protected VM: a data abort in the guest", () => {
    const guest = new Guest(here, { protected: true });
    guest.vm.enableNisvExits();
    expect(guest.fault({ ipa: DEVICE, far: 0xffff_0010n, write: true })).toEqual({
      ...{ reason: "inject", ret: 1, instruction: false, far: 0xffff_0010n },
      esr: (0x25n << 26n) | (1n << 25n) | 0x10n,
    });
  });

  it("M-4.31: without a syndrome, where the VM asked for such exits: the bits that are known", () => {
    const guest = new Guest(here);
    guest.vm.enableNisvExits();
    const CM = 1 << 8;
    const WNR = 1 << 6;
    const at = { ipa: DEVICE, far: 0x5_5018n };
    expect(guest.fault(at)).toEqual({ reason: "nisv", ret: 0, iss: 7, ipa: DEVICE + 0x18 });
    const write = guest.fault({ ...at, write: true, fsc: 5 });
    expect(write).toEqual({ reason: "nisv", ret: 0, iss: WNR | 5, ipa: DEVICE + 0x18 });
    const readonly = new Guest(here, { flags: 2 });
    readonly.vm.enableNisvExits();
    const clean = readonly.fault({ ipa: IPA, cm: true, write: true });
    expect(clean).toEqual({ reason: "nisv", ret: 0, iss: CM | WNR | 7, ipa: IPA });
  });

  it("M-4.32: without a syndrome otherwise: ENOSYS", () => {
    const guest = new Guest(here);
    for (const write of [false, true]) {
      expect(errorOf(() => guest.fault({ ipa: DEVICE, write })).code).toBe("ENOSYS");
    }
  });

  it("M-4.33: the exit says address, bytes, direction, and the data of a write", () => {
    const guest = new Guest(here);
    const { vcpu } = guest;
    vcpu.x[7] = PATTERN;
    for (const size of BYTES) {
      const access = { size, register: 7 };
      const common = { reason: "mmio", ret: 0, address: DEVICE + 0x38, size };
      const at = { ipa: DEVICE, far: 0x38n, access };
      expect(guest.fault(at)).toMatchObject({ ...common, write: false, data: undefined });
      const data = BigInt.asUintN(size * 8, PATTERN);
      expect(guest.fault({ ...at, write: true })).toMatchObject({ ...common, write: true, data });
      const zero = { ...at, write: true, access: { size, register: 31 } };
      expect(guest.fault(zero)).toMatchObject({ ...common, write: true, data: 0n });
    }
    expect(vcpu.statistics.mmio).toBe(12);
  });

  it("M-4.33: devices of the bus answer first: the access completes at once", () => {
    const log: [string, number, number, bigint?][] = [];
    const bus: Bus = {
      read(address, size) {
        log.push(["read", address, size]);
        return address < DEVICE + 0x100 ? PATTERN : undefined;
      },
      write(address, size, value) {
        log.push(["write", address, size, value]);
        return address < DEVICE + 0x100;
      },
    };
    const guest = new Guest(here, { bus });
    const { vcpu } = guest;
    vcpu.pc = 0x8000n;
    vcpu.x[3] = 0x1_2345_6789n;
    const access = { size: 4, register: 3 } as const;
    const write = { ipa: DEVICE, far: 0x10n, write: true, access };
    expect(guest.fault(write)).toEqual({ reason: "resume", ret: 1 });
    expect(guest.fault({ ...write, write: false })).toEqual({ reason: "resume", ret: 1 });
    expect(vcpu.x[3]).toBe(0xc433_e2f1n);
    expect(vcpu.pc).toBe(0x8008n);
    expect(guest.fault({ ...write, ipa: DEVICE + 0x1000 })).toMatchObject({ reason: "mmio" });
    expect(guest.fault({ ...write, ipa: DEVICE + 0x1000, write: false }).reason).toBe("mmio");
    expect(log).toEqual([
      ["write", DEVICE + 0x10, 4, 0x2345_6789n],
      ["read", DEVICE + 0x10, 4],
      ["write", DEVICE + 0x1010, 4, 0xc433_e2f1n],
      ["read", DEVICE + 0x1010, 4],
    ]);
    expect(vcpu.pc).toBe(0x8008n); // those that exit wait for their completion
  });

  /** Bytes, sign extension, 64-bit register: what a register gets of data. */
  const shapes = BYTES.flatMap((size) =>
    [false, true].flatMap((signExtend) =>
      [false, true].map((sixtyFour) => ({ size, signExtend, sixtyFour })),
    ),
  );
  it.each(shapes)("M-4.34: completion of a read: %o", ({ size, signExtend, sixtyFour }) => {
    const guest = new Guest(here);
    const { vcpu } = guest;
    for (const data of [0n, 0x7fn, 0x80n, PATTERN, ~PATTERN & ALL, ALL]) {
      vcpu.x[9] = 0xdead_dead_dead_deadn;
      vcpu.pc = 0x8000n;
      exit(guest, { access: { size, register: 9, signExtend, sixtyFour } }).complete(data);
      const bits = size * 8;
      const extended = signExtend ? BigInt.asIntN(bits, data) : BigInt.asUintN(bits, data);
      expect(vcpu.x[9]).toBe(BigInt.asUintN(sixtyFour ? 64 : 32, extended));
      expect(vcpu.pc).toBe(0x8004n);
    }
  });

  it("M-4.34: XZR takes nothing; a write only goes on; each is completed once", () => {
    const guest = new Guest(here);
    const { vcpu } = guest;
    const before = [...vcpu.x];
    vcpu.pc = 0x8000n;
    const read = exit(guest, { access: { size: 8, register: 31 } });
    read.complete(ALL);
    expect([...vcpu.x]).toEqual(before);
    expect(vcpu.pc).toBe(0x8004n);
    errorOf(() => read.complete(ALL));
    expect(vcpu.pc).toBe(0x8004n);
    const write = exit(guest, { access: { size: 4, register: 1 }, write: true });
    write.complete();
    expect([...vcpu.x]).toEqual(before);
    expect(vcpu.pc).toBe(0x8008n);
    errorOf(() => write.complete());
    const unanswered = exit(guest, { access: { size: 4, register: 1 } });
    errorOf(() => unanswered.complete()); // a read needs data
    expect(vcpu.pc).toBe(0x8008n);
    unanswered.complete(5n);
    expect(vcpu.x[1]).toBe(5n);
  });

  it("M-4.33: a fetch is never MMIO, whatever its ISS says", () => {
    const guest = new Guest(here);
    const shape = { ipa: DEVICE, ec: INSTRUCTION_ABORT, access: { size: 4 as const } };
    expect(guest.fault(shape).reason).toBe("inject");
  });
});
