/** `stage2 dump`: what it prints, and its exit codes. */
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dumpCommand } from "../../src/cli/dump.ts";
import { run } from "../../src/cli/shared.ts";
import { imagePath } from "./support.ts";

const NAME = "max4k.age.c1";
const IMAGE = imagePath(NAME);
const EXPECT = imagePath(NAME, "expect.jsonl.gz");

/** Runs the command as the tool does. */
async function dump(...argv: string[]) {
  const [out, err]: [string[], string[]] = [[], []];
  const io = {
    out: (text: string) => out.push(text),
    err: (text: string) => err.push(text),
    tty: false,
  };
  const code = await run(dumpCommand, argv, io as never);
  return { code, out: out.join("\n"), err, lines: out.join("\n").split("\n") };
}

describe("stage2 dump", () => {
  it("prints every regime as grouped ranges", async () => {
    const { code, lines } = await dump(IMAGE);
    expect(code).toBe(0);
    const titles = lines.filter((line) => line.startsWith("s2."));
    expect(titles).toHaveLength(1 + Number(lines.some((line) => line.startsWith("s2.cpu1"))));
    expect(lines).toContain("0x0000011000-0x0000012000     4K  L3  rwx normal af   0x0048760000");
    expect(lines).toContain("0x0040000000-0x0040400000     4M  L3  rw- normal af   0x0042779000 …");
  });

  it("prints one regime, and passes its expectations", async () => {
    const { code, lines } = await dump("--regime", "s2.cpu0", "--expect", EXPECT, IMAGE);
    expect(code).toBe(0);
    expect(lines[0]).toBe(
      "s2.cpu0: stage 2, 40-bit input, 4K pages, start level 1, root 0x43aec000, 13 table pages, 2084 leaves",
    );
    expect(lines.at(-1)).toBe("8285 passed, 0 failed");
  });

  it("checks reads through both stages where the guest's stage 1 is on", async () => {
    const [image, expect_] = [
      imagePath("max4k.rand.c0"),
      imagePath("max4k.rand.c0", "expect.jsonl.gz"),
    ];
    const { code, lines } = await dump("--expect", expect_, image);
    expect(code).toBe(0);
    expect(lines.slice(-3)).toEqual([
      "5814 of the passed: host page present, not mapped in stage 2",
      "6828 reads went through both stages",
      "18271 passed, 0 failed",
    ]);
  });

  it("prints one JSON document", async () => {
    const { code, out, err } = await dump("--json", "--expect", EXPECT, IMAGE);
    expect({ code, err }).toEqual({ code: 0, err: [] });
    const document = JSON.parse(out);
    expect(document).toMatchObject({
      image: NAME,
      expectations: { regime: "s2.cpu0", passed: 8285, failed: 0, bothStages: 0, failures: [] },
    });
    expect(document.regimes[0]).toMatchObject({
      regime: "s2.cpu0",
      root: "0x43aec000",
      leafCount: 2084,
    });
    expect(document.regimes[0].ranges[0]).toEqual({
      kind: "leaf",
      start: "0x0000011000",
      end: "0x0000012000",
      level: 3,
      entries: 1,
      pa: "0x0048760000",
      contiguous: true,
      bits: "0x4db",
      text: "rwx normal af",
    });
  });
});

