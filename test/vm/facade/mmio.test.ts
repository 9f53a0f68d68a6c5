import { describe, expect, it } from "vitest";
import { type Bus, Fault, type MmioExit } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { IPA, WITH_RAM, dataAbort, scene } from "./support.ts";

const DEVICE = 0x900_0000;
const ONES = 0xffff_ffff_ffff_ffffn;

/** [bytes, sign-extend, 64-bit register, what the device gives, what the register holds] */
type Read = [size: 1 | 2 | 4 | 8, sse: boolean, sf: boolean, data: bigint, register: bigint];

// prettier-ignore
const READS: Read[] = [
  [1, false, false, 0x80n, 0x80n],
  [1, false, true, 0x80n, 0x80n],
  [1, true, false, 0x80n, 0xffff_ff80n],
  [1, true, true, 0x80n, 0xffff_ffff_ffff_ff80n],
  [1, true, true, 0x7fn, 0x7fn],
  [1, false, true, 0xabcdn, 0xcdn], // more than the access has: the rest is not there
  [2, false, false, 0x8000n, 0x8000n],
  [2, true, false, 0x8000n, 0xffff_8000n],
  [2, true, true, 0x8000n, 0xffff_ffff_ffff_8000n],
  [4, false, false, 0x8000_0000n, 0x8000_0000n],
  [4, false, true, 0x8000_0000n, 0x8000_0000n],
  [4, true, true, 0x8000_0000n, 0xffff_ffff_8000_0000n],
  [4, true, false, 0x8000_0000n, 0x8000_0000n],
  [8, false, true, ONES, ONES],
  [8, false, true, -1n, ONES],
];

describe.each(MODES)("accesses to devices (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  const exitOf = (
    at: ReturnType<typeof scene>,
    ...args: Parameters<typeof dataAbort>
  ): MmioExit => {
    const outcome = at.vcpu.handleAbort(dataAbort(...args));
    expect(outcome).toMatchObject({ reason: "mmio", ret: 0 });
    return outcome as MmioExit;
  };

  it.each(READS)(
    "M-4.34: a read of %i bytes (sign-extend %s, 64-bit %s) that gives 0x%s",
    (size, sse, sf, data, expected) => {
      const at = scene(here);
      at.vcpu.x.fill(ONES);
      at.vcpu.pc = 0x1000n;
      const exit = exitOf(at, DEVICE + 8, { size, register: 9, sse, sf });
      expect(exit).toMatchObject({ address: DEVICE + 8, size, write: false, data: undefined });
      expect(at.vcpu.pc).toBe(0x1000n);
      exit.complete(data);
      expect(at.vcpu.x[9]).toBe(expected);
      expect(at.vcpu.pc).toBe(0x1004n);
      at.vcpu.x[9] = ONES;
      expect(at.vcpu.x.every((value) => value === ONES)).toBe(true);
    },
  );

  it.each([1, 2, 4, 8] as const)(
    "M-4.33: a write of %i bytes has the register's low part",
    (size) => {
      const at = scene(here);
      at.vcpu.x[30] = 0x1122_3344_5566_7788n;
      const exit = exitOf(at, DEVICE, { size, write: true, register: 30, sf: true });
      expect(exit.data).toBe(BigInt.asUintN(size * 8, 0x1122_3344_5566_7788n));
      exit.complete();
      expect(at.vcpu.pc).toBe(4n);
      expect(at.vcpu.x[30]).toBe(0x1122_3344_5566_7788n);
    },
  );

  it("M-4.34: register 31 is zero to writes, and loses what is read", () => {
    const at = scene(here);
    at.vcpu.x.fill(ONES);
    expect(exitOf(at, DEVICE, { size: 8, write: true, register: 31, sf: true }).data).toBe(0n);
    exitOf(at, DEVICE, { size: 8, register: 31, sf: true }).complete(5n);
    expect(at.vcpu.x.every((value) => value === ONES)).toBe(true);
    expect(at.vcpu.pc).toBe(4n);
  });

  it("completes once, and with what belongs to it", () => {
    const at = scene(here);
    const read = exitOf(at, DEVICE, { size: 4 });
    for (const data of [undefined, 1, "1", null]) {
      expect(errorOf(() => read.complete(data as never)).code).toBe("BAD_OPTION");
    }
    expect(at.vcpu.pc).toBe(0n);
    read.complete(1n);
    expect(errorOf(() => read.complete(2n)).code).toBe("BAD_OPTION");
    expect([at.vcpu.x[0], at.vcpu.pc]).toEqual([1n, 4n]);
    const write = exitOf(at, DEVICE, { size: 4, write: true });
    expect(errorOf(() => write.complete(1n)).code).toBe("BAD_OPTION");
    expect(at.vcpu.pc).toBe(4n);
  });

  it("wraps the program counter", () => {
    const at = scene(here);
    at.vcpu.pc = 0xffff_ffff_ffff_fffcn;
    exitOf(at, DEVICE, { size: 4 }).complete(0n);
    expect(at.vcpu.pc).toBe(0n);
    expect(errorOf(() => (at.vcpu.pc = 4 as never)).code).toBe("BAD_OPTION");
  });

  it("takes an access of the CPU whose instruction is described", () => {
    const at = scene(here);
    const outcome = at.vcpu.run(() => {
      const fault = at.vcpu.cpu.write16(DEVICE + 2, 0xbeef);
      return fault instanceof Fault ? fault.withSyndrome({ size: 2, register: 3 }) : fault;
    });
    expect(outcome).toMatchObject({ reason: "mmio", address: DEVICE + 2, size: 2, write: true });
  });

  it("M-4.31, M-4.32: without a description ENOSYS, or an exit", () => {
    const { vm, vcpu } = scene(here);
    expect(errorOf(() => vcpu.handleAbort(dataAbort(DEVICE + 4))).code).toBe("ENOSYS");
    vm.enableNisvExits();
    expect(vm.caps.nisvExits).toBe(true);
    const outcome = vcpu.handleAbort(dataAbort(DEVICE + 4));
    expect(outcome).toMatchObject({ reason: "nisv", ret: 0, iss: 0x07 });
  });
});

