/** `stage2 translate`: what it prints, and its exit codes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { run } from "../../src/cli/shared.ts";
import { translateCommand } from "../../src/cli/translate.ts";
import { imagePath } from "../image/support.ts";
import { traceLines, tracePath, writeTrace } from "../replay/support.ts";

const IMAGE = imagePath("max4k.rand.c0"); // a guest with both stages on
const OFF = imagePath("a72nvhe.age.c1"); // one with stage 1 off, whose access flags software keeps

/** Runs the command as the tool does. */
async function translate(...argv: string[]) {
  const [out, err]: [string[], string[]] = [[], []];
  const io = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void err.push(text),
    tty: false,
  };
  const code = await run(translateCommand, argv, io);
  return { code, out: out.join("\n"), err, lines: out.join("\n").split("\n") };
}

describe("stage2 translate, of a table image", () => {
  it("shows every descriptor of both stages, and where it ends", async () => {
    const { code, lines } = await translate(IMAGE, "0x40001230");
    expect(code).toBe(0);
    expect(lines).toEqual([
      "max4k.rand.c0 (CPU 0, both stages): read, VA 0x40001230, EL1",
      "",
      " #  stage   of              descriptor at  holds               which is",
      " 1    2 L1  IPA 0x100000    0x4396a000     0x000000004bb94003  table at PA 0x4bb94000",
      " 2    2 L2  IPA 0x100000    0x4bb94000     0x000000004bb93003  table at PA 0x4bb93000",
      " 3    2 L3  IPA 0x100000    0x4bb93800     0x004000004c17e4db  page of 4K at PA 0x4c17e000, rw-, Normal write-back, whatever stage 1 says, young",
      " 4  1 L0    VA 0x40001230   0x4c17e000     0x0000000000101003  table at IPA 0x101000",
      ...lines.slice(7, 15),
      "13    2 L1  IPA 0x40001230  0x4396a008     0x000000004bb90003  table at PA 0x4bb90000",
      "14    2 L2  IPA 0x40001230  0x4bb90000     0x000000004bb8c003  table at PA 0x4bb8c000",
      "15    2 L3  IPA 0x40001230  0x4bb8c008     0x0000000046a2c4db  page of 4K at PA 0x46a2c000, rwx, Normal write-back, whatever stage 1 says, young",
      "",
      "PA 0x46a2c230",
      "  mapped by  stage 1: 2M at level 2, to IPA 0x40001230; stage 2: 4K at level 3",
      "  allowed    read, write, execute",
      "  memory     Normal write-back, inner shareable",
    ]);
    expect(lines[14]).toBe(
      "12  1 L2    VA 0x40001230   0x4c179000     0x0000000040000701  block of 2M at IPA 0x40000000, rwx/--x, memory type 0, inner shareable, young",
    );
  });

  it("tells a fault of stage 1 in plain words", async () => {
    const { code, lines } = await translate(IMAGE, "0x1000201230");
    expect(code).toBe(1);
    expect(lines.slice(-5)).toEqual([
      expect.stringMatching(/^12 {2}1 L2 {4}VA 0x1000201230 .* 0x0{16} {2}invalid: empty$/),
      "",
      "Fault, taken to EL1: data abort from the same level: translation fault, level 2, read",
      "  ESR_EL1    0x96000006",
      "  FAR_EL1    0x1000201230",
    ]);
  });

  it("tells a fault of stage 2, with the address that failed", async () => {
    const { code, lines } = await translate("--regime", "s2.cpu0", IMAGE, "0x7fff1234");
    expect(code).toBe(1);
    expect(lines[0]).toBe("max4k.rand.c0 (s2.cpu0, stage 2): read, IPA 0x7fff1234, EL1");
    expect(lines.slice(-5)).toEqual([
      expect.stringMatching(
        /^Fault, taken to EL2: data abort from a lower level: translation fault/,
      ),
      expect.stringMatching(/^ {2}ESR_EL2 {4}0x920000/),
      "  FAR_EL2    0x7fff1234",
      "  HPFAR_EL2  0x7fff10",
      "  IPA        0x7fff1234",
    ]);
  });

  it("knows writes, fetches and EL0 apart", async () => {
    const write = await translate("--write", "--regime", "s2.cpu0", OFF, "0x40001000");
    expect(write.code).toBe(0);
    const fetch = await translate("--fetch", "--regime", "s2.cpu0", OFF, "0x40001000");
    expect(fetch.code).toBe(1);
    expect(fetch.out).toContain("instruction abort from a lower level: permission fault, level 3");
    const user = await translate("--el", "0", IMAGE, "0x40001230");
    expect(user.code).toBe(1);
    expect(user.out).toMatch(/EL0\n[^]*data abort from a lower level: permission fault, level 2/);
  });

  it("prints one JSON document", async () => {
    const { code, out, err } = await translate("--json", IMAGE, "0x40001230");
    expect({ code, err }).toEqual({ code: 0, err: [] });
    const document = JSON.parse(out);
    expect(document).toMatchObject({
      ...{ source: "max4k.rand.c0", access: "read", el: 1, virtual: true, address: "0x40001230" },
      outcome: { translated: true, pa: "0x46a2c230", ipa: "0x40001230", stage1: { level: 2 } },
    });
    expect(document.steps).toHaveLength(15);
    expect(document.steps[11]).toMatchObject({
      ...{ kind: "read", stage: 1, level: 2, address: "0x40001230", pa: "0x4c179000" },
      ...{ value: "0x40000701", fields: { kind: "block", oa: "0x40000000", size: 2 ** 21 } },
    });
    const fault = await translate("--json", IMAGE, "0x1000201230");
    expect(fault.code).toBe(1);
    expect(JSON.parse(fault.out).outcome).toEqual({
      ...{ translated: false, type: "translation", fsc: 6, level: 2, stage: 1, s1ptw: false },
      ...{ write: false, fetch: false, el: 1, esr: "0x96000006", far: "0x1000201230" },
      ...{ hpfar: "0x0", text: expect.stringContaining("translation fault, level 2") },
    });
  });

  it("agrees with every expectation of a guest with both stages on, one by one", async () => {
    const rows = gunzipSync(readFileSync(imagePath("max4k.rand.c0", "expect.jsonl.gz")))
      .toString()
      .split("\n")
      .filter((line) => line.includes('"k":"q"'))
      .map((line) => JSON.parse(line) as { va: string; pa: string | null })
      .filter((_, i) => i % 500 === 0);
    for (const { va, pa } of rows) {
      const { code, out } = await translate("--json", IMAGE, va);
      expect({ va, code }).toEqual({ va, code: pa === null ? 1 : 0 });
      if (pa !== null) expect(JSON.parse(out).outcome.pa).toBe(pa);
    }
    expect(rows.length).toBeGreaterThan(10);
  });
});

