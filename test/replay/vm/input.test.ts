/** Traces that cannot be used at the level of VMs: one sentence, and exit code 2. */
import { describe, expect, it } from "vitest";
import { type Line, replay, traceLines, tracePath, writeScratch, writeTrace } from "../support.ts";
import { drop, find } from "./support.ts";

const NAME = "max4k.huge";

const CHANGES: [string, RegExp, (lines: Line[]) => void][] = [
  ["a fault without its registers", /abort has no valid "tp_guest_fault"/, (lines) =>
    drop(lines, find(lines, "tp_guest_fault", () => true, 4))],
  ["a syndrome that is no number", /tp_guest_fault has no valid "esr"/, (lines) =>
    (find(lines, "tp_guest_fault", () => true, 4)["esr"] = "high")],
  ["an abort without an answer", /abort has no valid "ret"/, (lines) =>
    delete find(lines, "abort", () => true, 4)["ret"]],
  ["a slot without an address", /slot_commit has no valid "new_hva"/, (lines) =>
    delete find(lines, "slot_commit")["new_hva"]],
  ["a word without a mask", /dirty_masked has no valid "mask"/, (lines) =>
    delete find(lines, "dirty_masked")["mask"]],
  ["slots that are no list", /header\.memslots/, ([header]) => ((header as Line)["memslots"] = 3)],
]; // prettier-ignore

describe("at the level of VMs, stage2 replay refuses", () => {
  it.each(CHANGES)("%s", async (_, message, change) => {
    const lines = traceLines(NAME);
    change(lines);
    const { code, out, err } = await replay("--level", "vm", writeTrace(NAME, lines));
    expect(err).toMatch(message);
    expect(err.split("\n")).toHaveLength(1);
    expect(out).toBe("");
    expect(code).toBe(2);
  });

  it("a report that cannot be written, before the work", async () => {
    const report = writeScratch("file", "");
    const { code, err } = await replay("--level", "vm", "--report", `${report}/r`, tracePath(NAME));
    expect(err).toMatch(/cannot be written/);
    expect(code).toBe(2);
  });
});
