/** Overlapping calls of two CPUs, small enough to follow by hand. */
import { describe, expect, it } from "vitest";
import { findCalls } from "../../src/replay/calls.ts";
import { replayOrder } from "../../src/replay/order.ts";
import { readTrace } from "../../src/replay/read.ts";
import { MARKER, ROOT, Script, T1, T2, T3, entryOf, hex, leafOf, tableEntry } from "./script.ts";
import { type Line, replayOne } from "./support.ts";

const LEAF = leafOf(0x1000);
const PAGE = 0x1000;
const [A, B] = [7, 8] as const;

/** The n-th record of these operations (from 0) that `fits`. */
function find(script: Script, op: string, fits: (line: Line) => boolean = () => true, n = 0): Line {
  return script.lines.filter((line) => line["op"] === op && fits(line))[n] as Line;
}

async function expectEqual(script: Script, grouped: number): Promise<void> {
  const { code, result } = await replayOne(script.write());
  expect(result.differences).toEqual([]);
  expect(result).toMatchObject({ undecided: {}, differing: 0, grouped });
  expect(code).toBe(0);
}

async function expectDifferent(script: Script, sentence: RegExp): Promise<void> {
  const { code, result } = await replayOne(script.write());
  expect(result.differences[0]).toMatch(sentence);
  expect(result.differing).toBeGreaterThan(0);
  expect(code).toBe(1);
}

/** A builds the first table, then loses the second to B, which maps the page. */
function partialTrace(): Script {
  const script = new Script();
  script.init();
  const empty = { visit: "0x1", old: "0x0" };
  const a = script.map(A, [1, 5], -11);
  const top = script.visit("v_map", a, ROOT, 1, { ...empty, new: tableEntry(T1), ret: 0 });
  script.add("alloc_table", { pa: hex(T1) }, top);
  script.install(top, tableEntry(T1));
  const lost = script.visit("v_map", a, T1, 2, { ...empty, new: tableEntry(T3), ret: -11 });
  script.add("alloc_table", { pa: hex(T2) }, lost);
  const b = script.map(B, [2, 4], 0);
  const there = tableEntry(T1);
  script.visit("v_map", b, ROOT, 1, { visit: "0x2", old: there, new: there, ret: 0 });
  const second = script.visit("v_map", b, T1, 2, { ...empty, new: tableEntry(T3), ret: 0 });
  script.add("alloc_table", { pa: hex(T3) }, second);
  script.install(second, tableEntry(T3));
  const leaf = script.visit("v_map", b, entryOf(PAGE, T3), 3, { ...empty, new: LEAF, ret: 0 });
  script.install(leaf, LEAF);
  script.break(lost, 0);
  script.add("put_page", { pa: hex(T2) }, lost);
  script.destroy({ [PAGE]: LEAF }, T3);
  return script;
}

describe("a call that committed tables and then lost", () => {
  it("loses again", async () => {
    await expectEqual(partialTrace(), 2);
  });

  it("differs if its store was another", async () => {
    const script = partialTrace();
    find(script, "make_pte")["new"] = tableEntry(T2);
    await expectDifferent(script, /^record \d+, s2_map: /);
  });

  it("differs if the other one lost", async () => {
    const script = partialTrace();
    const breaks = script.lines.filter((line) => line["op"] === "break_pte" && line["level"] === 2);
    expect(breaks.map((line) => line["ret"])).toEqual([1, 0]);
    for (const line of breaks) line["ret"] = 1 - Number(line["ret"]);
    await expectDifferent(script, /^record \d+, s2_map: no order of the calls that overlap/);
  });
});

/** A breaks an entry and is stopped; B meets the marker and gives up; what it reads back tells when A went on. */
function markerTrace(readBack: string): Script {
  const script = new Script();
  script.begin();
  const a = script.map(A, [1, 5], 0);
  script.descend(a);
  const visit = script.leaf(a, "0x0", LEAF, 0);
  script.install(visit, LEAF);
  const b = script.map(B, [2, 3], -11);
  script.descend(b);
  script.break(script.leaf(b, MARKER, readBack, -11), 0);
  script.destroy({ 0: leafOf(0), [PAGE]: LEAF });
  return script;
}