describe("stage2 translate, with an image that was changed", () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "stage2-translate-"))));
  afterEach(() => rmSync(folder, { recursive: true }));

  /** A copy with one word of a page changed, or the JSON. */
  function changed(at: number, value: bigint, edit = (text: string) => text): string {
    const path = join(folder, "copy.tables.json");
    const text = gunzipSync(readFileSync(IMAGE)).toString();
    const bytes = gunzipSync(readFileSync(imagePath("max4k.rand.c0", "tables.bin.gz")));
    const pages = (JSON.parse(text) as { pages: { pa: string; offset: number }[] }).pages;
    const page = pages.find(({ pa }) => Number(pa) === at - (at % 4096))!;
    bytes.writeBigUInt64LE(value, page.offset + (at % 4096));
    writeFileSync(path, edit(text));
    writeFileSync(join(folder, "copy.tables.bin"), bytes);
    return path;
  }

  it("shows another descriptor, and what comes of it", async () => {
    const leaf = 0x4bb8_c008;
    const same = await translate(changed(leaf, 0x46a2_c4dbn), "0x40001230");
    expect(same).toMatchObject({ code: 0, out: (await translate(IMAGE, "0x40001230")).out });
    expect(await translate(changed(leaf, 0n), "0x40001230")).toMatchObject({ code: 1 });
    const moved = await translate(changed(leaf, 0x46a2_d4dbn), "0x40001230");
    expect(moved).toMatchObject({ code: 0, out: expect.stringContaining("PA 0x46a2d230") });
  });

  it("shows hardware setting an access flag", async () => {
    const { code, lines } = await translate(changed(0x4bb8_c008, 0x46a2_c0dbn), "0x40001230");
    expect(lines.filter((line) => / 2 L3 {2}IPA 0x40001230 /.test(line))).toEqual([
      expect.stringMatching(/0x0000000046a2c0db {2}page .* old \(access flag clear\)$/),
      expect.stringMatching(/0x0000000046a2c4db {2}updated by hardware: page .* young$/),
    ]);
    expect(code).toBe(0);
  });

  it("says when a walk leaves the dumped pages", async () => {
    const { code, out } = await translate(changed(0x4bb9_0000, 0x4bb8_b003n), "0x40001230");
    expect(out).toMatch(/ 2 L3 .* not in the dump, reads as: invalid: empty/);
    expect(code).toBe(1);
  });

  it("follows the registers: stage 1 off", async () => {
    const off = (text: string): string =>
      text.replaceAll(/("SCTLR_EL1": ?")0x\w+"/g, '$10xc50078"');
    const { out } = await translate(changed(0x4bb8_c008, 0x46a2_c4dbn, off), "0x40001230");
    expect(out).toMatch(/\(CPU 0, stage 2\): read, IPA 0x40001230, EL1/);
  });
});

const TRACE = tracePath("max4k.dirty");

