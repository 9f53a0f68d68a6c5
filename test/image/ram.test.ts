/** Dumped pages as memory that a vCPU walks, and the registers it walks them with. */
import { describe, expect, it } from "vitest";
import { Access } from "../../src/access.ts";
import { atLevel, guestState, regimeState, stage2State } from "../../src/image/cpu.ts";
import { checkExpectations, parseExpectations } from "../../src/image/expect.ts";
import { type Page, type TableImage, parseImage, regimeNamed } from "../../src/image/format.ts";
import { ImageMachine } from "../../src/image/machine.ts";
import { banksOf } from "../../src/image/ram.ts";
import { readExpectations, readImage } from "../../src/image/read.ts";
import { rejectionOf } from "../support.ts";
import { imagePath, smallImage, withWord } from "./support.ts";

function pagesAt(...addresses: number[]): Page[] {
  return addresses.map((pa, i) => ({ pa, size: 4096, offset: i * 4096, places: [] }));
}

describe("banksOf", () => {
  it("makes one bank of pages that adjoin, in any order", () => {
    expect(banksOf(pagesAt(0x3000, 0x1000, 0x2000))).toEqual([{ pa: 0x1000, size: 0x3000 }]);
  });

  it("cuts at the six widest gaps", () => {
    const starts = [0, 1, 2, 3, 4, 5, 6].map((i) => 2 ** 32 * i);
    const banks = banksOf(pagesAt(...starts, ...starts.map((pa) => pa + 0x5000)));
    expect(banks).toEqual(starts.map((pa) => ({ pa, size: 0x6000 })));
  });

  it("holds every page, however many gaps there are", () => {
    const pages = pagesAt(...Array.from({ length: 40 }, (_, i) => i * i * 0x10000));
    const banks = banksOf(pages);
    expect(banks.length).toBe(7);
    const isIn = ({ pa }: Page): boolean =>
      banks.some((bank) => pa >= bank.pa && pa + 4096 <= bank.pa + bank.size);
    expect(pages.every(isIn)).toBe(true);
  });
});

describe("a machine of an image", () => {
  it("refuses pages that no memory holds together", async () => {
    const { json, bytes } = smallImage();
    const image = parseImage("small", json, bytes);
    const wide = (pa: number): Page => ({ ...image.pages[0]!, pa });
    const pages = Array.from({ length: 9 }, (_, i) => wide(i * 2 ** 33));
    const error = await rejectionOf(ImageMachine.create({ ...image, pages }));
    expect(error.code).toBe("BAD_INPUT");
    expect(error.message).toMatch(/too far apart/);
  });

  it("walks pages where they lie, and takes no part in what is between them", async () => {
    const image = readImage(imagePath("max4k.rand.c0"));
    const machine = await ImageMachine.create(image);
    machine.load(stage2State(image, 0, regimeNamed(image, "s2.cpu0")));
    expect(machine.vcpu.translate(0x4000_1230, Access.Read)).toBe(0x46a2_c230);
    expect(machine.isDumped(0x4396_aff8)).toBe(true);
    expect(machine.isDumped(0x4396_c000)).toBe(false);
    expect(machine.isKnown(0x4000_1230n, Access.Read)).toBe(true);
    machine.dispose();
  });
});

describe("registers of a stopped CPU", () => {
  const image = readImage(imagePath("max4k.rand.c0"));
  const stage2 = regimeNamed(image, "s2.cpu0");

  it("are those of the guest, of both stages", () => {
    const state = guestState(image, 0, stage2);
    expect(state).toMatchObject({ cpu: 0, el: 1, pan: false, stages: "both stages" });
    expect(state.registers).toMatchObject({
      ...{ vttbrEl2: 0x2_0000_4396_a000n, vtcrEl2: 0x1_802e_3558n },
      ...{ sctlrEl1: 0xc5_107dn, ttbr0El1: 0x10_0000n, idAa64mmfr1El1: 0x110_1021_1122n },
    });
    expect(state.registers.hcrEl2! & ((1n << 34n) | (1n << 27n))).toBe(0n);
  });

  it("turn stage 1 off for a stage 2 alone", () => {
    const { registers, stages } = stage2State(image, 0, stage2);
    expect({ stages, sctlr: registers.sctlrEl1 }).toEqual({ stages: "stage 2", sctlr: 0n });
  });

  it("know the levels that they translate for", () => {
    const guest = regimeState(image, regimeNamed(image, "guest_ttbr0.cpu0"));
    expect([0, 1, 2].map((el) => atLevel(guest, el as 0)?.el)).toEqual([0, 1, undefined]);
  });

  it("must be there", () => {
    const bare: TableImage = { ...image, cpus: [] };
    expect(() => guestState(bare, 0, stage2)).toThrow(/has no registers of CPU 0/);
    const off: TableImage = { ...image, cpus: [new Map()] };
    const guest = regimeNamed(image, "guest_ttbr0.cpu0");
    expect(() => regimeState(off, guest)).toThrow(/guest_ttbr0\.cpu0: stage 1 is off/);
  });
});

