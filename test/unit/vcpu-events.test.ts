/** Events of vCPUs: from records of every kind to what a reader gets, and from a running vCPU. */
import { beforeEach, describe, expect, it } from "vitest";
import { EVENT_RECORD, LEVEL_UNKNOWN, TLBI_OP, TLB_KIND, VCPU_EVENT } from "../../src/_abi.ts";
import { EventRecord, decodeEvent } from "../../src/_event_record.ts";
import { Access, type Event, Prot, type Stage2, type VcpuEventGroup } from "../../src/index.ts";
import { MODES, SMALL, lab } from "../support.ts";

interface Fields {
  kind: number;
  level?: number;
  aux?: number;
  n?: number;
  a?: bigint;
  b?: bigint;
  c?: bigint;
}

function decoded({ kind, level = 3, aux = 0, n = 0, a = 0n, b = 0n, c = 0n }: Fields): Event {
  const view = new DataView(new ArrayBuffer(32));
  view.setUint8(EVENT_RECORD.KIND, kind);
  view.setInt8(EVENT_RECORD.LEVEL, level);
  view.setUint16(EVENT_RECORD.AUX, aux, true);
  view.setUint32(EVENT_RECORD.N, n, true);
  [a, b, c].forEach((word, i) => view.setBigUint64(EVENT_RECORD.A + i * 8, word, true));
  return decodeEvent(new EventRecord(new Uint32Array(view.buffer), 0));
}

const KERNEL = 2n ** 64n - 0x8000n;
const CPU = 0xabc;

describe("a record", () => {
  it.each([1, 2] as const)("of a descriptor that was read, stage %i", (stage) => {
    const record = { kind: VCPU_EVENT.HW_READ, level: -1, aux: (CPU << 4) | stage };
    expect(decoded({ ...record, a: 0x4000_1008n, b: (2n ** 63n) | 3n, c: KERNEL })).toEqual({
      ...{ kind: "hwRead", cpu: CPU, stage, level: -1, slot: 0x4000_1008 },
      ...{ pte: (2n ** 63n) | 3n, address: -0x8000 },
    });
  });

  it.each([
    [1, true, false],
    [2, false, true],
    [3, true, true],
  ])("of a descriptor that was updated, %i", (n, accessFlag, dirty) => {
    const record = { kind: VCPU_EVENT.HW_UPDATE, aux: (CPU << 4) | 2, n };
    expect(decoded({ ...record, a: 8n, b: 0x483n, c: 2n ** 52n - 1n })).toEqual({
      ...{ kind: "hwUpdate", cpu: CPU, stage: 2, level: 3, slot: 8, pte: 0x483n },
      ...{ address: 2 ** 52 - 1, accessFlag, dirty },
    });
  });

  it.each([
    [TLB_KIND.COMBINED, "combined"],
    [TLB_KIND.STAGE2, "stage2"],
    [TLB_KIND.WALK_STAGE2, "walkStage2"],
    [TLB_KIND.WALK_STAGE1, "walkStage1"],
  ])("of TLB entries, kind %i", (entry, name) => {
    const aux = (CPU << 4) | entry;
    const fill = { kind: VCPU_EVENT.TLB_FILL, aux, n: 0xfffe_8001, level: 2 };
    expect(decoded({ ...fill, a: KERNEL, b: 5n, c: 0x7000n })).toEqual({
      ...{ kind: "tlbFill", cpu: CPU, entry: name, level: 2, vmid: 0x8001, asid: 0xfffe },
      ...{ address: -0x8000, ipa: 0x7000 },
    });
    expect(decoded({ kind: VCPU_EVENT.TLB_STALE, aux, a: 1n, b: 2n, c: 3n })).toEqual({
      ...{ kind: "tlbStale", cpu: CPU, entry: name, address: 1, pa: 2, now: 3 },
    });
    expect(decoded({ kind: VCPU_EVENT.TLB_STALE, aux, a: 1n, b: 2n, c: 2n ** 64n - 1n })).toEqual({
      ...{ kind: "tlbStale", cpu: CPU, entry: name, address: 1, pa: 2, now: undefined },
    });
    expect(decoded({ kind: VCPU_EVENT.TLB_CONFLICT, aux, a: KERNEL, b: 2n, c: 3n })).toEqual({
      ...{ kind: "tlbConflict", cpu: CPU, entry: name, address: -0x8000, pa: 2, other: 3 },
    });
  });

  it("of a contiguous group", () => {
    const record = { kind: VCPU_EVENT.CONTIGUOUS, aux: (CPU << 4) | 2 };
    expect(decoded({ ...record, a: 8n, b: 2n ** 63n, c: 2n ** 62n })).toEqual({
      ...{ kind: "contiguous", cpu: CPU, stage: 2, level: 3, slot: 8 },
      ...{ pte: 2n ** 63n, member: 2n ** 62n },
    });
  });

  it.each(Object.entries(TLBI_OP))("of TLBI %s", (op, number) => {
    const record = { kind: VCPU_EVENT.TLBI, level: LEVEL_UNKNOWN, n: 0x0002_0001 };
    const rest = { vmid: 1, asid: 2, address: -0x8000, pages: 9 };
    const words = { a: KERNEL, b: 9n };
    expect(decoded({ ...record, ...words, aux: number | (7 << 5), c: 1n })).toEqual({
      ...{ kind: "tlbi", cpu: 7, op, level: undefined, ...rest, broadcast: true },
    });
    expect(decoded({ ...record, ...words, aux: number | (2047 << 5), level: 2 })).toEqual({
      ...{ kind: "tlbi", cpu: undefined, op, level: 2, ...rest, broadcast: false },
    });
  });
});

