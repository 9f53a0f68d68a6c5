/** Overlapping calls of two CPUs, small enough to follow by hand. */
import { describe, expect, it } from "vitest";
import { findCalls } from "../../src/replay/calls.ts";
import { replayOrder } from "../../src/replay/order.ts";
import { readTrace } from "../../src/replay/read.ts";
import { type Line, replayOne, writeTrace } from "./support.ts";

const HEADER = {
  op: "header",
  name: "hand",
  qemu_cpu: "cortex-a72",
  kernel: "6.12",
  page_size: 4096,
  pgt_ia_bits_start_level: [[40, 1]],
  regs: {},
};

const ROOT = 0x1_0000;
const [T1, T2, T3] = [0x2_0000, 0x3_0000, 0x4_0000] as const;
const LEAF = "0x400000800017ff";
const hex = (value: number): string => `0x${value.toString(16)}`;
const tableEntry = (table: number): string => hex(table | 3);

/** Numbers records as they are added; `up` is the number that `add` returned. */
class Script {
  readonly lines: Line[] = [];

  add(op: string, fields: Line, up?: number): number {
    const i = this.lines.length;
    this.lines.push({ i, op, ...fields, ...(up === undefined ? {} : { up }) });
    return i;
  }

  init(): void {
    const init = this.add("s2_init", { pgt: 0, mmu: "m", ret: 0, t: "0.1", t2: "0.2" });
    this.add("pgd_alloc", { pa: hex(ROOT), size: "0x2000" }, init);
  }

  map(t: string, t2: string, ret: number): number {
    const call = { pgt: 0, addr: "0x1000", size: "0x1000", phys: "0x80001000", prot: "0x6" };
    return this.add("s2_map", { ...call, flags: "0x18", t, t2, ret });
  }

  visit(op: string, call: number, entry: number, level: number, values: Line): number {
    return this.add(op, { pte_pa: hex(entry), addr: "0x1000", level, ...values }, call);
  }

  /** Break, make and reference of an entry that was empty. */
  install(visit: number, entry: number, level: number, value: string): void {
    const place = { pte_pa: hex(entry), old: "0x0", addr: "0x1000", level };
    this.add("break_pte", { ...place, ret: 1 }, visit);
    if (level === 3) this.add("dcache_clean", { pa: "0x80001000", size: "0x1000" }, visit);
    this.add("make_pte", { ...place, new: value }, visit);
    this.add("get_page", { pa: hex(entry) }, visit);
  }

  /** Destroys ROOT -> T1 -> `last` -> LEAF. */
  destroy(last: number): void {
    const call = this.add("s2_destroy", { pgt: 0, t: "9", t2: "9.1" });
    const free = (entry: number, level: number, visit: string, old: string, child?: number) => {
      const addr = child === undefined ? "0x1000" : "0x0";
      this.visit("v_free", call, entry, level, { visit, old, addr });
      this.add("put_page", { pa: hex(entry) }, call);
      if (child !== undefined) this.add("put_page", { pa: hex(child) }, call);
    };
    free(last + 8, 3, "0x1", LEAF);
    free(T1, 2, "0x4", tableEntry(last), last);
    free(ROOT, 1, "0x4", tableEntry(T1), T1);
    this.add("pgd_free", { pa: hex(ROOT), size: "0x2000" }, call);
  }

  write(): string {
    return writeTrace("hand", [HEADER, ...this.lines]);
  }
}

