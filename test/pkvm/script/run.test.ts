/** Scripts that are run: results, states before and after, expectations, exit codes. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { example, exampleText, pkvm, runJson, stepAt, write } from "./support.ts";

const PAGE = "$page = @0x8010_0000\n$gfn = @0x4000_0000\n";

describe("stage2 pkvm --script", () => {
  it("runs the whole life of a page, row by row (9.1 to 9.30)", async () => {
    const { code, out, err } = await pkvm("--script", example("ownership"));
    expect(err).toBe("");
    expect(out).toMatch(/^94 hypercalls; all 154 expectations hold\.$/m);
    expect(code).toBe(0);
    for (let row = 0; row <= 30; row++) expect(out).toContain(`\n${row}. `);
  });

  it("finds every change of a result in that script", async () => {
    const lines = exampleText("ownership").split("\n");
    const numbered = lines.flatMap((line, i) => (/^\w.* -> /.test(line) ? [i] : []));
    expect(numbered.length).toBeGreaterThan(80);
    for (const i of numbered.filter((_, n) => n % 8 === 0)) {
      const changed = lines.with(i, (lines[i] as string).replace(/-> .*/, "-> -EIO"));
      const { code, result } = await runJson(changed.join("\n"));
      expect({ code, differing: result.differing }).toEqual({ code: 1, differing: 1 });
      expect(stepAt(result, i + 1).checks[0]?.ok).toBe(false);
    }
  });

  it("runs the first steps, after which the host has everything again", async () => {
    const { code, result } = await runJson(exampleText("first_steps"));
    expect(code).toBe(0);
    expect(result.ownership.guests).toEqual([]);
    expect(result.ownership.runs).toHaveLength(1);
    expect(result.ownership.runs[0]).toMatchObject({ host: "OWNED", hyp: "NOPAGE", owner: "host" });
  });

  it("is what the READMEs show", async () => {
    const read = (path: string) =>
      readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
    const script = /^generation newest[^]*?(?=^```)/m.exec(read("README.md"))?.[0] ?? "";
    expect((await runJson(script)).result).toMatchObject({ calls: 6, held: 5, differing: 0 });
    const shown = /^The same page at a second address[^]*?(?=^```)/m.exec(
      read("examples/README.md"),
    );
    expect((await pkvm("--script", example("first_steps"))).out).toContain(shown?.[0]);
  });

  it("tells what a call did to the page that it was about", async () => {
    const { result } = await runJson(`${PAGE}share_hyp $page\nshare_hyp $page\n`);
    const [shared, refused] = [stepAt(result, 3), stepAt(result, 4)];
    expect(shared.calls).toEqual([{ call: "share_hyp pfn 0x80100", result: 0, resultName: "0" }]);
    const owned = { host: "OWNED", hyp: "NOPAGE", count: 0, references: 0, guests: [] };
    const lent = { ...owned, host: "SHARED_OWNED", hyp: "SHARED_BORROWED" };
    expect(shared.pages).toEqual([
      { pa: 0x8010_0000, size: 4096, before: owned, after: lent, changed: true },
    ]);
    expect(refused.calls[0]?.resultName).toBe("-EPERM");
    expect(refused.pages).toEqual([
      { pa: 0x8010_0000, size: 4096, before: lent, after: lent, changed: false },
    ]);
  });

  it("tells of guests, and of pages that were not named: those of tables", async () => {
    const { result } = await runJson(`${PAGE}$vm = guest\nshare_guest $page $gfn 1 RX\n`);
    const step = stepAt(result, 4);
    const after = {
      state: "SHARED_BORROWED",
      pa: 0x8010_0000,
      size: 4096,
      rights: "r-x",
      accessed: true,
    };
    expect(step.guests).toEqual([
      { handle: 0x1000, gfn: 0x40000, before: { state: "NOPAGE" }, after },
    ]); // prettier-ignore
    const admitted = step.pages.filter(({ after: { hyp } }) => hyp === "OWNED");
    expect(admitted.reduce((sum, { size }) => sum + size, 0)).toBe(3 * 4096);
    expect(step.pages[0]?.after).toMatchObject({ host: "SHARED_OWNED", count: 1, guests: [{ handle: 0x1000, leaves: 1 }] }); // prettier-ignore
  });

  it("joins the pages of a block, in one line", async () => {
    const script =
      "$vm = guest\nshare_guest @0x8020_0000 @0x4020_0000 512 RW -> 0\nunshare_guest $vm @0x4020_0000 1 -> -E2BIG\nunshare_guest $vm @0x4020_0000 512 -> 0\n";
    const { code, result } = await runJson(script);
    expect(code).toBe(0);
    const [change] = stepAt(result, 2).pages;
    expect(change).toMatchObject({ pa: 0x8020_0000, size: 2 ** 21, changed: true });
    expect(stepAt(result, 3).pages).toMatchObject([
      { pa: 0x8020_0000, size: 4096, changed: false },
    ]);
    expect(stepAt(result, 4).pages[0]).toMatchObject({ size: 2 ** 21, after: { count: 0 } });
  });

  it("hands pages for tables along as needed, none, or what the script says", async () => {
    const script = `${PAGE}$vm = guest
share_guest $page $gfn 1 RW with none -> -ENOMEM
share_hyp 0x80200 -> 0
share_guest $page $gfn 1 RW with 0x80200, 0x80201 -> -ENOMEM
share_guest $page $gfn 1 RW with 0x80203, 0x80204, 0x80205 -> 0
share_guest $page $gfn + 1 1 RW -> 0
expect owner 0x80205 hyp, owner 0x80200 host`;
    const { code, result } = await runJson(script);
    expect(result.steps.flatMap(({ checks }) => checks).filter(({ ok }) => !ok)).toEqual([]);
    expect(code).toBe(0);
  });

  it("makes VMs, loads their vCPUs, and names what calls answered", async () => {
    const script = `generation newest
$a = guest vcpus 2
$b = guest protected
load $a 1
load $b
$c = reserve_vm -> 0x1002
init_vm $c 1 2 3 1 -> -EPERM
unreserve_vm $c -> 0
vcpu_load $a 0 -> -EINVAL
vcpu_put -> 0
vcpu_put -> -EINVAL
teardown_vm $a -> 0
load $b 1`;
    const { code, result } = await runJson(script);
    const wrong = result.steps.filter(({ checks }) => checks.some(({ ok }) => !ok));
    expect(wrong.map(({ line }) => line)).toEqual([13]); // $b has one vCPU
    expect(wrong[0]?.checks).toEqual([{ expected: "0", found: "-EINVAL", ok: false }]);
    expect(code).toBe(1);
    expect(stepAt(result, 4).calls.map(({ call }) => call)).toEqual(
      ["vcpu_put", "vcpu_load 0x1000 1"], // prettier-ignore
    );
    expect(result.ownership.guests).toMatchObject([{ handle: 0x1001, protected: true }]);
  });

  it("says so when a guest cannot be made", async () => {
    const { code, result } = await runJson("$p = guest protected\nvcpu_load $p 0 -> -EINVAL");
    expect(code).toBe(1);
    const step = stepAt(result, 1);
    expect(step.calls.map(({ resultName }) => resultName)).toEqual(["0", "-EINVAL"]);
    expect(step.checks).toEqual([{ expected: "a guest", found: "-EINVAL", ok: false }]);
  });

  it("takes any word for an argument, and memory that is none", async () => {
    const script = `share_hyp 0xffff_ffff_ffff_ffff -> -EINVAL
pin 0x80000 0xffff_ffff_ffff_ffff -> -EINVAL
unshare_guest 0xffff_ffff_ffff_ffff 0 1 -> -EINVAL
share_hyp 0x1_0000_0000 -> -EINVAL
share_hyp 0 -> -EPERM
hypercall 1000 1 2 3 4 5 6 7 8 -> NOT_SUPPORTED
expect host 0 NOPAGE`;
    const { code, result } = await runJson(script);
    const wrong = result.steps.flatMap(({ checks }) => checks).filter(({ ok }) => !ok);
    expect(wrong).toEqual([{ expected: "host 0 NOPAGE", found: "no memory", ok: false }]);
    expect(code).toBe(1);
  });

  it("compares results with numbers, negative ones too", async () => {
    const script = `share_hyp 0x80000 -> -0
share_hyp 0x80000 -> -1
share_hyp 0x80000 -> -EPERM
share_hyp 0x80000 -> 0xffff_ffff_ffff_ffff
$one = 1
share_hyp 0x80000 -> -$one
share_hyp 0x80000 -> 20 - 21
share_hyp 0x80000 -> -22
hypercall 1000 -> -0x8000_0000`;
    const { result } = await runJson(script);
    const checks = result.steps.flatMap(({ checks: each }) => each);
    expect(checks.filter(({ ok }) => !ok)).toEqual([
      { expected: "-22", found: "-EPERM", ok: false },
    ]);
    expect(checks.map(({ expected }) => expected)).toEqual(
      ["-0", "-1", "-EPERM", "0xffff_ffff_ffff_ffff", "-$one", "20 - 21", "-22", "-0x8000_0000"], // prettier-ignore
    );
  });

  it.each([
    ["share_hyp 0x80000", "1 hypercall; nothing was expected."],
    ["share_hyp 0x80000 -> 0", "1 hypercall; the 1 expectation holds."],
    ["share_hyp 0x80000 -> -EPERM", "1 hypercall; 1 of 1 expectation differs."],
    ["share_hyp 0x80000 -> 0\nvcpu_put -> -EINVAL", "2 hypercalls; all 2 expectations hold."],
    ["share_hyp 0x80000 -> 0\nvcpu_put -> 0", "2 hypercalls; 1 of 2 expectations differs."],
  ])("sums %j up", async (text, verdict) => {
    const { out } = await pkvm("--script", write(text));
    expect(out.split("\n").at(-1)).toBe(verdict);
  });

  it.each([
    "memory 0x4000_0000 64M",
    "memory 0x4000_0000 1G\nmemory 0x1000_0000 512M no_map",
    "memory 0 4G",
    "memory 0x8_0000_0000 32G\npa_bits 36\nmemory 0x1000_0000 31G",
  ])("has memory wherever the script says: %j", async (machine) => {
    const { code, result } = await runJson(`${machine}\n$vm = guest`);
    expect(code).toBe(0);
    expect(result.ownership.guests).toHaveLength(1);
  });

  it("shows who owns what at any point", async () => {
    const script = `${PAGE}show\nshare_hyp $page\nshow\nunshare_hyp $page`;
    const { result } = await runJson(script);
    const runs = (line: number) => stepAt(result, line).ownership?.runs.length;
    expect([runs(3), runs(5), result.ownership.runs.length]).toEqual([1, 3, 1]);
    const { out } = await pkvm("--script", write(script));
    expect(out.match(/physical memory/g)).toHaveLength(3);
  });

  it("has the machine that the script asks for", async () => {
    const script = `memory 0x8000_0000 64M
memory 0x9000_0000 64K no_map
generation seed
granule 16K
pa_bits 36
share_hyp @0x9000_0000 -> -EPERM
share_hyp @0x8000_4000 -> 0
expect host @0x8000_4000 SO, host @0x8000_8000 OWNED`;
    const { code, result } = await runJson(script);
    expect(code).toBe(0);
    expect(result.ownership.pageSize).toBe(16384);
    expect(result.ownership.regions).toEqual([
      { pa: 0x8000_0000, size: 2 ** 26, noMap: false },
      { pa: 0x9000_0000, size: 65536, noMap: true },
    ]);
    expect(result.ownership.runs.map(({ size }) => size)).toEqual([16384, 16384, 2 ** 26 - 32768, 65536]); // prettier-ignore
  });

  it("prints what was expected and what was found, with exit code 1", async () => {
    const script = write(
      `${PAGE}share_hyp $page -> -EBUSY\nexpect host $page OWNED, count $page 0\n`,
    );
    const { code, out } = await pkvm("--script", script);
    expect(code).toBe(1);
    expect(out).toMatch(/^ {4}3 {3}share_hyp \$page +0$/m);
    expect(out).toMatch(/!! +expected -EBUSY, found 0$/m);
    expect(out).toMatch(/!! +expected host \$page OWNED, found SHARED_OWNED$/m);
    expect(out).toContain(
      "0x8010_0000 4 KiB   host OWNED → SHARED_OWNED, hyp NOPAGE → SHARED_BORROWED",
    );
    expect(out).toMatch(/^1 hypercall; 2 of 3 expectations differ\.$/m);
  });
});

