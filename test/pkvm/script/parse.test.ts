/** Scripts that can be read, and what is said of those that cannot. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { CALLS, callNumbered } from "../../../src/cli/pkvm_script/calls.ts";
import { evaluate } from "../../../src/cli/pkvm_script/expression.ts";
import { parseScript } from "../../../src/cli/pkvm_script/parse.ts";
import { resultName } from "../../../src/cli/pkvm_script/results.ts";
import type { CallStatement, Script } from "../../../src/cli/pkvm_script/syntax.ts";
import { HYPERCALL, NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";

const read = (text: string): Script => parseScript("s.pkvm", text);
const call = (text: string): CallStatement => {
  const statement = read(text).statements.at(-1);
  if (statement?.kind !== "call") throw new Error(`no call: ${statement?.kind}`);
  return statement;
};
const values = (text: string, names: [string, bigint][] = []): bigint[] =>
  call(text).values.map((value) => evaluate(value, new Map(names), 12));

describe("a hypercall script", () => {
  it("knows every hypercall by its name and its number", () => {
    const numbers = [...CALLS.values()].map(({ number }) => number).sort((a, b) => a - b);
    expect(numbers).toEqual(Object.values(HYPERCALL).sort((a, b) => a - b));
    for (const [name, known] of CALLS) {
      expect(HYPERCALL[name.toUpperCase() as keyof typeof HYPERCALL]).toBe(known.number);
      expect(callNumbered(known.number)).toBe(known);
    }
  });

  it("has values: decimal and hexadecimal, units, pages of addresses, names, sums", () => {
    expect(values("share_hyp 0x8_0000")).toEqual([0x80000n]);
    expect(values("pin 1_000 2K")).toEqual([1000n, 2048n]);
    expect(values("share_hyp @0x8000_0000")).toEqual([0x80000n]);
    expect(values("share_hyp @2G + 3 - 1")).toEqual([0x80002n]);
    expect(values("share_hyp 0 - 1")).toEqual([2n ** 64n - 1n]);
    const named = "$vm = guest\n$p = 7\nunshare_guest $vm $p+1 1";
    expect(values(named, [["$vm", 0x1000n], ["$p", 7n]])).toEqual([0x1000n, 8n, 1n]); // prettier-ignore
  });

  it("has protections by letters, in any order", () => {
    const prot = (letters: string): bigint => values(`share_guest 1 2 3 ${letters}`)[3] as bigint;
    expect(["R", "RW", "XR", "rwx", "0x100"].map(prot)).toEqual([4n, 6n, 5n, 7n, 256n]);
  });

  it("has expected results by number, errno and name", () => {
    const expected = (text: string) => call(text).expected?.value;
    expect(expected("vcpu_put -> -EPERM")).toBe(-1);
    expect(expected("vcpu_put -> EBUSY")).toBe(-16);
    expect(expected("vcpu_put -> -EHWPOISON")).toBe(-133);
    expect(expected("vcpu_put -> NOT_SUPPORTED")).toBe(NOT_SUPPORTED);
    expect(expected("vcpu_put")).toBeUndefined();
    expect(call("vcpu_put -> 0x1000").expected?.text).toBe("0x1000");
    expect([0, -1, -133, NOT_SUPPORTED, 0x1000].map(resultName)).toEqual(
      ["0", "-EPERM", "-EHWPOISON", "NOT_SUPPORTED", "0x1000"], // prettier-ignore
    );
  });

  it("says which pages the kernel hands along: as needed, none, these", () => {
    expect(call("donate_guest 1 2").memcache).toBeUndefined();
    expect(call("donate_guest 1 2 with none -> -ENOMEM").memcache).toEqual([]);
    expect(call("donate_guest 1 2 with 3, 4 + 1").memcache).toHaveLength(2);
  });

  it("can name what a call answers, and make calls by number", () => {
    const made = call("$vm = init_vm 0 1 2 3 4 -> 0x1000");
    expect(made).toMatchObject({ name: "$vm", call: { script: "init_vm" } });
    expect(made.values).toHaveLength(5);
    expect(call("hypercall 1 7").call.script).toBe("share_hyp");
    expect(call("hypercall 999 1 2").call.number).toBe(999);
  });

  it("describes its machine first, or leaves it to the defaults", () => {
    const { machine } = read(
      "memory 0x0 1G\nmemory 2G 64K no_map\ngeneration seed\ngranule 64K\npa_bits 44\noption blocks on\noption map_shared_hyp off\nvcpu_put",
    );
    expect(machine).toEqual({
      memory: [
        { pa: 0, size: 2 ** 30, noMap: false },
        { pa: 2 ** 31, size: 65536, noMap: true },
      ],
      generation: "seed",
      granule: "64K",
      paBits: 44,
      options: { blocks: true, mapSharedHyp: false },
    });
    const memory = [{ pa: 0x8000_0000, size: 2 ** 26, noMap: false }];
    const defaults = { generation: "default", granule: "4K", paBits: 40, options: {}, memory };
    expect(read("vcpu_put").machine).toEqual(defaults);
  });

  it("has notes that may say anything, and comments", () => {
    const { statements } = read("# nothing\n\n  note It's # 1: a -> b $c!  \nvcpu_put # really");
    expect(statements.map(({ line, kind }) => [line.number, kind])).toEqual([
      [3, "note"],
      [4, "call"],
    ]);
    expect(statements[0]).toMatchObject({ text: "It's # 1: a -> b $c!" });
  });

  it("has claims about pages, guests, counts and owners", () => {
    const [statement] = read("$g = 1\nexpect host 1 SO, hyp 1 SHARED_BORROWED, guest $g 2 POISON, count 1 0, references 1 + 1 2, owner 1 hyp, owner 1 $g").statements.slice(1); // prettier-ignore
    if (statement?.kind !== "expect") throw new Error("no claims");
    expect(statement.claims.map(({ about }) => about)).toEqual(
      ["host", "hyp", "guest", "count", "references", "owner", "owner"], // prettier-ignore
    );
    expect(statement.claims[0]).toMatchObject({ state: "SHARED_OWNED" });
  });

  it.each(["first_steps", "ownership"])("is what the example %s is", (name) => {
    const path = new URL(`../../../examples/pkvm/${name}.pkvm`, import.meta.url);
    expect(read(readFileSync(fileURLToPath(path), "utf8")).statements.length).toBeGreaterThan(20);
  });
});

/** A script, where it is wrong, and what should be there. */
// prettier-ignore
const UNREADABLE: [string, string, RegExp][] = [
  ["share_hyp foo", "1:11", /expected pfn of "share_hyp pfn", found "foo"/],
  ["share_hyp $p", "1:11", /nothing is named \$p/],
  ["$p = $p", "1:6", /nothing is named \$p/],
  ["share_hyp", "1:10", /expected pfn .*, the line ends/],
  ["\n\n  share_hyp 1 2", "3:15", /expected the end of "share_hyp pfn", found "2"/],
  ["share_hyp 1 ->", "1:15", /expected a result.*, the line ends/],
  ["share_hyp 1 -> EFOO", "1:16", /expected a result, found "EFOO"/],
  ["share_hyp 1 -> -", "1:17", /expected the name of an errno or a number, the line ends/],
  ["share_hyp 1 -> --7", "1:17", /expected the name of an errno or a number, found "-"/],
  ["share_hyp -1", "1:11", /expected pfn of "share_hyp pfn", found "-"/],
  ["share_hyp 1 -> -NOT_SUPPORTED", "1:17", /expected a result/],
  ["$p 1", "1:4", /expected "="/],
  ["$p =", "1:5", /expected a number, a \$name, "guest" or a hypercall, the line ends/],
  ["$p = guest vcpus 513", "1:18", /from 1 to 512, found "513"/],
  ["$p = guest protected now", "1:22", /expected the end of the line, found "now"/],
  ["share_guest 1 2 3 RR", "1:19", /expected a protection/],
  ["share_guest 1 2 3 R with", "1:25", /expected "none" or a pfn/],
  ["share_hyp 1 with none", "1:13", /expected the end of "share_hyp pfn", found "with"/],
  ["expect", "1:7", /expected host, hyp, guest/],
  ["expect host 1 POISON", "1:15", /expected OWNED, SHARED_OWNED, SHARED_BORROWED, NOPAGE, found "POISON"/],
  ["expect host 1 OWNED,", "1:21", /expected host, hyp, guest/],
  ["expect owner 1 me", "1:16", /expected host, hyp, nobody or a handle/],
  ["generation old", "1:12", /expected seed, default, newest, found "old"/],
  ["granule 8K", "1:9", /expected 4K, 16K, 64K/],
  ["pa_bits 64", "1:9", /from 32 to 52/],
  ["option speed on", "1:8", /expected mappings_lock, /],
  ["option blocks maybe", "1:15", /expected on or off, found "maybe"/],
  ["memory 0", "1:9", /expected the size of memory, the line ends/],
  ["memory 0 1M nomap", "1:13", /expected the end of the line, found "nomap"/],
  ["memory 0 0xffff_ffff_ffff_ffff", "1:10", /up to 2\^52/],
  ["vcpu_put\nmemory 0 1M", "2:1", /expected "memory" before the first statement/],
  ["share_hyp 0x1_0000_0000_0000_0000", "1:11", /below 2\^64/],
  ["share_hyp 12Q", "1:11", /expected a word, a number or a \$name, found "1"/],
  ["note", "1:5", /expected what there is to note/],
  ["show all", "1:6", /expected the end of the line, found "all"/],
  ["load", "1:5", /expected the handle of a VM/],
  ["hypercall 4294967296", "1:11", /from 0 to 2147483647/],
  ["SHARE_HYP 1", "1:1", /expected a hypercall, note, show, expect or load/],
  ["-> 0", "1:1", /expected a statement/],
  ["share_hyp 1 § 2", "1:13", /found "§"/],
];

describe("a script that cannot be read", () => {
  it.each(UNREADABLE)("%j is refused at %s", (text, place, message) => {
    expect(() => read(text)).toThrow(`s.pkvm:${place}: `);
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(expect.objectContaining({ code: "BAD_INPUT" }));
  });

  it.each(["", "# only a comment\n", "memory 0 1M\n"])("%j says nothing", (text) => {
    expect(() => read(text)).toThrow(/^s\.pkvm: no statement in this script$/);
  });
});
