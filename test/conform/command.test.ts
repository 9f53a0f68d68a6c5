import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { version } from "../../package.json";
import { VECTORS, linesOf, stage2, writeLines } from "./harness.ts";

const RACES = `${VECTORS}s_races_4k.jsonl.gz`;
const AGING = `${VECTORS}s_aging_4k.jsonl.gz`;

describe("stage2", () => {
  it("explains itself", async () => {
    const { exit, out } = await stage2("--help");
    expect(exit).toBe(0);
    expect(out[0]).toContain("conform [--json] <file-or-dir>");
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
