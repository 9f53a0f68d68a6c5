import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Lines, token } from "../../src/conform/lines.ts";

function reference(lines: readonly string[]): string {
  const text = lines.map((line) => `${line}\n`).join("");
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

function halves(value: bigint): [number, number] {
  return [Number(value >> 32n), Number(value & 0xffff_ffffn)];
}

describe("lines", () => {
  it("writes 64-bit values as their shortest hex, and numbers in decimal", () => {
    const lines = new Lines();
    const anyWidth = fc.tuple(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(63));
    fc.assert(
      fc.property(anyWidth, fc.integer({ min: -1, max: 0xffff_ffff }), ([value, shift], n) => {
        const small = value >> BigInt(shift);
        lines.restart(true);
        lines.hex(...halves(small));
        lines.space();
        lines.decimal(n);
        lines.end();
        expect(lines.list()).toEqual([`0x${small.toString(16)} ${n}`]);
      }),
      { numRuns: 2000 },
    );
  });

  it("digests more than it holds at once, the same with and without keeping the text", () => {
    const expected = Array.from({ length: 20_000 }, (_, i) => `w ${i} 0x${i.toString(16)}`);
    for (const keep of [false, true]) {
      const lines = new Lines();
      lines.restart(keep);
      for (let i = 0; i < expected.length; i++) {
        lines.put(token("w "));
        lines.decimal(i);
        lines.space();
        lines.hex(0, i);
        lines.end();
      }
      expect(lines.count).toBe(expected.length);
      expect(lines.digest()).toBe(reference(expected));
      if (keep) expect(lines.list()).toEqual(expected);
    }
  });

  it("forgets on restart", () => {
    const lines = new Lines();
    lines.put(token("alloc"));
    lines.end();
    lines.restart(false);
    expect(lines.digest()).toBe("e3b0c44298fc1c14"); // SHA-256 of nothing
  });
});
