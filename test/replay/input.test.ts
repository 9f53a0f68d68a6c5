/** Files and arguments that cannot be used: one line that says why, exit code 2, and nothing on standard output. */
import { readFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import {
  type Line,
  copyDumps,
  replay,
  scratch,
  traceLines,
  tracePath,
  writeScratch,
  writeTrace,
} from "./support.ts";

const NAME = "max4k.huge";
const packed = (): Buffer => readFileSync(tracePath(NAME));
const text = (): string => gunzipSync(packed()).toString();

async function refused(...argv: string[]): Promise<string> {
  const { code, out, err } = await replay(...argv);
  expect(err.split("\n")).toHaveLength(1);
  expect(err).not.toMatch(/\bat .*:\d+:\d+/);
  expect(out).toBe("");
  expect(code).toBe(2);
  return err;
}

function changed(change: (lines: Line[]) => void): string {
  const lines = traceLines(NAME);
  change(lines);
  return writeTrace("changed", lines);
}

describe("a trace that cannot be used", () => {
  const file = (content: string | Uint8Array): string =>
    writeScratch("bad.trace.jsonl.gz", content);

  it("is missing", async () => {
    expect(await refused(`${scratch()}/none.trace.jsonl.gz`)).toMatch(/no such file/);
  });
  it("is empty", async () => {
    expect(await refused(file(""))).toMatch(/not a recorded trace/);
  });
  it("ends in the middle of its gzip data", async () => {
    expect(await refused(file(packed().subarray(0, 9000)))).toMatch(/truncated gzip/);
  });
  it("has damaged gzip data", async () => {
    const bytes = Buffer.from(packed());
    bytes.fill(0x55, 4000, 4100);
    expect(await refused(file(bytes))).toMatch(/corrupt gzip/);
  });
  it("ends in the middle of a line", async () => {
    const whole = text();
    expect(await refused(file(gzipSync(whole.slice(0, -40))))).toMatch(/line \d+: not valid JSON/);
  });
  it("has a line that is no JSON", async () => {
    const lines = text().split("\n");
    lines[6] = "{oops}";
    expect(await refused(file(lines.join("\n")))).toMatch(/line 7: not valid JSON/);
  });
  it("has a line that is no record", async () => {
    const lines = text().split("\n");
    lines[6] = "17";
    expect(await refused(file(lines.join("\n")))).toMatch(/line 7: not a record/);
  });
  it("has no header", async () => {
    expect(await refused(file(text().split("\n").slice(1).join("\n")))).toMatch(/no header/);
  });
  it("is JSON of another kind", async () => {
    expect(await refused(file('{"name": "stage2"}\n'))).toMatch(/not a recorded trace/);
  });
  it("is no text", async () => {
    expect(await refused(file(Uint8Array.of(1, 200, 3, 255)))).toMatch(/not a text file/);
  });
  it("is a folder without traces", async () => {
    expect(await refused(scratch())).toMatch(/no .* files in this directory/);
  });

  it.each<[string, (lines: Line[]) => unknown, RegExp]>([
    ["a page size that is none", ([header]) => header && (header["page_size"] = 5000), /page_size/],
    ["a CPU that nothing is known of", ([header]) => {
      Object.assign(header as object, { regs: {}, qemu_cpu: "frobnicator" });
    }, /frobnicator/],
    ["a field that is missing", (lines) => {
      delete lines.find(({ op }) => op === "s2_map")?.["phys"];
    }, /s2_map has no valid "phys"/],
    ["a number that is none", (lines) => {
      Object.assign(lines.find(({ op }) => op === "v_map") as object, { old: "zero" });
    }, /v_map has no valid "old"/],
    ["a record inside one that is not there", (lines) => lines.splice(2, 1), /inside record 1/],
    ["records out of order", (lines) => lines.splice(3, 0, ...lines.splice(9, 1)), /out of order/],
    ["calls of a table that was never made", (lines) => {
      Object.assign(lines.find(({ op }) => op === "s2_map") as object, { pgt: 7 });
    }, /page table 7, which does not exist/],
    ["a root that fits no table", (lines) => {
      Object.assign(lines.find(({ op }) => op === "pgd_alloc") as object, { size: "0x3000" });
    }, /root of 12288 bytes/],
  ])("has %s", async (_, change, message) => {
    expect(await refused(changed(change))).toMatch(message);
  }); // prettier-ignore

  it("has a dump beside it that cannot be read", async () => {
    copyDumps(NAME);
    writeScratch(`${NAME}.c0.tables.bin.gz`, gzipSync("short"));
    const path = writeTrace(NAME, traceLines(NAME));
    expect(await refused(path)).toMatch(/max4k\.huge\.c0\.tables\.json/);
  });
});

describe("arguments that cannot be used", () => {
  it("name no trace", async () => {
    expect(await refused()).toMatch(/no trace given/);
  });
  it("ask for a level that does not exist", async () => {
    expect(await refused("--level", "cpu", tracePath(NAME))).toMatch(/unknown level "cpu"/);
  });
  it("have an unknown option", async () => {
    expect(await refused("--fast", tracePath(NAME))).toMatch(/--fast/);
  });
  it("put the report where nothing can be written", async () => {
    const path = `${scratch()}/none/report.html`;
    expect(await refused("--report", path, tracePath(NAME))).toMatch(/cannot be written/);
  });
});
