/** The report stands alone, and says what the replay found. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { addressMap, cellCode } from "../../src/replay/address_map.ts";
import { faultHistogram } from "../../src/replay/faults.ts";
import { readTrace } from "../../src/replay/read.ts";
import { replay, scratch, tracePath } from "./support.ts";

interface TraceData {
  name: string;
  time: number[];
  mapped: number[][];
  calls: Record<string, number[]>;
  fullest: { regions: { runs: number[]; cell: number }[] };
}

async function report(...names: string[]): Promise<{ html: string; data: TraceData[] }> {
  const path = `${scratch()}/report.html`;
  await replay("--report", path, ...names.map(tracePath));
  const html = readFileSync(path, "utf8");
  const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)?.[1];
  return { html, data: JSON.parse(json ?? "") as TraceData[] };
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

describe("the report", () => {
  it("loads nothing from anywhere", async () => {
    const { html } = await report("max4k.huge");
    expect(html).not.toMatch(/\b(src|href)\s*=|@import|url\(|fetch\(|import\(/);
    expect(html).toContain("uPlot");
  });

  it("has a row for every trace", async () => {
    const { html, data } = await report("max4k.huge", "max16k.huge");
    expect(data.map(({ name }) => name)).toEqual(["max4k.huge", "max16k.huge"]);
    expect(html.match(/<tr data-trace=/g)).toHaveLength(2);
  });

  it("counts every call, and maps what is mapped at the fullest moment", async () => {
    const { data } = await report("max4k.huge");
    const [trace] = data as [TraceData];
    expect(sum(Object.values(trace.calls).flat())).toBe(106);
    const moments = trace.time.map((_, i) => sum(trace.mapped.map((level) => level[i] as number)));
    const cells = trace.fullest.regions.flatMap(({ runs, cell }) =>
      runs.map((count, i) => (i % 2 === 1 && runs[i - 1] !== 0 ? count * cell : 0)),
    );
    expect(sum(cells)).toBe(Math.max(...moments));
  });
});

describe("the address map", () => {
  const page = { size: 4096, level: 3, prot: 6, accessed: true };
  const code = cellCode({ ...page, ipa: 0 });

  it("joins near leaves in a region and parts far ones", () => {
    const leaves = [0, 4096, 3 * 4096, 2 ** 30].map((ipa) => ({ ...page, ipa }));
    expect(addressMap(leaves, 12)).toEqual([
      { start: 0, cell: 4096, runs: [code, 2, 0, 1, code, 1] },
      { start: 2 ** 30, cell: 4096, runs: [code, 1] },
    ]);
  });

  it("makes cells larger where there are too many", () => {
    const leaves = Array.from({ length: 5 }, (_, i) => ({ ...page, ipa: i * 2 ** 25 }));
    const [region] = addressMap(leaves, 12);
    expect(region?.cell).toBe(8192);
    expect(sum((region?.runs ?? []).filter((_, i) => i % 2 === 1))).toBeLessThanOrEqual(2 ** 15);
  });
});

describe("the faults of a trace", () => {
  it("are counted by page, device accesses apart", () => {
    const found = faultHistogram(readTrace(tracePath("max4k.huge")));
    const pages = sum([...found.pages]);
    expect(pages).toBe(found.touched);
    expect(found.faults).toBeGreaterThan(found.mmio + found.touched - 1);
  });
});