describe("stage2 pkvm refuses", () => {
  it.each([
    ["no script", [], /pkvm takes one script/],
    ["a file beside the script", ["--script", "a", "b"], /pkvm takes one script/],
    ["an unknown option", ["--fast"], /--fast/],
    ["a file that does not exist", ["--script", "/nowhere.pkvm"], /\/nowhere\.pkvm: no such file/],
  ])("%s", async (_, argv, message) => {
    const { code, out, err } = await pkvm(...argv);
    expect(err).toMatch(message);
    expect({ code, out, lines: err.split("\n").length }).toEqual({ code: 2, out: "", lines: 1 });
  });

  it("a script that cannot be read, at its line and column", async () => {
    const path = write("vcpu_put\nshare_hyp one\n");
    const { code, out, err } = await pkvm("--script", path, "--json");
    expect(err).toBe(`stage2: ${path}:2:11: expected pfn of "share_hyp pfn", found "one"`);
    expect({ code, out }).toEqual({ code: 2, out: "" });
  });

  it.each([
    [
      "memory 0x8000_0000 1M\nmemory 0x8008_0000 1M",
      /:2:1: no such machine: regions of memory overlap/,
    ],
    ["memory 0x8000_0000 1000", /:1:1: no such machine: .*whole pages/],
    ["memory 0x8000_0000 64T\npa_bits 48", /:2:1: no such machine: /],
  ])("the machine %j", async (text, message) => {
    const { code, err } = await pkvm("--script", write(`${text}\nvcpu_put`));
    expect(err).toMatch(message);
    expect({ code, lines: err.split("\n").length }).toEqual({ code: 2, lines: 1 });
  });

  it("a machine without pages for a guest", async () => {
    const { code, err } = await pkvm("--script", write("memory 0x8000_0000 8K\n$vm = guest\n"));
    expect(err).toMatch(/test\.pkvm:2:\d+: the host has no memory left to hand out/);
    expect(code).toBe(2);
  });
});
