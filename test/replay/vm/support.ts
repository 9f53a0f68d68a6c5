/** What the tests of the replay at the level of VMs share. */
import type { VmReplayResult } from "../../../src/replay/vm/result.ts";
import { type Line, replay, writeTrace } from "../support.ts";

/** Runs `stage2 replay --level vm --json` on one trace. */
export async function replayVm(path: string): Promise<{ code: number; result: VmReplayResult }> {
  const { code, out } = await replay("--level", "vm", "--json", path);
  const [result] = JSON.parse(out) as VmReplayResult[];
  if (result === undefined) throw new Error("no result");
  return { code, result };
}

/** The same on changed lines, of which the header does not know how many there were. */
export function replayLines(
  name: string,
  lines: readonly Line[],
): Promise<{ code: number; result: VmReplayResult }> {
  const [header, ...records] = lines;
  return replayVm(writeTrace(name, [{ ...header, events: null }, ...records]));
}

/** The n-th record of an operation (from 0) that `fits`. */
export function find(
  lines: readonly Line[],
  op: string,
  fits: (line: Line) => boolean = () => true,
  n = 0,
): Line {
  const found = lines.filter((line) => line["op"] === op && fits(line))[n];
  if (found === undefined) throw new Error(`no ${op} in this trace`);
  return found;
}

/** Changes bits of a hexadecimal field. */
export function flip(line: Line, field: string, bits: bigint): void {
  line[field] = `0x${(BigInt(line[field] as string) ^ bits).toString(16)}`;
}

/** Takes a record out, with all that lies in it. */
export function drop(lines: Line[], line: Line): void {
  const gone = new Set([line["i"]]);
  for (const each of lines) if (gone.has(each["up"] as number)) gone.add(each["i"]);
  const kept = lines.filter((each) => !gone.has(each["i"]) || each["op"] === "header");
  lines.splice(0, lines.length, ...kept);
}
