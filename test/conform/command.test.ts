import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { version } from "../../package.json";
import { gunzipSync } from "node:zlib";
import { VECTORS, linesOf, shipped, stage2, write, writeLines } from "./harness.ts";

const RACES = `${VECTORS}s_races_4k.jsonl.gz`;
const AGING = `${VECTORS}s_aging_4k.jsonl.gz`;
const RANDOM_HYP = `${VECTORS}hw/random_hyp.jsonl.gz`;

describe("stage2", () => {
  it("explains itself", async () => {
    const { exit, out } = await stage2("--help");
    expect(exit).toBe(0);
    expect(out[0]).toContain("conform [--list-arch] [--json] <file-or-dir>");
    expect((await stage2("--version")).out).toEqual([version]);
  });
});

describe("stage2 conform", () => {
  it("counts the steps of several files", async () => {
    const { exit, out } = await stage2("conform", RACES, AGING);
    const steps = linesOf("s_races_4k").length + linesOf("s_aging_4k").length;
    expect(out).toEqual([`${steps} passed, 0 failed`]);
    expect(exit).toBe(0);
  });

  it("prints one JSON document and nothing else", async () => {
    const lines = linesOf("s_aging_4k");
    lines[1]!.r["ret"] = -11;
    const changed = writeLines("json.jsonl", lines);
    const { exit, out, err } = await stage2("conform", "--json", RACES, changed);
    expect(exit).toBe(1);
    expect(err).toEqual([]);
    expect(out).toHaveLength(1);
    expect(JSON.parse(out[0] as string)).toEqual({
      passed: linesOf("s_races_4k").length + lines.length - 1,
      failed: 1,
      files: [
        { file: RACES, passed: linesOf("s_races_4k").length, failed: 0 },
        {
          file: changed,
          passed: lines.length - 1,
          failed: 1,
          first: { step: 1, op: "map", run: "traced", field: "ret", expected: -11, actual: 0 },
        },
      ],
    });
  });

  it("takes files of both kinds, and tells which of two answers hardware vectors gave", async () => {
    const { exit, out } = await stage2("conform", "--list-arch", AGING, RANDOM_HYP);
    expect(exit).toBe(0);
    expect(out).toEqual([
      `${RANDOM_HYP}: 1 vectors may give either answer: 0 gave "expect", 1 gave "arch"`,
      expect.stringMatching(/^ {2}vector \d+ \(r-hyp\) gave "arch": .*qemu:/),
      `${linesOf("s_aging_4k").length + 300} passed, 0 failed`,
    ]);
  });

  it("counts hardware vectors, each once, and names the first that differs", async () => {
    const lines = gunzipSync(shipped("hw/random_hyp")).toString().trimEnd().split("\n");
    const vectors = lines.map((line) => JSON.parse(line) as { id: number; expect: object });
    const [changed, later] = [vectors[3]!, vectors[200]!];
    Object.assign(changed.expect, { ok: true, pa: "0x1000" });
    Object.assign(later.expect, { ok: true, pa: "0x1000" });
    const path = write("hw.jsonl", vectors.map((vector) => `${JSON.stringify(vector)}\n`).join(""));
    const { exit, out } = await stage2("conform", path);
    expect(exit).toBe(1);
    expect(out[0]).toMatch(
      /hw\.jsonl: vector \d+ \(r-hyp, at_s1e2., access\): ok: expected true, got false; 2 of 300 vectors differ$/,
    );
    expect(out[0]).toContain(`vector ${changed.id} `);
    expect(out.at(-1)).toBe("298 passed, 2 failed");
    const json = await stage2("conform", "--json", path);
    expect(json.exit).toBe(1);
    const [report] = (JSON.parse(json.out[0] as string) as { files: object[] }).files;
    expect(report).toMatchObject({
      ...{ file: path, passed: 298, failed: 2, confirmed: 0 },
      first: { id: changed.id, category: "r-hyp", run: "access", field: "ok" },
      choices: [{ category: "r-hyp", matched: "arch" }],
    });
  });

  it("keeps its exit code when nobody reads on", async () => {
    const program = new URL("../../dist/cli.js", import.meta.url).pathname;
    expect(existsSync(program)).toBe(true);
    const child = spawn(process.execPath, [program, "conform", AGING], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.destroy();
    let errors = "";
    child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
    const [exit] = (await once(child, "close")) as [number];
    expect(errors).toBe("");
    expect(exit).toBe(0);
  });
});
