/** Files and arguments that cannot be used: one line on standard error, exit code 2, nothing else. */
import { mkdirSync } from "node:fs";
import { gzipSync } from "node:zlib";
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

const HARDWARE = {
  id: 1,
  cat: "h-perm",
  regs: { tcr: "0x80a5351b" },
  mem: [["0x6f387de0", "0x6bf4f003"]],
  access: { ia: "0xf1311af10", kind: "at_s1e2r", el: 2 },
  expect: { ok: true, pa: "0x58b1af10" },
};

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

  it("refuses hardware vectors by name", async () => {
    const path = write("hw.jsonl.gz", gzipSync(`${JSON.stringify(HARDWARE)}\n`));
    expect(await refusal("conform", path)).toContain(
      "hardware vectors are not part of this version",
    );
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