describe("stage2 dump, with files that were tampered with", () => {
  let folder: string;
  let image: string;
  let pages: string;
  let expected: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "stage2-dump-"));
    [image, pages, expected] = ["tables.json", "tables.bin", "expect.jsonl"].map((ending) =>
      join(folder, `${NAME}.${ending}`),
    ) as [string, string, string];
    writeFileSync(image, gunzipSync(readFileSync(IMAGE)));
    writeFileSync(pages, gunzipSync(readFileSync(imagePath(NAME, "tables.bin.gz"))));
    writeFileSync(expected, gunzipSync(readFileSync(EXPECT)));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const edit = (file: string, change: (text: string) => string): void =>
    writeFileSync(file, change(readFileSync(file, "utf8")));

  it("takes plain files as well as compressed ones", async () => {
    expect(await dump("--expect", expected, image)).toMatchObject({ code: 0 });
  });

  it.each([
    ["page", /("k":"p","ipa":"0x40000000","pa":")0x42779000/, "$10x42778000", "found 0x42779000"],
    ["read", /("k":"q","va":"0x40000000","pa":)"0x42779000"/, "$1null", "found 0x42779000"],
    [
      "fault",
      /("k":"q","va":"0x0","pa":)null/,
      '$1"0x40000000"',
      "found translation fault, stage 2",
    ],
  ])("fails on one changed expectation (%s)", async (_kind, from, to, message) => {
    edit(expected, (text) => {
      expect(text).toMatch(from);
      return text.replace(from, to);
    });
    const { code, lines } = await dump("--expect", expected, image);
    expect(code).toBe(1);
    expect(lines.at(-1)).toBe("8284 passed, 1 failed");
    expect(lines.at(-2)).toContain(message);
  });

  it("fails on one leaf with another address", async () => {
    const bytes = readFileSync(pages);
    const leaf = bytes.indexOf(Buffer.from([0xdb, 0x94, 0x77, 0x42])); // the page at IPA 0x40000000
    bytes[leaf + 2]! ^= 0x10;
    writeFileSync(pages, bytes);
    const { code, lines } = await dump("--expect", expected, image);
    expect(code).toBe(1);
    expect(lines.at(-1)).toMatch(/^\d+ passed, [1-9]\d* failed$/);
  });

  it.each<[string, () => string[], RegExp]>([
    ["no image", () => [join(folder, "none.tables.json")], /none\.tables\.json: no such file$/],
    ["no pages", () => (rmSync(pages), [image]), /tables\.bin: no such file, and none with \.gz$/],
    [
      "a truncated .bin",
      () => (truncateSync(pages, 8192), [image]),
      /but the \.bin has 8192 bytes$/,
    ],
    ["truncated JSON", () => (truncateSync(image, 5000), [image]), /tables\.json: not valid JSON$/],
    [
      "no JSON",
      () => (writeFileSync(image, Buffer.from([0xff, 0xfe])), [image]),
      /not a text file/,
    ],
    ["another format", () => [expected], /expect\.jsonl: not a table image/],
    ["a directory", () => [folder], /not a table image/],
    [
      "no regime of that name",
      () => ["--regime", "s2.cpu9", image],
      /no regime s2\.cpu9 \(it has s2\.cpu0/,
    ],
    ["no expectations", () => ["--expect", join(folder, "x"), image], /x: no such file$/],
    [
      "JSON without a header",
      () => (edit(expected, () => '{"k":"q"}\n'), ["--expect", expected, image]),
      /header/,
    ],
    [
      "a cut row",
      () => (truncateSync(expected, 5000), ["--expect", expected, image]),
      /line \d+: not valid JSON$/,
    ],
    [
      "a bad row",
      () => (
        edit(expected, (text) => text.replace('"k":"q"', '"k":"z"')),
        ["--expect", expected, image]
      ),
      /line 2/,
    ],
    [
      "expectations of another image",
      () => ["--expect", imagePath("max4k52.notif.c2", "expect.jsonl.gz"), image],
      /of max4k52/,
    ],
    ["no arguments", () => [], /dump takes one tables\.json/],
    ["two images", () => [image, image], /dump takes one tables\.json/],
    ["an unknown option", () => ["--colour", image], /--colour/],
  ])("refuses %s: one line, exit code 2", async (_what, prepare, message) => {
    const { code, out, err } = await dump(...prepare());
    expect({ code, out, lines: err.length }).toEqual({ code: 2, out: "", lines: 1 });
    expect(err[0]).toMatch(message);
    expect(err[0]).not.toMatch(/\n/);
  });

  it("refuses a gzip file that is truncated or corrupt", async () => {
    const packed = gzipSync(readFileSync(pages));
    rmSync(pages);
    writeFileSync(`${pages}.gz`, packed.subarray(0, packed.length - 100));
    expect((await dump(image)).err[0]).toMatch(/truncated gzip data$/);
    packed[packed.length >> 1]! ^= 0xff;
    writeFileSync(`${pages}.gz`, packed);
    expect((await dump(image)).err[0]).toMatch(/corrupt gzip data$/);
    copyFileSync(image, `${pages}.gz`);
    expect((await dump(image)).code).toBe(2);
  });

  it("refuses expectations about another table", async () => {
    const other = imagePath("a72pkvm.notif.c2");
    const about = imagePath("a72pkvm.notif.c2", "expect.jsonl.gz");
    const { code, err } = await dump("--regime", "s2.cpu0", "--expect", about, other);
    expect(code).toBe(2);
    expect(err[0]).toMatch(/about s2\.cpu1, not about s2\.cpu0/);
  });
});
