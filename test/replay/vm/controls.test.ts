/** A replay that could not fail would prove nothing: each of these changes to a recording must be found. */
import { describe, expect, it } from "vitest";
import { type Line, traceLines, writeTrace } from "../support.ts";
import { drop, find, flip, replayLines, replayVm } from "./support.ts";

const PAGE = 0x1000n;
/** The slot that huge pages back, behind its first page. */
const BLOCKS = 0x8000_1000;
const succeeded = (line: Line): boolean => line["ret"] === 0;
const inAbort = (line: Line): boolean => line["up"] !== undefined;
const alone = (line: Line): boolean => line["up"] === undefined;

/** The library call of an abort of the vCPU with this result. */
const resumed = (line: Line): boolean => line["op"] === "abort" && line["ret"] === 1;

/** What is changed, in which trace, and how. */
const CHANGES: [string, string, (lines: Line[]) => void][] = [
  ["a return code of map", "max4k.huge", (lines) => (find(lines, "s2_map", succeeded, 20)["ret"] = -11)],
  ["a return code of relax", "max4k.huge", (lines) => (find(lines, "s2_relax_perms")["ret"] = -11)],
  ["a return code of unmap", "max4k.huge", (lines) => (find(lines, "s2_unmap")["ret"] = -22)],
  ["an abort's answer", "max4k.huge", (lines) => (find(lines, "abort", resumed, 9)["ret"] = 0)],
  ["the address of a map", "max4k.huge", (lines) => flip(find(lines, "s2_map", succeeded, 5), "addr", PAGE)],
  ["the size of a block", "max4k.huge", (lines) => {
    find(lines, "s2_map", (line) => line["size"] === "0x200000")["size"] = "0x1000";
  }],
  ["the page of a map that is known", "max4k.huge", (lines) => {
    const inBlock = (line: Line): boolean => succeeded(line) && Number(line["addr"]) > BLOCKS;
    flip(find(lines, "s2_map", inBlock, 3), "phys", PAGE * 64n);
  }],
  ["X in the prot of a map", "max4k.huge", (lines) => flip(find(lines, "s2_map", succeeded, 5), "prot", 1n)],
  ["W in the prot of a write fault", "max4k.huge", (lines) => flip(find(lines, "s2_relax_perms"), "prot", 2n)],
  ["the flags of a map", "max4k.huge", (lines) => flip(find(lines, "s2_map"), "flags", 8n)],
  ["the address of a relax", "max4k.huge", (lines) => flip(find(lines, "s2_relax_perms"), "addr", PAGE)],
  ["where the fault was", "max4k.huge", (lines) => flip(find(lines, "tp_guest_fault", inAbort, 5), "ipa", 1n << 30n)],
  ["what the fault was", "max4k.huge", (lines) => flip(find(lines, "tp_guest_fault", inAbort, 5), "esr", 1n << 26n)],
  ["a dropped map", "max4k.huge", (lines) => drop(lines, find(lines, "s2_map", succeeded, 30))],
  ["a dropped relax", "max4k.huge", (lines) => drop(lines, find(lines, "s2_relax_perms", succeeded, 3))],
  ["a dropped abort with its call", "max4k.huge", (lines) => drop(lines, find(lines, "abort", resumed, 30))],
  ["a dropped unmap", "n1st.st4-memslot_modification_stress_test", (lines) => drop(lines, find(lines, "s2_unmap"))],
  ["a notifier without its call", "a72nvhe.cache", (lines) => {
    for (const op of ["s2_unmap", "unmap_gfn"]) drop(lines, find(lines, op));
  }],
  ["a notifier without an end", "a72nvhe.cache", (lines) => drop(lines, find(lines, "mn_end"))],
  ["the range of a notifier", "a72nvhe.cache", (lines) => flip(find(lines, "s2_unmap"), "size", PAGE)],
  ["a dropped write protection", "max4k.huge", (lines) => drop(lines, find(lines, "s2_wrprotect", alone, 9))],
  ["the range of a write protection", "max4k.huge", (lines) => flip(find(lines, "s2_wrprotect", alone, 3), "size", PAGE)],
  ["a dropped split", "max4k.dirtyman2", (lines) => drop(lines, find(lines, "s2_split"))],
  ["a dropped flush after a log", "max4k.huge", (lines) => drop(lines, find(lines, "tlb_flush_range", alone, 1))],
  ["a flipped dirty bit", "max4k.huge", (lines) => flip(find(lines, "dirty_masked", alone, 3), "mask", 1n << 7n)],
  ["a dropped dirty word", "max4k.huge", (lines) => drop(lines, find(lines, "dirty_masked", alone, 3))],
  ["a count of dirty pages", "max4k.huge", (lines) => {
    const mark = find(lines, "mark", ({ text }) => String(text).startsWith("dirty_count "));
    mark["text"] = String(mark["text"]).replace(/n=(\d+)/, (_, n) => `n=${Number(n) + 1}`);
  }],
  ["the age of a page", "max16k.age", (lines) => {
    find(lines, "s2_test_clear_young", (line) => line["ret"] === 1)["ret"] = 0;
  }],
  ["what an age query answers", "max16k.age", (lines) => {
    find(lines, "mn_clear_young", (line) => line["ret"] === 1)["ret"] = 0;
  }],
  ["a dropped age query", "max16k.age", (lines) => drop(lines, find(lines, "mn_clear_young", ({ ret }) => ret === 1))],
  ["the entry that make-young found", "a72nvhe.age", (lines) => flip(find(lines, "s2_mkyoung"), "ret", 1n << 7n)],
  ["a dropped cache flush", "a72nvhe.cache", (lines) => drop(lines, find(lines, "s2_flush", alone, 1))],
  ["a slot that was logged and is not", "max4k.huge", (lines) => {
    const commit = find(lines, "slot_commit", ({ new_flags }) => new_flags === "0x1");
    commit["new_flags"] = "0x0";
  }],
  ["what a notifier says that it unmaps", "a72nvhe.cache", (lines) => flip(find(lines, "unmap_gfn"), "end", 1n)],
  ["what an age query says that it covers", "max16k.age", (lines) => flip(find(lines, "age_gfn"), "end", 1n)],
  ["the slot of a dirty word", "max4k.huge", (lines) => flip(find(lines, "dirty_masked"), "slot_gfn", 1n)],
  ["the bitmap of a slot", "max4k.huge", (lines) => {
    find(lines, "slot_commit", ({ new_flags }) => new_flags === "0x1")["new_bm"] = "0x0";
  }],
  ["the state of the caches", "a72nvhe.cache", (lines) => {
    const toggle = find(lines, "tp_toggle_cache", ({ text }) => String(text).includes("was off, now on"));
    toggle["text"] = String(toggle["text"]).replace("now on", "now off");
  }],
  ["a fault that was retried for nothing", "max4k.huge", (lines) => (find(lines, "abort", resumed, 9)["retries"] = 3)],
  ["where a slot lies", "max4k.huge", (lines) => flip(find(lines, "slot_commit"), "new_gfn", 1n << 12n)],
  ["a dropped commit of a slot", "max4k.huge", (lines) => drop(lines, find(lines, "slot_commit", () => true, 1))],
  ["the address of a device", "max4k.huge", (lines) => flip(find(lines, "tp_mmio", inAbort), "ipa", 8n)],
  ["the size of a device access", "max4k.huge", (lines) => (find(lines, "tp_mmio", inAbort)["len"] = 2)],
  ["where the host's leaf was looked up", "max4k.huge", (lines) => flip(find(lines, "get_leaf"), "addr", PAGE)],
  ["VTCR_EL2", "max4k.huge", (lines) => {
    const registers = lines[0]?.["regs"] as unknown as Line;
    flip(registers, "VTCR_EL2", 1n << 21n);
  }],
]; // prettier-ignore

