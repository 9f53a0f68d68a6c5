/** PkvmStage2: the interface of Stage2, one to one, with what pKVM refuses. */
import { describe, expect, it } from "vitest";
import {
  Access,
  Fault,
  type PkvmStage2,
  type PkvmStage2Options,
  Prot,
  type Stage2,
  type Stage2Operations,
} from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import {
  BLOCK,
  BLOCK_PFN,
  DEVICES,
  FIRMWARE,
  PAGE,
  type Bed,
  beds,
  snapshot,
  state,
} from "../support.ts";

const IPA = 0x4000_0000;
const BLOCK_BYTES = BLOCK * PAGE;
const RAM2_BLOCK = BLOCK_PFN * PAGE;

function guest(bed: Bed, options: PkvmStage2Options = {}): PkvmStage2 {
  return bed.keep(bed.pkvm.stage2(options));
}

/** What both kinds must answer alike: as long as ranges are pages of one guest. */
function script<C>(s2: Stage2Operations<C>, pa: number): unknown[] {
  const page = { ipa: IPA, size: PAGE };
  return [
    s2.map({ ...page, pa, prot: Prot.R }),
    s2.map({ ...page, pa, prot: Prot.RW }),
    s2.lookup(IPA + 8),
    [...s2.leaves()].map(({ ipa, size, pa: to, prot }) => [ipa, size, to, prot & Prot.RWX]),
    s2.relaxPerms({ ipa: IPA, prot: Prot.RW }),
    s2.getLeaf(IPA).kind,
    s2.testClearYoung(page),
    s2.testClearYoung(page),
    s2.mkyoung(IPA),
    s2.testClearYoung(page, { clear: false }),
    s2.wrprotect(page),
    s2.tlbFlushRange(page),
    [...s2.leaves()].map(({ prot, accessed }) => [prot & Prot.RWX, accessed]),
    s2.flush(page),
    s2.mmuLock.write(() => s2.unmap(page)),
    s2.lookup(IPA),
    s2.relaxPerms({ ipa: IPA, prot: Prot.R }),
  ];
}

