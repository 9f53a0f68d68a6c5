/** Files and arguments that cannot be used: one line on standard error, exit code 2, nothing else. */
import { mkdirSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { type Line, linesOf, shipped, stage2, temporary, write, writeLines } from "./harness.ts";

async function refusal(...argv: string[]): Promise<string> {
  const { exit, out, err } = await stage2(...argv);
  expect(exit).toBe(2);
  expect(out).toEqual([]);
  expect(err).toHaveLength(1);
  expect(err[0]).not.toMatch(/\n|\bat .*:\d+/);
  return err[0] as string;
}

function changed(change: (lines: Line[]) => void): string {
  const lines = linesOf("s_aging_4k");
  change(lines);
  return writeLines("changed.jsonl", lines);
}

describe("unusable files", () => {
  it("names a file that does not exist", async () => {
    expect(await refusal("conform", temporary("none.gz"))).toContain("none.gz: no such file");
  });

  it("tells truncated gzip data", async () => {
    const bytes = shipped("s_aging_4k");
    const path = write("cut.jsonl.gz", bytes.subarray(0, bytes.length - 40));
    expect(await refusal("conform", path)).toContain("truncated gzip data");
  });

  it("tells corrupt gzip data", async () => {
    const bytes = Buffer.from(shipped("s_aging_4k"));
    bytes.fill(0xff, 200, 260);
    expect(await refusal("conform", write("bad.gz", bytes))).toContain("corrupt gzip data");
  });

  it("tells a wrong checksum", async () => {
    const bytes = Buffer.from(shipped("s_aging_4k"));
    bytes[bytes.length - 6] = (bytes[bytes.length - 6] as number) ^ 1;
    expect(await refusal("conform", write("sum.gz", bytes))).toContain("corrupt gzip data");
  });

  it("tells a file that ends inside a line", async () => {
    const text = linesOf("s_aging_4k")
      .map((line) => JSON.stringify(line))
      .join("\n");
    const message = await refusal("conform", write("half.jsonl", text.slice(0, -20)));
    expect(message).toMatch(/line \d+: not valid JSON/);
  });

  it("tells a hardware vector by its first line, and what is wrong with it", async () => {
    const line = JSON.stringify({ id: 1, cat: "x", regs: { sctlr: "0x0" }, access: {}, mem: [] });
    const path = write("hw.jsonl.gz", gzipSync(`${line}\n`));
    expect(await refusal("conform", path)).toMatch(/hw\.jsonl\.gz: line 1: \S+ is missing$/);
  });

  it("tells page-table steps among hardware vectors, and the other way round", async () => {
    const hardware = gunzipSync(shipped("hw/crafted_hyp")).toString().split("\n")[0] as string;
    const step = JSON.stringify(linesOf("s_aging_4k")[0]);
    const one = write("one.jsonl", `${hardware}\n${step}\n`);
    expect(await refusal("conform", one)).toContain("line 2:");
    const other = write("other.jsonl", `${step}\n${hardware}\n`);
    expect(await refusal("conform", other)).toContain("line 2: not a vector");
  });

  it("refuses binary data and empty files", async () => {
    expect(await refusal("conform", write("binary", new Uint8Array([0xc3, 0x28])))).toContain(
      "not a text file",
    );
    expect(await refusal("conform", write("empty.jsonl", ""))).toContain("an empty file");
  });

  it("refuses a directory without vectors", async () => {
    mkdirSync(temporary("bare"));
    expect(await refusal("conform", temporary("bare"))).toContain("no .jsonl or .jsonl.gz files");
  });
});

const DAMAGE: [string, (lines: Line[]) => void, string][] = [
  ["a missing line", (lines) => void lines.splice(3, 1), "step 4 stands where step 3 belongs"],
  ["an unknown step", (lines) => void (lines[2]!.op["op"] = "fly"), 'unknown step "fly"'],
  ["a missing argument", (lines) => void delete lines[1]!.op["ia"], 'bad argument "ia"'],
  ["a number for an address", (lines) => void (lines[1]!.op["ia"] = 4096), 'bad argument "ia"'],
  ["an unknown granule", (lines) => void (lines[0]!.op["page_shift"] = 13), '"page_shift"'],
  ["a missing result", (lines) => void delete lines[1]!.r["ret"], 'missing result "ret"'],
  ["a late init", (lines) => void (lines[0]!.op = { op: "destroy" }), "is not an init"],
];

describe("damaged vectors", () => {
  it.each(DAMAGE)("tells %s", async (_what, change, message) => {
    expect(await refusal("conform", changed(change))).toContain(message);
  });
});

describe("unusable arguments", () => {
  it.each([
    [["conform"], "no vector file given"],
    [["conform", "--fast", "x"], "Unknown option '--fast'"],
    [["fly"], 'unknown command "fly"'],
    [[], "no command given"],
  ])("refuses %j", async (argv, message) => {
    expect(await refusal(...argv)).toContain(message);
  });
});