describe("expectations of a guest with both stages on", () => {
  const image = readImage(imagePath("max4k.rand.c0"));
  const expected = readExpectations(imagePath("max4k.rand.c0", "expect.jsonl.gz"));
  const regime = regimeNamed(image, "s2.cpu0");
  /** The page of a physical address in the .bin. */
  const offsetOf = (pa: number): number =>
    image.pages.find((page) => page.pa === pa - (pa % 4096))!.offset + (pa % 4096);

  it.each<[string, number, (word: bigint) => bigint]>([
    ["a stage-1 table", 0x4c17_e000, (word) => word ^ (1n << 13n)],
    ["a stage-1 block", 0x4c17_9000, (word) => word ^ (1n << 21n)],
    ["a stage-2 leaf of a stage-1 table", 0x4bb9_3828, (word) => word & ~(1n << 6n)],
  ])("fail on one changed descriptor: %s", async (_what, pa, change) => {
    const changed = withWord(image, offsetOf(pa), change);
    expect((await checkExpectations(changed, regime, expected)).failed).toBeGreaterThan(0);
  });

  it("do not depend on what reads at EL1 do not: nG, writes, access flags", async () => {
    const block = offsetOf(0x4c17_9000);
    const changed = withWord(
      image,
      block,
      (word) => (word ^ (1n << 11n) ^ (1n << 7n)) & ~(1n << 10n),
    );
    expect(await checkExpectations(changed, regime, expected)).toMatchObject({ failed: 0 });
  });

  it.each<[string, string, bigint]>([
    ["TTBR0_EL1", "TTBR0_EL1", 1n << 13n],
    ["TCR_EL1.T0SZ", "TCR_EL1", 1n << 4n],
    ["TCR_EL1.TG0", "TCR_EL1", 1n << 14n],
    ["PSTATE.PAN", "cpsr", 1n << 22n],
  ])("fail on one changed register bit: %s", async (what, name, bit) => {
    const cpus = image.cpus.map((cpu) => new Map(cpu).set(name, (cpu.get(name) ?? 0n) ^ bit));
    const { failed, failures } = await checkExpectations({ ...image, cpus }, regime, expected);
    // No page of this guest is one of EL0's: PAN forbids nothing.
    if (what === "PSTATE.PAN") expect(failed).toBe(0);
    else
      expect(failures[0]).toMatchObject({
        kind: "read",
        fault: expect.stringMatching(/fault|abort/),
      });
  });

  it("are refused if they say another thing of stage 1 than the registers", async () => {
    const wrong = { ...expected, guestStage1: false };
    const error = await rejectionOf(checkExpectations(image, regime, wrong));
    expect(error.message).toMatch(/stage 1 of CPU 0 is on, but the expectations say otherwise/);
  });

  it("do not pass for a fault that comes from a page which was not dumped", async () => {
    const rows = expected.rows
      .filter(({ kind, pa }) => kind === "read" && pa === null)
      .slice(0, 50);
    const nulls = { ...expected, rows };
    expect(await checkExpectations(image, regime, nulls)).toMatchObject({ passed: 50, failed: 0 });
    // The guest's root now points to a page between the dumped ones, which reads as zero.
    const lost = withWord(
      image,
      offsetOf(0x4bb9_3808),
      (word) => (word & ~0xffff_f000n) | 0x4bb8_b000n,
    );
    const { passed, failures } = await checkExpectations(lost, regime, nulls);
    expect(passed).toBe(0);
    expect(failures[0]!.fault).toMatch(/translation fault/);
  });
});

describe("a fault instead of an address", () => {
  it("is told in words", async () => {
    const image = readImage(imagePath("a72nvhe.age.c1"));
    const text = [
      '{"header":1,"checkpoint":"a72nvhe.age.c1","cpu":0,"guest_stage1_on":false}',
      '{"k":"q","va":"0x7fff0000000","pa":"0x40000000"}',
    ].join("\n");
    const expected = parseExpectations("x", text);
    const result = await checkExpectations(image, regimeNamed(image, "s2.cpu0"), expected);
    expect(result).toMatchObject({ passed: 0, failed: 1, failures: [{ found: null }] });
    expect(result.failures[0]!.fault).toMatch(/^translation fault, stage 2/);
  });
});