describe("a call that meets the marker of another", () => {
  it("reads it back", async () => {
    await expectEqual(markerTrace(MARKER), 2);
  });
  it("reads back what the other has stored by then", async () => {
    await expectEqual(markerTrace(LEAF), 2);
  });
  it("differs if it reads back anything else", async () => {
    await expectDifferent(markerTrace("0x0"), /explains that it read 0x0 from entry 0x30008/);
  });
  it("differs if it answered otherwise", async () => {
    const script = markerTrace(MARKER);
    find(script, "s2_map", (line) => line["ret"] === -11)["ret"] = 0;
    await expectDifferent(script, /replayed "return -11", recorded "return 0"/);
  });
  it("differs if the other one had returned before", async () => {
    const script = markerTrace(MARKER);
    find(script, "s2_map", (line) => line["pid"] === A)["t2"] = "1.5";
    await expectDifferent(script, /recorded "visit level 3 .*: leaf 0x400"/);
  });
});

/** A and B map the same page, and both find nothing. B is first. */
function lostMapTrace(): Script {
  const script = new Script();
  script.begin();
  const a = script.map(A, [1, 5], -11);
  script.descend(a);
  script.break(script.leaf(a, "0x0", LEAF, -11), 0);
  const b = script.map(B, [2, 3], 0);
  script.descend(b);
  script.install(script.leaf(b, "0x0", LEAF, 0), LEAF);
  script.destroy({ 0: leafOf(0), [PAGE]: LEAF });
  return script;
}

describe("a map that loses its exchange", () => {
  it("loses again", async () => {
    await expectEqual(lostMapTrace(), 2);
  });
  it("differs if it found what it lost to", async () => {
    const script = lostMapTrace();
    find(script, "v_map", ({ ret }) => ret === -11)["old"] = LEAF;
    await expectDifferent(script, /^record \d+, s2_map/);
  });
  it("differs if it did not try", async () => {
    const script = lostMapTrace();
    const at = script.lines.findIndex(({ op, ret }) => op === "break_pte" && ret === 0);
    script.lines.splice(at, 1);
    await expectDifferent(script, /it was about to exchange entry 0x30008, the recorded call read/);
  });
  it("differs if it was alone", async () => {
    const script = lostMapTrace();
    for (const line of script.lines)
      if (line["pid"] === B) Object.assign(line, { t: "6", t2: "7" });
    find(script, "s2_map", ({ pid }) => pid === A)["t2"] = "2";
    await expectDifferent(script, /recorded "lose level 3 entry 0x30008"/);
  });
});

/** Two calls change permissions of one page: A is first, B loses. */
function lostRelaxTrace(): Script {
  const script = new Script();
  script.begin();
  const alone = script.map(1, [0.5, 0.6], 0);
  script.descend(alone);
  script.install(script.leaf(alone, "0x0", LEAF, 0), LEAF);
  const executable = hex(Number(BigInt(LEAF) & 0xffff_ffffn));
  const both = { visit: "0x1", old: LEAF, new: executable };
  const b = script.relax(B, [1, 5], "0x5", -11);
  const lost = script.visit("v_attr", b, entryOf(PAGE), 3, { ...both, ret: -11 });
  script.add("icache_inval", { pa: "0x80001000", size: "0x1000" }, lost);
  const a = script.relax(A, [2, 3], "0x5", 0);
  const won = script.visit("v_attr", a, entryOf(PAGE), 3, { ...both, ret: 0 });
  script.add("icache_inval", { pa: "0x80001000", size: "0x1000" }, won);
  script.destroy({ 0: leafOf(0), [PAGE]: executable });
  return script;
}