/** A device of 16 bytes at {@link DEVICE} that holds one value. */
class Latch implements Bus {
  value = 0n;
  calls: unknown[] = [];
  later = false;

  read(address: number, size: number): bigint | undefined | Promise<bigint | undefined> {
    this.calls.push(["read", address, size]);
    const answer = address >= DEVICE && address < DEVICE + 16 ? this.value : undefined;
    return this.later ? Promise.resolve(answer) : answer;
  }

  write(address: number, size: number, value: bigint): boolean | Promise<boolean> {
    this.calls.push(["write", address, size, value]);
    const mine = address >= DEVICE && address < DEVICE + 16;
    if (mine) this.value = value;
    return this.later ? Promise.resolve(mine) : mine;
  }
}

describe.each(MODES)("devices of the bus (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("M-4.33: complete the access at once", () => {
    const bus = new Latch();
    const { vcpu } = scene(here, { bus });
    vcpu.x[5] = 0x1234n;
    const written = vcpu.handleAbort(dataAbort(DEVICE + 4, { size: 2, write: true, register: 5 }));
    expect(written).toEqual({ reason: "resume", ret: 1 });
    expect(vcpu.handleAbort(dataAbort(DEVICE + 8, { size: 4, register: 6 })).reason).toBe("resume");
    expect([vcpu.x[6], vcpu.pc]).toEqual([0x1234n, 8n]);
    expect(bus.calls).toEqual([
      ["write", DEVICE + 4, 2, 0x1234n],
      ["read", DEVICE + 8, 4],
    ]);
  });

  it("ends a run: the access is not made again", () => {
    const bus = new Latch();
    const { vcpu } = scene(here, { bus });
    const outcome = vcpu.run(() => (vcpu.cpu.read32(DEVICE) as Fault).withSyndrome({ size: 4 }));
    expect(outcome).toEqual({ reason: "resume", ret: 1 });
    expect(bus.calls).toHaveLength(1);
  });

  it("leave alone what is not theirs", () => {
    const { vcpu } = scene(here, { bus: new Latch() });
    expect(vcpu.handleAbort(dataAbort(DEVICE + 16, { size: 4 })).reason).toBe("mmio");
    expect(vcpu.handleAbort(dataAbort(DEVICE + 16, { size: 4, write: true })).reason).toBe("mmio");
    expect(vcpu.pc).toBe(0n);
  });

  it("may answer later, to who waits", async () => {
    const bus = new Latch();
    bus.later = true;
    bus.value = 9n;
    const { vcpu } = scene(here, { bus });
    const read = dataAbort(DEVICE, { size: 4, register: 1 });
    expect(errorOf(() => vcpu.handleAbort(read)).code).toBe("BAD_OPTION");
    await Promise.resolve();
    expect(vcpu.pc).toBe(0n);
    expect(await vcpu.handleAbortAsync(read)).toEqual({ reason: "resume", ret: 1 });
    expect([vcpu.x[1], vcpu.pc]).toEqual([9n, 4n]);
    const away = dataAbort(DEVICE + 64, { size: 4, write: true });
    expect((await vcpu.handleAbortAsync(away)).reason).toBe("mmio");
  });

  it("may fail: the access has not been made", async () => {
    const bus = new Latch();
    const { vcpu } = scene(here, { bus });
    const read = dataAbort(DEVICE, { size: 4 });
    for (const answer of [1, "x", null, true]) {
      bus.read = () => answer as never;
      expect(errorOf(() => vcpu.handleAbort(read)).code).toBe("BAD_OPTION");
      expect((await rejectionOf(vcpu.handleAbortAsync(read))).code).toBe("BAD_OPTION");
    }
    const failure = new Error("bus error");
    bus.read = () => {
      throw failure;
    };
    expect(() => vcpu.handleAbort(read)).toThrow(failure);
    bus.read = () => Promise.reject(failure);
    await expect(vcpu.handleAbortAsync(read)).rejects.toBe(failure);
    bus.write = () => undefined as never;
    const write = dataAbort(DEVICE, { size: 4, write: true });
    expect(errorOf(() => vcpu.handleAbort(write)).code).toBe("BAD_OPTION");
    expect(vcpu.pc).toBe(0n);
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
  });
});