describe("a changed recording", () => {
  it.each(CHANGES)("differs: %s (%s)", async (_, name, change) => {
    const lines = traceLines(name);
    change(lines);
    const { code, result } = await replayLines(name, lines);
    expect(result.ok).toBe(false);
    expect(result.differing).toBeGreaterThan(0);
    expect(result.differences.length).toBeGreaterThan(0);
    expect(code).toBe(1);
  });

  it.each(["abort", "mn_start", "tp_mmio", "mark"])(
    "differs from its header: a lost %s",
    async (op) => {
      const lines = traceLines("a72nvhe.cache");
      drop(lines, find(lines, op));
      const { code, result } = await replayVm(writeTrace("a72nvhe.cache", lines));
      expect(result.differences.join()).toMatch(new RegExp(`counts \\d+ records of ${op}`));
      expect(code).toBe(1);
    },
  );
});

/** A fault marks its page after the library call has returned: a log can come between. */
describe("a page that is marked late", () => {
  const NAME = "max4k.race";

  /** The last page of a word was marked after the log, by a fault that returned at `returned`. */
  function changed(returned?: string): Line[] {
    const lines = traceLines(NAME);
    const [fault, word, protection, count] = [113595, 113606, 113607, 114497].map(
      (number) => lines.find(({ i }) => i === number) as Line,
    ) as [Line, Line, Line, Line];
    if (returned !== undefined) fault["t2"] = returned;
    flip(word, "mask", 1n << 59n);
    protection["size"] = "0x3b000";
    count["text"] = "dirty_count slot=1 n=59";
    return lines;
  }

  it("may be missing in the log if its fault had not returned", async () => {
    const { code, result } = await replayLines(NAME, changed("34.637000"));
    expect(result.differences).toEqual([]);
    expect(result.undecided).toMatchObject({ "late-mark": 1 });
    expect(code).toBe(0);
  });

  it("may not be missing if it had", async () => {
    const { code, result } = await replayLines(NAME, changed());
    expect(result.differing).toBeGreaterThan(0);
    expect(result.undecided).not.toHaveProperty("late-mark");
    expect(code).toBe(1);
  });
});