/** A builds the first table, then loses the second to B, which maps the page. */
function partialTrace(): Script {
  const script = new Script();
  script.init();
  const a = script.map("1", "5", -11);
  const top = script.visit("v_map", a, ROOT, 1, { visit: "0x1", old: "0x0", new: tableEntry(T1), ret: 0 });
  script.add("alloc_table", { pa: hex(T1) }, top);
  script.install(top, ROOT, 1, tableEntry(T1));
  const lost = script.visit("v_map", a, T1, 2, { visit: "0x1", old: "0x0", new: tableEntry(T3), ret: -11 });
  script.add("alloc_table", { pa: hex(T2) }, lost);
  const b = script.map("2", "4", 0);
  script.visit("v_map", b, ROOT, 1, { visit: "0x2", old: tableEntry(T1), new: tableEntry(T1), ret: 0 });
  const second = script.visit("v_map", b, T1, 2, { visit: "0x1", old: "0x0", new: tableEntry(T3), ret: 0 });
  script.add("alloc_table", { pa: hex(T3) }, second);
  script.install(second, T1, 2, tableEntry(T3));
  const leaf = script.visit("v_map", b, T3 + 8, 3, { visit: "0x1", old: "0x0", new: LEAF, ret: 0 });
  script.install(leaf, T3 + 8, 3, LEAF);
  const exchange = { pte_pa: hex(T1), old: "0x0", addr: "0x1000", level: 2, ret: 0 };
  script.add("break_pte", exchange, lost);
  script.add("put_page", { pa: hex(T2) }, lost);
  script.destroy(T3);
  return script;
} // prettier-ignore

describe("a call that committed tables and then lost", () => {
  it("is replayed with just these tables, and its stores are compared", async () => {
    const { code, result } = await replayOne(partialTrace().write());
    expect(result.differences).toEqual([]);
    expect(result.undecided).toEqual({ partial: 1 });
    expect(result).toMatchObject({ calls: 4, compared: 4, grouped: 2, again: 0 });
    expect(code).toBe(0);
  });

  it("differs if its store was another", async () => {
    const script = partialTrace();
    const make = script.lines.find(({ op }) => op === "make_pte") as Line;
    make["new"] = tableEntry(T2);
    const { code } = await replayOne(script.write());
    expect(code).toBe(1);
  });
});

describe("the order of the replay", () => {
  it("puts a call that met the marker behind the one that had placed it", () => {
    const script = new Script();
    script.init();
    const loser = { visit: "0x1", old: "0x400", new: "0x400", ret: -11 };
    const a = script.map("1", "5", 0);
    const visit = script.visit("v_map", a, ROOT, 1, {
      visit: "0x1",
      old: "0x0",
      new: LEAF,
      ret: 0,
    });
    script.install(visit, ROOT, 1, LEAF);
    const b = script.map("0.9", "1.1", -11);
    script.visit("v_map", b, ROOT, 1, loser);
    script.lines.splice(b, 0); // B's line is behind the store, but it ran before A returned
    const steps = replayOrder(...traceOf(script));
    const maps = steps.filter(({ call }) => call.record.op === "s2_map");
    expect(maps.map(({ call }) => call.record.ret)).toEqual([0, -11]);
    expect(maps[1]?.collision).toEqual({ kind: "marker-seen", entry: hex(ROOT) });
    expect(maps.every(({ grouped }) => grouped)).toBe(true);
  });

  it("keeps calls apart that did not overlap", () => {
    const script = new Script();
    script.init();
    script.map("1", "2", 0);
    script.map("3", "4", 0);
    const steps = replayOrder(...traceOf(script));
    expect(steps.map(({ grouped }) => grouped)).toEqual([false, false, false]);
  });

  it("takes overlapping calls of different tables for what they are", () => {
    const script = new Script();
    script.init();
    const other = script.add("s2_init", { pgt: 1, mmu: "n", ret: 0, t: "0.3", t2: "0.4" });
    script.add("pgd_alloc", { pa: "0x90000", size: "0x2000" }, other);
    script.map("1", "5", 0);
    Object.assign(script.lines[script.map("2", "3", 0)] as Line, { pgt: 1 });
    const steps = replayOrder(...traceOf(script));
    expect(steps.some(({ grouped }) => grouped)).toBe(false);
  });
});

function traceOf(script: Script): Parameters<typeof replayOrder> {
  const trace = readTrace(script.write());
  return [trace, findCalls(trace)];
}