describe("a change of permissions that loses its exchange", () => {
  it("loses again", async () => {
    await expectEqual(lostRelaxTrace(), 2);
  });
  it("differs if both had won", async () => {
    const script = lostRelaxTrace();
    find(script, "v_attr")["ret"] = 0;
    find(script, "s2_relax_perms")["ret"] = 0;
    await expectDifferent(script, /no order of the calls that overlap explains that it exchanged/);
  });
  it("differs if what it found was another value", async () => {
    const script = lostRelaxTrace();
    find(script, "v_attr")["old"] = leafOf(0x2000);
    await expectDifferent(script, /^record \d+, s2_relax_perms/);
  });
});

/** A block takes the place of T2, which is freed while A and B are on their way elsewhere. */
function deferredFreeTrace(): Script {
  const script = new Script();
  const second = 0x20_0000;
  const block = "0x400000800007fd";
  script.begin();
  const whole = script.map(1, [0.5, 0.6], 0, 0);
  Object.assign(script.lines[whole] as Line, { size: hex(second) });
  const there = { visit: "0x2", addr: "0x0", ret: 0 };
  const [t1, t2, t3] = [T1, T2, T3].map(tableEntry) as [string, string, string];
  script.visit("v_map", whole, ROOT, 1, { ...there, old: t1, new: t1 });
  const replaced = script.visit("v_map", whole, T1, 2, { ...there, old: t2, new: block });
  script.break(replaced, 1);
  script.add("tlb_flush_range", { mmu: "m", addr: "0x0", size: hex(second) }, replaced);
  script.add("put_page", { pa: hex(T1) }, replaced);
  script.add("dcache_clean", { pa: "0x80000000", size: hex(second) }, replaced);
  script.make(replaced, block);
  script.add("free_table_rcu", { pa: hex(T2), level: 2 }, replaced);

  const place = { addr: hex(second), ret: 0 };
  const leaf = leafOf(second);
  const a = script.map(A, [1, 5], 0, second);
  script.visit("v_map", a, ROOT, 1, { ...place, visit: "0x2", old: t1, new: t1 });
  const table = script.visit("v_map", a, T1 + 8, 2, {
    ...place,
    visit: "0x1",
    old: "0x0",
    new: t3,
  });
  script.add("alloc_table", { pa: hex(T3) }, table);
  script.install(table, t3);
  const last = script.visit("v_map", a, T3, 3, { ...place, visit: "0x1", old: "0x0", new: leaf });
  script.install(last, leaf);
  const free = script.add("s2_free_unlinked", {
    pa: hex(T2),
    level: 2,
    t: "1.5",
    t2: "1.6",
    pid: 2,
  });
  script.visit("v_free", free, T2, 3, { visit: "0x1", old: leafOf(0), addr: "0x0" });
  script.add("put_page", { pa: hex(T2) }, free);
  script.add("put_page", { pa: hex(T2) }, free);
  const b = script.map(B, [2, 3], -11, second);
  script.visit("v_map", b, ROOT, 1, { ...place, visit: "0x2", old: t1, new: t1 });
  script.visit("v_map", b, T1 + 8, 2, { ...place, visit: "0x2", old: t3, new: t3 });
  const met = { ...place, visit: "0x1", old: MARKER, new: MARKER, ret: -11 };
  script.break(script.visit("v_map", b, T3, 3, met), 0);

  const end = script.add("s2_destroy", { pgt: 0, t: "9", t2: "9.1", pid: 1 });
  const put = (pa: number): void => void script.add("put_page", { pa: hex(pa) }, end);
  script.visit("v_free", end, T1, 2, { visit: "0x1", old: block, addr: "0x0" });
  put(T1);
  script.visit("v_free", end, T3, 3, { visit: "0x1", old: leaf, addr: hex(second) });
  put(T3);
  script.visit("v_free", end, T1 + 8, 2, { visit: "0x4", old: t3, addr: hex(second) });
  put(T1 + 8);
  put(T3);
  script.visit("v_free", end, ROOT, 1, { visit: "0x4", old: t1, addr: "0x0" });
  put(ROOT);
  put(T1);
  script.add("pgd_free", { pa: hex(ROOT), size: "0x2000" }, end);
  return script;
}

