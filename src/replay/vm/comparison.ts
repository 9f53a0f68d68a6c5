/** Compares what our VM did with what was recorded. */
import { recordedCall } from "./tokens.ts";
import type { LibraryCall } from "./model.ts";
import type { VmTally } from "./result.ts";
import type { TraceRecord } from "../record.ts";

/** Something that happened: its record, where differences are told. */
export interface Told {
  readonly record: TraceRecord;
}

export class Comparison {
  readonly tally: VmTally;

  constructor(tally: VmTally) {
    this.tally = tally;
  }

  differs({ record: { i, op } }: Told, sentence: string): void {
    this.tally.differs(`record ${i}, ${op}: ${sentence}`);
  }

  answer(told: Told, ours: number, theirs: number): void {
    this.tally.answers++;
    if (ours !== theirs) this.differs(told, `answers ${ours}, recorded ${theirs}`);
  }

  /** Library calls, in their order. */
  calls(told: Told, recorded: readonly LibraryCall[], predicted: readonly string[]): void {
    const theirs = recorded.map((call) => recordedCall(call.record));
    this.tally.compared += theirs.filter(isCall).length;
    if (told.record.op !== "abort") this.tally.ranges += predicted.filter(isCall).length;
    for (let i = 0; i < Math.max(theirs.length, predicted.length); i++) {
      if (theirs[i] === predicted[i]) continue;
      const [ours, other] = [predicted[i] ?? "no more calls", theirs[i] ?? "no more calls"];
      return this.differs(told, `predicted "${ours}", recorded "${other}"`);
    }
  }

  /** The calls of a notifier or an age query cover the guest pages that it told of, slot by slot. */
  pages(
    told: Told & {
      readonly pages: readonly [number, number][];
      readonly calls: readonly LibraryCall[];
    },
    pageBytes: number,
  ): void {
    const ranges = told.calls.map(({ record }) => [Number(record.addr), Number(record.size)]);
    let at = 0;
    for (const [start, end] of told.pages) {
      let reached = start * pageBytes;
      for (; ranges[at]?.[0] === reached && reached < end * pageBytes; at++)
        reached += ranges[at]?.[1] as number;
      if (reached !== end * pageBytes)
        return this.differs(told, `its calls do not cover pages ${start} to ${end}`);
    }
    if (at < ranges.length) this.differs(told, "its calls cover more pages than it tells of");
  }
}

function isCall(token: string): boolean {
  return token.startsWith("s2_");
}
