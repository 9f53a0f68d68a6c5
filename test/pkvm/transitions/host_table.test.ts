/** The host's own stage 2: an identity map that comes when the host touches memory, and says what is not the host's. */
import { describe, expect, it } from "vitest";
import type { Engine } from "../../../src/engine.ts";
import { OWNER } from "../../../src/pkvm/_abi.ts";
import { frameOf, isValid, pagesOf, protOf, wordOf } from "../../ghost/entry.ts";
import { type Bench, benches } from "../../ghost/bench.ts";
import { EAGAIN, EEXIST, EINVAL, ENOMEM, EPERM } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";

const PAGE = 4096;
const RWX = 7;
const RW = 6;
const MMIO = 0x900_0000;
const GIB = 2 ** 30;

const entryAt = ({ pair }: Bench, pa: number) => pair.machine.entry(pair.machine.host, pa);

describe.each(GENERATIONS)("the host's stage 2 (%s)", (generation) => {
  const lab = benches(generation);
  const injects = generation === "newest";

  it("P-4.1: is empty at first: what is zero is the host's", () => {
    const { bench } = lab;
    expect(bench.pair.machine.entries(bench.pair.machine.host, 2 ** 40)).toEqual([]);
    expect(bench.record(bench.base)).toEqual({
      host: "OWNED",
      hyp: "NOPAGE",
      references: 0,
      guests: 0,
    });
  });

  it("P-4.1: says of each page that is not the host's whose it is", () => {
    const { bench } = lab;
    expect(bench.call("DONATE_HYP", bench.base + 5, 1)).toBe(0);
    expect(wordOf(entryAt(bench, (bench.base + 5) * PAGE))).toBe(BigInt(OWNER.HYP << 2));
    expect(bench.call("HYP_DONATE_HOST", bench.base + 5, 1)).toBe(0);
    const back = entryAt(bench, (bench.base + 5) * PAGE);
    expect(isValid(back) || wordOf(back) === 0n).toBe(true);
    if (generation !== "newest") return;
    const { handle } = bench.loadedVm(true);
    expect(bench.callWith(bench.pages(4), "DONATE_GUEST", bench.base + 6, 0x123)).toBe(0);
    const index = BigInt(handle - 0x1000);
    expect(wordOf(entryAt(bench, (bench.base + 6) * PAGE))).toBe(
      BigInt(OWNER.GUEST << 2) | (0x123n << 12n) | (index << 56n),
    );
  });

  it("P-4.4: nothing fails half way: without pages for the tables a donation is refused as a whole", () => {
    const { bench } = lab;
    const cpu = bench.cpus[0] as Engine;
    expect(bench.call("HOST_ABORT", bench.base * PAGE)).toBe(0); // a block, which has to be taken apart
    const budget = cpu.tableBudget;
    cpu.tableBudget = cpu.memoryUsage().used;
    bench.expectRefused(ENOMEM, "DONATE_HYP", bench.base + 9, 1);
    cpu.tableBudget = budget;
    expect(bench.call("DONATE_HYP", bench.base + 9, 1)).toBe(0);
    expect(bench.isInHost(bench.base + 9)).toBe(false);
  });

  it("P-6.1: is as large as the physical address space", () => {
    const { bench } = lab;
    expect(bench.call("HOST_ABORT", 2 ** 40 - 1)).toBe(0);
    for (const pa of [2n ** 40n, 2n ** 52n, 2n ** 64n - 1n])
      expect(bench.call("HOST_ABORT", pa)).toBe(-EINVAL);
  });

  it("P-6.1: has the memory types of a table without forced write-back, and VMID 0", () => {
    const { bench } = lab;
    expect(bench.call("HOST_ABORT", bench.base * PAGE)).toBe(0);
    expect((entryAt(bench, bench.base * PAGE).low >>> 2) & 0xf).toBe(0xf);
    const [cpu] = bench.cpus;
    expect(cpu?.core.pgt_vmid(bench.pair.machine.host)).toBe(0);
  });

  it("P-6.2: is final once on each CPU", () => {
    const { bench } = lab;
    for (const cpu of [0, 1, 511]) {
      expect(bench.call("PROT_FINALIZE", cpu)).toBe(0);
      bench.expectRefused(EPERM, "PROT_FINALIZE", cpu);
    }
    for (const cpu of [512, 2n ** 32n, 2n ** 64n - 1n])
      bench.expectRefused(EINVAL, "PROT_FINALIZE", cpu);
  });

  it("P-6.3: gives memory with all rights, and anything else without X", () => {
    const { bench } = lab;
    expect(bench.call("HOST_ABORT", bench.base * PAGE + 123)).toBe(0);
    const memory = entryAt(bench, bench.base * PAGE);
    expect([isValid(memory), protOf(memory)]).toEqual([true, RWX]);
    expect(bench.call("HOST_ABORT", MMIO)).toBe(0);
    const device = entryAt(bench, MMIO);
    expect([isValid(device), protOf(device)]).toEqual([true, RW]);
    expect(frameOf(device)).toBe((MMIO - (MMIO % (pagesOf(device) * PAGE))) / PAGE);
  });

  it("P-6.4: what is mapped already is the work of another CPU: success, or said as such", () => {
    const { bench } = lab;
    for (const mappedBefore of [0, 1, 1]) {
      expect(bench.raw("HOST_ABORT", bench.base * PAGE + 8 * mappedBefore)).toBe(0);
      expect(bench.pair.machine.told(0)).toBe(mappedBefore);
    }
    const again = generation === "newest" ? EEXIST : EAGAIN;
    bench.expectRefused(again, "HOST_MAP", bench.base * PAGE, PAGE, RWX);
  });

  it("P-6.5: what others own is refused: the end of the host, or back into it", () => {
    const { bench } = lab;
    expect(bench.call("DONATE_HYP", bench.base, 1)).toBe(0);
    expect(bench.raw("HOST_ABORT", bench.base * PAGE)).toBe(-EPERM);
    expect(bench.pair.machine.told(0)).toBe(injects ? 1 : 0);
    expect(isValid(entryAt(bench, bench.base * PAGE))).toBe(false);
    bench.expectRefused(EPERM, "HOST_MAP", bench.base * PAGE, PAGE, RWX);
    bench.expectRefused(EPERM, "HOST_MAP", bench.base * PAGE, 2 * PAGE, RWX);
  });

  it("P-6.6: takes the largest block that lies in the region, or in the gap", () => {
    const { bench } = lab;
    const block = Math.ceil(bench.base / 512) * 512 * PAGE;
    expect(bench.call("HOST_ABORT", block + 17 * PAGE)).toBe(0);
    expect(pagesOf(entryAt(bench, block))).toBe(512);
    expect(bench.call("HOST_ABORT", 5 * GIB + MMIO)).toBe(0);
    expect(pagesOf(entryAt(bench, 5 * GIB))).toBe(512 * 512);
    const hole = (bench.pair.state.memory.regions[0]?.end as number) * PAGE;
    expect(bench.call("HOST_ABORT", hole)).toBe(0); // 2 MiB between two regions
    expect(pagesOf(entryAt(bench, hole))).toBe(512);
  });

  it("P-6.6: a page that is another's keeps its neighbours from a block", () => {
    const { bench } = lab;
    const first = Math.ceil(bench.base / 512) * 512;
    expect(bench.call("DONATE_HYP", first + 100, 1)).toBe(0);
    expect(bench.call("HOST_ABORT", first * PAGE)).toBe(0);
    expect(pagesOf(entryAt(bench, first * PAGE))).toBe(1);
    expect(bench.isInHost(first + 100)).toBe(false);
  });

  it("P-6.7: maps with other rights than usual page by page", () => {
    const { bench } = lab;
    const first = Math.ceil(bench.base / 512) * 512;
    lab.spoil(); // the model knows the usual rights alone
    expect(bench.raw("HOST_MAP", first * PAGE, 512 * PAGE, 4)).toBe(0);
    const entry = entryAt(bench, first * PAGE);
    expect([pagesOf(entry), protOf(entry)]).toEqual([1, 4]);
    expect(bench.raw("HOST_MAP", MMIO - (MMIO % (512 * PAGE)), 512 * PAGE, RW)).toBe(0);
    expect(pagesOf(entryAt(bench, MMIO))).toBe(512);
  });

  it("P-6.9: a block of which one page goes is dropped or kept, never wrong; the rest comes back", () => {
    const { bench } = lab;
    const first = Math.ceil(bench.base / 512) * 512;
    expect(bench.call("HOST_ABORT", first * PAGE)).toBe(0);
    expect(pagesOf(entryAt(bench, first * PAGE))).toBe(512);
    expect(bench.call("DONATE_HYP", first + 3, 1)).toBe(0);
    expect(bench.isInHost(first + 3)).toBe(false);
    expect(bench.call("HOST_ABORT", (first + 4) * PAGE)).toBe(0);
    expect(bench.isInHost(first + 4)).toBe(true);
    expect(bench.isInHost(first + 3)).toBe(false);
  });

  it("P-6.11: owners are for memory alone, and are the host or the hypervisor", () => {
    const { bench } = lab;
    bench.expectRefused(EPERM, "SET_OWNER", MMIO, PAGE, OWNER.HYP);
    const end = (bench.pair.state.memory.regions[0]?.end as number) * PAGE;
    bench.expectRefused(EPERM, "SET_OWNER", end - PAGE, 2 * PAGE, OWNER.HYP);
    for (const owner of [2, 3, 255, 2n ** 32n, 2n ** 64n - 1n])
      bench.expectRefused(EINVAL, "SET_OWNER", bench.base * PAGE, PAGE, owner);
    for (const [pa, bytes] of [
      [bench.base * PAGE + 1, PAGE],
      [bench.base * PAGE, PAGE - 1],
      [bench.base * PAGE, 0],
      [2 ** 40, PAGE],
      [2n ** 64n - 4096n, 2 * PAGE],
    ] as const) {
      bench.expectRefused(EINVAL, "SET_OWNER", pa, bytes, OWNER.HYP);
      bench.expectRefused(EINVAL, "HOST_MAP", pa, bytes, RWX);
    }
    lab.spoil(); // records stay as they are
    expect(bench.raw("SET_OWNER", bench.base * PAGE, 2 * PAGE, OWNER.HYP)).toBe(0);
    expect(wordOf(entryAt(bench, bench.base * PAGE + PAGE))).toBe(BigInt(OWNER.HYP << 2));
    expect(bench.raw("HOST_ABORT", bench.base * PAGE)).toBe(-EPERM);
    expect(bench.raw("SET_OWNER", bench.base * PAGE, 2 * PAGE, 0)).toBe(0);
    expect(bench.raw("HOST_ABORT", bench.base * PAGE)).toBe(0);
  });
});

describe("P-6.8: the pool of the host's table", () => {
  const lab = benches("default");

  it("is recycled: devices that the host touches everywhere make room for each other, never for memory", () => {
    const { bench } = lab;
    const [cpu] = bench.cpus;
    const { pair } = bench;
    const memory = bench.base * PAGE;
    expect(bench.call("HOST_ABORT", memory)).toBe(0);
    expect(bench.call("DONATE_HYP", bench.base + 1, 1)).toBe(0);
    const before = cpu?.core.pgt_pages(pair.machine.host) as number;
    lab.spoil(); // pages at odd places are not what an abort maps
    for (let at = 0; at < 3000; at++) {
      const pa = 2 ** 33 + at * 2 ** 21 + PAGE;
      expect(bench.raw("HOST_MAP", pa, PAGE, RW), `device ${at}`).toBe(0);
      expect(isValid(entryAt(bench, pa))).toBe(true);
    }
    expect(cpu?.core.pgt_pages(pair.machine.host)).toBeLessThan(before + 1500);
    expect(wordOf(entryAt(bench, memory + PAGE))).toBe(BigInt(OWNER.HYP << 2));
    expect(bench.raw("HOST_ABORT", memory)).toBe(0);
  });
});