describe.each(MODES)("PkvmStage2 (%s)", (mode) => {
  const bed = beds({}, mode);

  it("does for pages what Stage2 does, and answers alike", () => {
    const b = bed();
    const pa = b.page() * PAGE;
    const plain: Stage2 = b.keep(b.engine.stage2({ ipaBits: 40 }));
    const answers = script(guest(b), pa);
    const wanted = script(plain, pa);
    // A map with other permissions alone: passed over, and "again" to who handles a fault; pKVM says so to everybody.
    expect([wanted[1], answers[1]]).toEqual(["ok", "again"]);
    wanted[1] = "again";
    expect(answers).toEqual(wanted);
  });

  it("shares pages with the guest, and takes them back", () => {
    const b = bed();
    const s2 = guest(b);
    const pfn = b.page();
    expect(s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RWX })).toBe("ok");
    expect(s2.map({ ipa: IPA + PAGE, size: PAGE, pa: pfn * PAGE, prot: Prot.R })).toBe("ok");
    expect(state(b.pkvm, pfn)).toMatchObject({ sharedWith: "guests", guestMappings: 2 });
    expect([...s2.mappings()]).toEqual([
      { ipa: IPA, pa: pfn * PAGE, size: PAGE },
      { ipa: IPA + PAGE, pa: pfn * PAGE, size: PAGE },
    ]);
    expect([...s2.mappings({ ipa: IPA + PAGE, size: 1 })].length).toBe(1);
    expect([...s2.mappings({ ipa: IPA, size: PAGE })].length).toBe(1);
    s2.unmap({ ipa: 0, size: 2 ** 40 });
    expect(state(b.pkvm, pfn)).toMatchObject({ host: "OWNED", guestMappings: 0 });
    expect([...s2.mappings()]).toEqual([]);
    expect(s2.statistics).toMatchObject({ mappings: 0, warnings: 0, refusals: 0 });
  });

  it("shares blocks, which a later unmap of one page takes back whole", () => {
    const b = bed();
    const s2 = guest(b);
    const range = { ipa: IPA, size: BLOCK_BYTES, pa: RAM2_BLOCK, prot: Prot.RW };
    expect(s2.map(range)).toBe("ok");
    expect([...s2.leaves()].map(({ level, size }) => [level, size])).toEqual([[2, BLOCK_BYTES]]);
    expect(state(b.pkvm, BLOCK_PFN + 511).guestMappings).toBe(1);
    s2.unmap({ ipa: IPA + 5 * PAGE, size: PAGE });
    expect([...s2.leaves()]).toEqual([]);
    expect(state(b.pkvm, BLOCK_PFN + 511)).toMatchObject({ host: "OWNED", guestMappings: 0 });
  });

  it.each<[string, object, string]>([
    ["two pages", { size: 2 * PAGE }, "EINVAL"],
    ["a block that is not aligned", { size: BLOCK_BYTES, pa: RAM2_BLOCK + PAGE }, "EINVAL"],
    ["a block by pages", { size: BLOCK_BYTES, forcePages: true }, "EINVAL"],
    ["a protection with DEVICE", { prot: Prot.RW | Prot.DEVICE }, "EINVAL"],
    ["a device", { pa: DEVICES }, "EPERM"],
    ["firmware's memory", { pa: FIRMWARE }, "EPERM"],
    ["an address beyond the guest's", { ipa: 2 ** 40 }, "ERANGE"],
    ["an address that is none", { ipa: -1 }, "BAD_ADDRESS"],
    ["a size of nothing", { size: 0 }, "BAD_SIZE"],
    ["unknown bits of protection", { prot: 2 ** 12 }, "BAD_PROT"],
    ["no memcache at all", { cache: null }, "ENOMEM"],
    ["a cache for tables", { cache: {} }, "FOREIGN"],
  ])("does not map %s", (_, part, code) => {
    const b = bed();
    const s2 = guest(b);
    const before = snapshot(b.pkvm);
    const request = { ipa: IPA, size: PAGE, pa: RAM2_BLOCK, prot: Prot.RW, ...part };
    expect(errorOf(() => s2.map(request)).code).toBe(code);
    expect([...s2.mappings()]).toEqual([]);
    expect([...s2.leaves()]).toEqual([]);
    expect(state(b.pkvm, BLOCK_PFN)).toMatchObject({ host: "OWNED", guestMappings: 0 });
    // What the hypervisor refuses may leave it with a vCPU loaded and pages in its memcache; what is refused at the door leaves nothing.
    if (code.startsWith("BAD") || code === "FOREIGN") expect(snapshot(b.pkvm)).toEqual(before);
  });

  it("P-8: has neither split nor unlinked tables, and warns", () => {
    const b = bed();
    const s2 = guest(b);
    expect(errorOf(() => s2.split({ ipa: IPA, size: PAGE })).code).toBe("EINVAL");
    expect(s2.warnings).toBe(1);
    expect(s2.createUnlinked({ pa: 0, level: 2, prot: Prot.R })).toBeNull();
    s2.freeUnlinked(null);
    expect(s2.warnings).toBe(3);
  });

  it("takes pages for tables from the memcache that it is given", () => {
    const b = bed();
    const s2 = guest(b);
    const cache = b.keep(b.pkvm.memcache());
    expect([cache.pages, cache.hasMapping]).toEqual([0, false]);
    cache.topup(3);
    expect([cache.pages, cache.hasMapping]).toEqual([3, true]);
    const request = { ipa: IPA, size: PAGE, pa: b.page() * PAGE, prot: Prot.RW, cache };
    expect(s2.map(request)).toBe("ok");
    expect([cache.pages, cache.hasMapping]).toEqual([0, false]);
    expect(s2.map(request)).toBe("again"); // before it looks at the cache
    expect(errorOf(() => s2.map({ ...request, ipa: IPA + PAGE })).code).toBe("ENOMEM");
    cache.topup(0);
    expect(s2.map({ ...request, ipa: IPA + PAGE })).toBe("ok");
    expect(errorOf(() => cache.topup(15)).code).toBe("BAD_OPTION");
    cache.dispose();
    expect(errorOf(() => cache.pages).code).toBe("DISPOSED");
    expect(errorOf(() => s2.map(request)).code).toBe("DISPOSED");
  });

  it("refuses a memcache of another machine", () => {
    const b = bed();
    const other = b.keep(b.engine.pkvm({ memory: [{ pa: 0, size: 2 ** 20 }] }));
    const cache = b.keep(other.memcache());
    const s2 = guest(b);
    const request = { ipa: IPA, size: PAGE, pa: RAM2_BLOCK, prot: Prot.RW, cache };
    expect(errorOf(() => s2.map(request)).code).toBe("FOREIGN");
  });

  it("asks whether pages must do", () => {
    const b = bed();
    const asked: unknown[] = [];
    const s2 = guest(b, {
      forcePages: (ipa, size) => {
        asked.push([ipa, size]);
        return true;
      },
    });
    const request = { ipa: IPA, size: PAGE, pa: RAM2_BLOCK, prot: Prot.RW };
    expect(s2.map(request)).toBe("ok");
    expect(errorOf(() => s2.map({ ...request, size: BLOCK_BYTES })).code).toBe("EINVAL");
    expect(asked).toEqual([
      [IPA, PAGE],
      [IPA, BLOCK_BYTES],
    ]);
  });

  it("is walked by vCPUs", () => {
    const b = bed();
    const s2 = guest(b);
    const vcpu = b.keep(b.engine.vcpu(s2));
    const pa = b.page() * PAGE;
    s2.map({ ipa: IPA, size: PAGE, pa, prot: Prot.R });
    expect(vcpu.translate(IPA + 4, Access.Read)).toBe(pa + 4);
    expect(vcpu.translate(IPA, Access.Write)).toBeInstanceOf(Fault);
    s2.relaxPerms({ ipa: IPA, prot: Prot.RW });
    expect(vcpu.translate(IPA, Access.Write)).toBe(pa);
    s2.unmap({ ipa: IPA, size: PAGE });
    expect(vcpu.translate(IPA, Access.Read)).toBeInstanceOf(Fault);
  });

  it("logs what happens to its table", () => {
    const b = bed();
    const s2 = guest(b, { events: ["writes", "maintenance"] });
    s2.map({ ipa: IPA, size: PAGE, pa: b.page() * PAGE, prot: Prot.RW });
    s2.unmap({ ipa: IPA, size: PAGE });
    const kinds = new Set([...b.engine.events.drain()].map(({ kind }) => kind));
    expect(kinds).toContain("write");
    expect([...kinds].some((kind) => kind.startsWith("tlbi"))).toBe(true);
    s2.setEvents([]);
    s2.map({ ipa: IPA, size: PAGE, pa: b.page() * PAGE, prot: Prot.RW });
    expect([...b.engine.events.drain()]).toEqual([]);
  });

  it("has plain numbers under raw", () => {
    const b = bed();
    const { raw } = guest(b);
    const pa = b.page() * PAGE;
    expect(raw.map(IPA, PAGE, pa, Prot.RW)).toBe(0);
    expect(raw.map(IPA, PAGE, pa, Prot.RW)).toBe(-11);
    expect(raw.lookup(IPA + 1)).toBe(pa + 1);
    expect([raw.getLeaf(IPA), raw.level()]).toEqual([0, 3]);
    expect(raw.testClearYoung(IPA, PAGE, 1)).toBe(1);
    expect(raw.relaxPerms(IPA, Prot.X)).toBe(0);
    expect([raw.wrprotect(IPA, PAGE), raw.flush(IPA, PAGE), raw.tlbFlushRange()]).toEqual([
      0, 0, 0,
    ]);
    expect([raw.mkyoung(IPA), raw.split()]).toEqual([1, -22]);
    expect(raw.unmap(IPA, PAGE)).toBe(0);
  });

  it.each<[string, unknown]>([
    ["no vCPU", { vcpus: 0 }],
    ["513 vCPUs", { vcpus: 513 }],
    ["a granule of its own", { granule: "4K" }],
    ["forcePages that is no function", { forcePages: true }],
    ["a negative limit", { retryLimit: -1 }],
  ])("is not made with %s", (_, options) => {
    const b = bed();
    const before = snapshot(b.pkvm);
    expect(errorOf(() => b.pkvm.stage2(options as PkvmStage2Options)).code).toBe("BAD_OPTION");
    expect(snapshot(b.pkvm)).toEqual(before);
  });

  it("is refused as a protected guest by a machine that has none", () => {
    const b = bed();
    const before = snapshot(b.pkvm);
    expect(errorOf(() => b.pkvm.stage2({ protectedGuest: true })).code).toBe("EINVAL");
    expect(snapshot(b.pkvm)).toEqual(before);
  });
});