describe("calls that overlap", () => {
  it("let a table be freed that none of them is in", async () => {
    await expectEqual(deferredFreeTrace(), 2);
  });

  it("are refused by name if there are too many of them", async () => {
    const script = new Script();
    script.begin();
    const calls = Array.from({ length: 9 }, (_, i) => ({ addr: (i + 1) * PAGE, pid: 10 + i }));
    const open = calls.map(({ addr, pid }) => {
      const call = script.map(pid, [1 + pid / 100, 5], 0, addr);
      script.descend(call, addr);
      return { visit: script.leaf(call, "0x0", leafOf(addr), 0, addr), addr };
    });
    for (const { visit, addr } of open) script.install(visit, leafOf(addr));
    const leaves = Object.fromEntries(calls.map(({ addr }) => [addr, leafOf(addr)]));
    script.destroy({ 0: leafOf(0), ...leaves });
    const { result } = await replayOne(script.write());
    expect(result.differences).toHaveLength(2);
    expect(result.differences[0]).toMatch(/more calls overlap with it than there are agents/);
  });

  it("may fail before they visit anything", async () => {
    const script = markerTrace(MARKER);
    const outside = { addr: "0x20000000000", pid: 9, t: "2.5", t2: "2.6", ret: -34 };
    const at = script.lines.findIndex(({ op }) => op === "s2_destroy");
    const map = { ...find(script, "s2_map"), ...outside };
    const later = script.lines.splice(at).map((line) => shifted(line, at));
    script.lines.push({ ...map, i: at }, ...later);
    await expectEqual(script, 3);
  });
});

/** The line one place further down, with those inside it. */
function shifted(line: Line, from: number): Line {
  const up = line["up"] as number | undefined;
  const moved = up === undefined ? {} : { up: up >= from ? up + 1 : up };
  return { ...line, i: (line["i"] as number) + 1, ...moved } as Line;
}

describe("the order of the replay", () => {
  const stepsOf = (script: Script) => {
    const trace = readTrace(script.write());
    return replayOrder(trace, findCalls(trace));
  };

  it("lets the marker be met between break and make", () => {
    const steps = stepsOf(markerTrace(LEAF)).filter(({ grouped }) => grouped);
    const course = steps.map(({ call, turn }) => [call.record.pid, turn?.access.what] as const);
    const shown = course.filter(([, what]) => what?.kind !== "look");
    const leaf = shown.slice(-6).map(([pid, what]) => `${pid === A ? "A" : "B"} ${what?.kind}`);
    expect(leaf).toContain("B read");
    const store = steps.findIndex(({ turn }) => turn?.access.what.kind === "store");
    const met = steps.findIndex(({ turn }) => {
      const what = turn?.access.what;
      return what?.kind === "read" && what.value === MARKER;
    });
    expect(met).toBeGreaterThan(0);
    expect(store).toBeGreaterThan(met);
  });

  it("keeps calls apart that did not overlap", () => {
    const script = new Script();
    script.init();
    script.map(A, [1, 2], 0);
    script.map(B, [3, 4], 0);
    expect(stepsOf(script).map(({ grouped }) => grouped)).toEqual([false, false, false]);
  });

  it("takes overlapping calls of different tables for what they are", () => {
    const script = new Script();
    script.init();
    const times = { t: "0.3", t2: "0.4", pid: 1 };
    const other = script.add("s2_init", { pgt: 1, mmu: "n", ret: 0, ...times });
    script.add("pgd_alloc", { pa: "0x90000", size: "0x2000" }, other);
    script.map(A, [1, 5], 0);
    (script.lines[script.map(B, [2, 3], 0)] as Line)["pgt"] = 1;
    expect(stepsOf(script).some(({ grouped }) => grouped)).toBe(false);
  });
});
