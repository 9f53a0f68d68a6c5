/** A replay that could not fail would prove nothing: each of these changes to a recording must be found. */
import { describe, expect, it } from "vitest";
import { type Line, copyDumps, replayOne, traceLines, writeTrace } from "./support.ts";

/** The n-th record of these operations (from 0) that `fits`. */
function find(lines: Line[], op: string, fits: (line: Line) => boolean = () => true, n = 0): Line {
  const found = lines.filter((line) => line["op"] === op && fits(line))[n];
  if (found === undefined) throw new Error(`no ${op} in this trace`);
  return found;
}

/** Adds bits to a hexadecimal field. */
function flip(line: Line, field: string, bits: bigint): void {
  line[field] = `0x${(BigInt(line[field] as string) ^ bits).toString(16)}`;
}

function drop(lines: Line[], line: Line): void {
  lines.splice(lines.indexOf(line), 1);
}

const WRITABLE = 1n << 7n;
const succeeded = (line: Line): boolean => line["ret"] === 0;
const inside = (line: Line): boolean => line["up"] !== undefined;

/** What is changed, in which trace, and how. */
const CHANGES: [string, string, (lines: Line[]) => void][] = [
  ["a return code of map", "max4k.huge", (lines) => (find(lines, "s2_map", succeeded, 20)["ret"] = -11)],
  ["a return code of relax", "max4k.huge", (lines) => (find(lines, "s2_relax_perms")["ret"] = -11)],
  ["a return code in a group", "max4k.dirty", (lines) => {
    const again = find(lines, "s2_map", (line) => line["ret"] === -11);
    again["ret"] = 0;
  }],
  ["the age of a page", "max16k.age", (lines) => {
    const young = find(lines, "s2_test_clear_young", (line) => line["ret"] === 1);
    young["ret"] = 0;
  }],
  ["the entry that make-young found", "a72nvhe.age", (lines) =>
    flip(find(lines, "s2_mkyoung"), "ret", WRITABLE)],
  ["a written entry", "max4k.huge", (lines) => flip(find(lines, "make_pte", inside, 7), "new", WRITABLE)],
  ["the address of a written entry", "max4k.huge", (lines) => flip(find(lines, "make_pte"), "pte_pa", 8n)],
  ["an attribute that was stored", "max4k.huge", (lines) => {
    const stored = find(lines, "v_attr", (line) => line["ret"] === 0 && line["old"] !== line["new"]);
    flip(stored, "new", 1n << 54n);
  }],
  ["what a visit found", "max4k.huge", (lines) => flip(find(lines, "v_map", inside, 12), "old", WRITABLE)],
  ["a dropped TLBI by IPA", "n1st.st4-memslot_modification_stress_test", (lines) =>
    drop(lines, find(lines, "tlbi_ipa"))],
  ["a dropped TLBI of this CPU", "max4k.huge", (lines) => drop(lines, find(lines, "tlbi_ipa_nsh"))],
  ["a dropped TLBI by range", "max16k.age", (lines) => drop(lines, find(lines, "tlbi_range", inside))],
  ["a dropped TLBI of a flush outside calls", "max4k.dirty", (lines) =>
    drop(lines, find(lines, "tlbi_range", (line) => !inside(line)))],
  ["a flush outside calls whose TLBI is left", "max4k.dirty", (lines) =>
    drop(lines, find(lines, "tlb_flush_range", (line) => !inside(line)))],
  ["a dropped flush call", "a72nvhe.cache", (lines) => drop(lines, find(lines, "dcache_clean", inside, 99))],
  ["a dropped instruction-cache invalidation", "max4k.huge", (lines) => drop(lines, find(lines, "icache_inval"))],
  ["a dropped reference", "max4k.huge", (lines) => drop(lines, find(lines, "put_page", inside, 3))],
  ["a table that was allocated elsewhere", "max4k.huge", (lines) => flip(find(lines, "alloc_table"), "pa", 1n << 20n)],
  ["a table that was never handed over", "max4k.huge", (lines) => drop(lines, find(lines, "free_table_rcu"))],
  ["the size of the root", "max4k.huge", (lines) => flip(find(lines, "pgd_free"), "size", 0x1000n)],
  ["VTCR_EL2", "max4k.huge", (lines) => {
    const registers = lines[0]?.["regs"] as unknown as Line;
    flip(registers, "VTCR_EL2", 1n << 21n);
  }],
]; // prettier-ignore

/** A map that lost its exchange on an entry, and the other CPU's that won it: break, visit and call of each. */
function race(lines: Line[]): { winner: Line[]; loser: Line[] } {
  const withOuter = (line: Line): Line[] => {
    const visit = find(lines, "v_map", ({ i }) => i === line["up"]);
    return [line, visit, find(lines, "s2_map", ({ i }) => i === visit["up"])];
  };
  const lost = find(lines, "break_pte", ({ ret, old }) => ret === 0 && old !== MARKER);
  const rival = ({ ret, pte_pa, old, i }: Line): boolean =>
    ret === 1 && pte_pa === lost["pte_pa"] && old === lost["old"] && Number(i) > Number(lost["i"]);
  return { winner: withOuter(find(lines, "break_pte", rival)), loser: withOuter(lost) };
}