describe("stage2 translate, of a replayed trace", () => {
  it("walks the table as it is in the end", async () => {
    const { code, lines } = await translate("--trace", TRACE, "0x40001230");
    expect(code).toBe(0);
    expect(lines.slice(0, 7)).toEqual([
      "max4k.dirty (page table 0x43adc000 after record 50957 (s2_map)): read, IPA 0x40001230, EL1",
      "",
      "#  stage  of              descriptor at  holds               which is",
      "1  2 L1   IPA 0x40001230  0x43adc008     0x000000004bbc9003  table at PA 0x4bbc9000",
      "2  2 L2   IPA 0x40001230  0x4bbc9000     0x000000004bbc8003  table at PA 0x4bbc8000",
      "3  2 L3   IPA 0x40001230  0x4bbc8008     0x004000004c78c45b  page of 4K at PA 0x4c78c000, r--, Normal write-back, whatever stage 1 says, young",
      "",
    ]);
  });

  it("or as it was after a record", async () => {
    const early = await translate("--trace", TRACE, "--at", "30", "0x40001230");
    expect(early).toMatchObject({ code: 1, out: expect.stringContaining("translation fault") });
    expect(early.lines[0]).toMatch(/after record (\d|[12]\d|30) \(s2_\w+\)/);
    const write = await translate("--trace", TRACE, "--write", "0x40001230");
    expect(write).toMatchObject({
      code: 1,
      out: expect.stringContaining("permission fault, level 3"),
    });
  });

  it("takes back what hardware set, so that the replay goes on as recorded", async () => {
    // Record 4750 found the page young and made it old, record 4758 found it old.
    const { code, out } = await translate(
      "--trace",
      tracePath("max16k.age"),
      "--at",
      "4750",
      "0x4020c000",
    );
    expect(out).toMatch(/updated by hardware: page of 16K .*, young/);
    expect(code).toBe(0);
  });

  it("refuses a trace whose replay differs: the table would be another", async () => {
    const lines = traceLines("max16k.age");
    const aged = lines.find((line) => line["i"] === 4758)!;
    aged["ret"] = 1;
    const path = writeTrace("max16k.age", lines);
    const { code, err } = await translate("--trace", path, "0x4020c000");
    expect(code).toBe(2);
    expect(err[0]).toMatch(/the replay differs: record 4758, s2_test_clear_young/);
  });

  it("asks which table, where there are several", async () => {
    const several = tracePath("n1st.st4-memslot_modification_stress_test");
    const { code, err, out } = await translate("--trace", several, "--at", "100000000", "0x0");
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err[0]).toMatch(/no page table exists at that time|choose one with --table/);
  });
});

describe("stage2 translate refuses", () => {
  it.each<[string, string[], RegExp]>([
    ["no arguments", [], /translate takes a tables\.json and an address/],
    ["no address", [IMAGE], /translate takes a tables\.json and an address/],
    ["a third word", [IMAGE, "0x0", "0x0"], /translate takes a tables\.json and an address/],
    ["what is no address", [IMAGE, "0xg"], /"0xg" is no address/],
    ["65 bits", [IMAGE, "0x10000000000000000"], /is no address/],
    ["two kinds of access", ["--write", "--fetch", IMAGE, "0x0"], /--write or --fetch, not both/],
    ["an unknown level", ["--el", "3", IMAGE, "0x0"], /--el takes a number up to 2/],
    ["a level that the guest has not", ["--el", "2", IMAGE, "0x0"], /does not translate for EL2/],
    ["an unknown option", ["--colour", IMAGE, "0x0"], /--colour/],
    ["a regime that is not there", ["--regime", "s2.cpu9", IMAGE, "0x0"], /no regime s2\.cpu9/],
    ["an image that is not there", ["none.tables.json", "0x0"], /none\.tables\.json: no such file/],
    ["a file that is no image", [TRACE, "0x0"], /not a table image/],
    ["registers that are not there", [imagePath("max16k.stage1"), "0x0"], /name a regime/],
    ["--at with an image", ["--at", "3", IMAGE, "0x0"], /--at goes with --trace/],
    ["--table with an image", ["--table", "3", IMAGE, "0x0"], /--table goes with --trace/],
    ["a regime with a trace", ["--regime", "s2.cpu0", "--trace", TRACE, "0x0"], /has no regimes/],
    ["a trace without an address", ["--trace", TRACE], /one address with --trace/],
    ["a trace that is none", ["--trace", IMAGE, "0x0"], /not a recorded trace/],
    [
      "a record before the first call",
      ["--trace", TRACE, "--at", "0", "0x0"],
      /no call has been made/,
    ],
    ["a record that is no number", ["--trace", TRACE, "--at", "x", "0x0"], /--at takes a number/],
    [
      "a table that is not there",
      ["--trace", TRACE, "--table", "0x1000", "0x0"],
      /none of them is/,
    ],
  ])("%s: one line, exit code 2", async (_what, argv, message) => {
    const { code, out, err } = await translate(...argv);
    expect({ code, out, lines: err.length }).toEqual({ code: 2, out: "", lines: 1 });
    expect(err[0]).toMatch(message);
  });
});
