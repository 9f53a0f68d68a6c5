/**
 * The baseline compiler of V8 in Node 20 loses what a function keeps in registers when the function waits on memory, so each
 * wait stands alone: nothing comes after it that needs a local.
 */
import binaryen from "binaryen";
import { describe, expect, it } from "vitest";
import { type Tree, lists, parseTree } from "../../src/instrument/tree.ts";
import { BUILDS, type Build, readBinary } from "./builds.ts";

/** Names of the functions that wait and do something after it; and how many waits there are. */
function waitsOf(binary: Uint8Array): { waits: number; astray: string[] } {
  const module = binaryen.readBinary(binary);
  module.setFeatures(binaryen.Features.All);
  const functions = lists(parseTree(module.emitText())).filter(([kind]) => kind === "func");
  module.dispose();
  const counts = functions.map((body) => [countWaits(body), countWaits(lastOf(body))] as const);
  return {
    waits: counts.reduce((sum, [all]) => sum + all, 0),
    astray: functions.flatMap((body, i) => {
      const [all, last] = counts[i] as readonly [number, number];
      return all === last ? [] : [String(body[1])];
    }),
  };
}

function countWaits(tree: Tree): number {
  if (typeof tree === "string") return 0;
  const own = typeof tree[0] === "string" && /^memory\.atomic\.wait/.test(tree[0]) ? 1 : 0;
  return tree.reduce<number>((sum, part) => sum + countWaits(part), own);
}

/** What a function ends with, if that is a wait whose operands are locals and constants. */
function lastOf(body: readonly Tree[]): Tree {
  const last = lists(body).at(-1) ?? [];
  const isWait = typeof last[0] === "string" && /^memory\.atomic\.wait/.test(last[0]);
  const plain = lists(last).every(([kind]) => kind === "local.get" || kind === "i64.const");
  return isWait && plain ? last : [];
}

describe("waits", () => {
  it.each(["release", "single"] as const)("stand alone in the %s binary", (name) => {
    const { waits, astray } = waitsOf(
      readBinary(BUILDS.find((build) => build.name === name) as Build),
    );
    expect(astray).toEqual([]);
    expect(waits).toBe(2); // 32 and 64 bits
  });

  it("is seen where something comes after it", () => {
    const text = `(module (import "env" "memory" (memory 1 1 shared))
      (func $late (param i32) (result i32) (local $n i32)
        (local.set $n (memory.atomic.wait32 (local.get 0) (i32.const 0) (i64.const 1)))
        (i32.add (local.get 0) (local.get $n))))`;
    const module = binaryen.parseText(text);
    module.setFeatures(binaryen.Features.All);
    expect(waitsOf(module.emitBinary()).astray).toHaveLength(1);
  });
});