const MARKER = "0x400";
const metMarker = (line: Line): boolean => line["old"] === MARKER;

/** The first races, up to a call that nobody can overlap. Only its end is missing. */
function firstRaces(): Line[] {
  const lines = traceLines("max4k.race");
  return lines.slice(
    0,
    lines.findIndex(({ op, i }) => op === "s2_unmap" && Number(i) > 3500),
  );
}

/** What is changed in calls that overlap. */
const RACES: [string, (lines: Line[]) => void][] = [
  ["winner and loser", (lines) => {
    const { winner, loser } = race(lines);
    winner.forEach((line, n) => {
      const other = loser[n] as Line;
      [line["ret"], other["ret"]] = [other["ret"] as number, line["ret"] as number];
    });
  }],
  ["the loser's return code", (lines) => ((race(lines).loser[2] as Line)["ret"] = 0)],
  ["what the loser found", (lines) => ((race(lines).loser[1] as Line)["old"] = MARKER)],
  ["what the loser read back", (lines) => ((race(lines).loser[1] as Line)["new"] = MARKER)],
  ["the table that the loser took", (lines) => {
    const { loser } = race(lines);
    flip(find(lines, "alloc_table", ({ up }) => up === loser[1]?.["i"]), "pa", 1n << 20n);
  }],
  ["a marker that was met", (lines) => (find(lines, "v_map", metMarker, 9)["old"] = "0x0")],
  ["a marker that was read back", (lines) => (find(lines, "v_map", metMarker, 9)["new"] = "0x0")],
]; // prettier-ignore

describe("a changed recording", () => {
  it.each(RACES)("is found out where calls overlap: %s", async (_, change) => {
    const lines = firstRaces();
    change(lines);

    const { code, result } = await replayOne(writeTrace("max4k.race", lines));

    expect(result.differences[0]).toMatch(/^record \d+, s2_map/);
    expect(result.differing).toBeGreaterThan(1);
    expect(code).toBe(1);
  });

  it("differs in nothing but its end if it was only cut", async () => {
    const { result } = await replayOne(writeTrace("max4k.race", firstRaces()));
    expect(result.differences).toEqual([expect.stringMatching(/^at the end, \d+ table pages/)]);
    expect(result.grouped).toBeGreaterThan(20);
  });

  it.each(CHANGES)("is found out: %s (%s)", async (_, name, change) => {
    const lines = traceLines(name);
    change(lines);
    copyDumps(name);

    const { code, result } = await replayOne(writeTrace(name, lines));

    expect(result.differing).toBeGreaterThan(0);
    expect(result.differences.length).toBeGreaterThan(0);
    expect(result.ok).toBe(false);
    expect(code).toBe(1);
  });

  it("leaves pages behind if its end is missing", async () => {
    const lines = traceLines("max4k.huge");
    const end = lines.findIndex(({ op }) => op === "s2_destroy");
    copyDumps("max4k.huge");
    const { code, result } = await replayOne(writeTrace("max4k.huge", lines.slice(0, end)));
    expect(result.differences.at(-1)).toMatch(/^at the end, \d+ table pages/);
    expect(code).toBe(1);
  });
});

describe("a changed dump", () => {
  const replayWith = async (name: string, change: (bytes: Buffer) => void) => {
    copyDumps(name, change);
    return replayOne(writeTrace(name, traceLines(name)));
  };

  /** Offset of the first block (or page) of the first page of the dump. */
  const leafOffset = (bytes: Buffer): number => {
    for (let at = 0; at < 4096; at += 8) if ((bytes.readUInt32LE(at) & 1) === 1) return at;
    throw new Error("no leaf in the first page");
  };

  it("is found out: one word", async () => {
    const { code, result } = await replayWith("max4k.huge", (bytes) => {
      const at = leafOffset(bytes);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 0x80, at);
    });
    expect(result.differences[0]).toMatch(/^dump max4k\.huge\.c0: entry 0x/);
    expect(result.differing).toBe(1);
    expect(code).toBe(1);
  });

  it("is found out: an access flag that is missing", async () => {
    const { code } = await replayWith("max4k.huge", (bytes) => {
      const at = leafOffset(bytes) + 1;
      bytes.writeUInt8(bytes.readUInt8(at) & ~0x04, at);
    });
    expect(code).toBe(1);
  });

  it("is counted if it is not there", async () => {
    const path = writeTrace("max4k.huge", traceLines("max4k.huge"));
    const { code, result } = await replayOne(path);
    expect(result.undecided).toEqual({ "dump-missing": 2 });
    expect(result.checkpoints).toBe(0);
    expect(code).toBe(0);
  });
});