describe.each(MODES)("a vCPU's events (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: { pa: 0x8000_0000, size: 0x10000 } });
  let s2: Stage2;
  const log = (
    events: readonly VcpuEventGroup[],
    use: (translate: (va: number) => void) => void,
  ) => {
    const vcpu = here.keep(here.engine.vcpu(s2, { events }));
    here.engine.events.clear();
    use((va) => vcpu.translate(va, Access.Read));
    return [...here.engine.events.drain()].map((event) => {
      if ("cpu" in event) expect(event.cpu).toBe(vcpu.number);
      return event;
    });
  };

  beforeEach(() => {
    s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0x4000_0000, size: 0x2000, pa: 0x8000_0000, prot: Prot.RW });
    s2.testClearYoung({ ipa: 0x4000_0000, size: 0x1000 });
  });

  it("are those of the groups that it was asked for", () => {
    const walk = (translate: (va: number) => void) => translate(0x4000_0008);
    const reads = log(["walks"], walk);
    expect(reads.map(({ kind }) => kind)).toEqual(["hwRead", "hwRead", "hwRead"]);
    expect(reads.at(-1)).toMatchObject({ stage: 2, level: 3, address: 0x4000_0008 });
    s2.testClearYoung({ ipa: 0x4000_0000, size: 0x1000 });
    const updates = log(["updates"], walk);
    expect(updates).toMatchObject([{ kind: "hwUpdate", level: 3, accessFlag: true, dirty: false }]);
    const [{ pte }] = updates as unknown as [{ pte: bigint }];
    expect(s2.getLeaf(0x4000_0000).pte).toBe(pte);
    const fills = log(["tlb"], walk);
    expect(fills).toContainEqual(
      expect.objectContaining({
        kind: "tlbFill",
        entry: "combined",
        vmid: s2.vmid,
        ipa: 0x4000_0008,
      }),
    );
    expect(fills.every(({ kind }) => kind === "tlbFill")).toBe(true);
    expect(log([], walk)).toEqual([]);
  });

  it("of invalidations name who and what", () => {
    const vcpu = here.keep(here.engine.vcpu(s2, { events: ["tlb"] }));
    here.engine.events.clear();
    vcpu.tlbi("RVAE1", { address: -0x4000, pages: 3, asid: 5, level: 3 });
    vcpu.tlbi("VMALLE1", { local: true });
    const whose = { kind: "tlbi", cpu: vcpu.number, vmid: s2.vmid };
    expect([...here.engine.events.drain()]).toMatchObject([
      { ...whose, op: "RVAE1", address: -0x4000, pages: 3, asid: 5, level: 3, broadcast: true },
      { ...whose, op: "VMALLE1", level: undefined, broadcast: false },
    ]);
  });

  it("of a page table name the thread that wrote", () => {
    s2.setEvents(["writes"]);
    here.engine.events.clear();
    s2.unmap({ ipa: 0x4000_1000, size: 0x1000 });
    const writes = [...here.engine.events.drain()];
    expect(writes).toContainEqual(expect.objectContaining({ kind: "write", level: 3, thread: 0 }));
  });

  it("tell of stale entries and of unequal contiguous groups in checker mode", () => {
    const vcpu = here.keep(here.engine.vcpu(s2, { events: ["tlb"], checker: true }));
    const { steps } = here.keep(here.engine.vcpu(s2)).trace(0x4000_1000, Access.Read);
    const { pa: slot } = steps.at(-1)!;
    const { buffer, byteOffset } = here.engine.memoryMap.bytes(slot, 8);
    const entry = new BigUint64Array(buffer, byteOffset, 1);
    vcpu.translate(0x4000_1000, Access.Read);
    here.engine.events.clear();
    const before = entry[0]!;
    entry[0] = 0x9000_07ffn;
    expect(vcpu.translate(0x4000_1008, Access.Read)).toBe(0x8000_1008);
    expect([...here.engine.events.drain()]).toEqual([
      {
        ...{ kind: "tlbStale", cpu: vcpu.number, entry: "combined" },
        ...{ address: 0x4000_1008, pa: 0x8000_1008, now: 0x9000_0008 },
      },
    ]);
    expect(vcpu.statistics.tlb.stale).toBe(1);
    entry[0] = before | (1n << 52n);
    vcpu.tlbi("VMALLS12E1");
    here.engine.events.clear();
    vcpu.translate(0x4000_1008, Access.Read);
    expect([...here.engine.events.drain()]).toContainEqual(
      expect.objectContaining({ kind: "contiguous", stage: 2, level: 3, slot, pte: entry[0] }),
    );
    entry[0] = before;
  });
});
