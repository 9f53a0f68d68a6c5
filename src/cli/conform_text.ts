/** What `stage2 conform` prints about a file: where it first differs, and what it did where two answers are right. */
import type { FileReport } from "../conform/replay.ts";
import type { HardwareReport } from "../hw/replay.ts";

/** One line about a file that differs. */
export function describe(report: FileReport | HardwareReport): string {
  const { file, failed, passed, first } = report;
  if (first === undefined) return `${file}: holds`;
  const [where, what] =
    "step" in first
      ? [`step ${first.step} (${first.op}, ${first.run})`, "steps"]
      : [`vector ${first.id} (${first.category}, ${first.kind}, ${first.run})`, "vectors"];
  const values = `expected ${show(first.expected)}, got ${show(first.actual)}`;
  return `${file}: ${where}: ${first.field}: ${values}; ${failed} of ${failed + passed} ${what} differ`;
}

/** Which of two answers the vectors gave that have a choice, in sum; `each`: and by themselves. */
export function choiceLines({ file, choices }: HardwareReport, each: boolean): string[] {
  if (choices.length === 0) return [];
  const arch = choices.filter(({ matched }) => matched === "arch").length;
  const counts = `${choices.length - arch} gave "expect", ${arch} gave "arch"`;
  const lines = choices.map(
    ({ id, category, notes, matched }) =>
      `  vector ${id} (${category}) gave "${matched}": ${notes.join(", ")}`,
  );
  return [
    `${file}: ${choices.length} vectors may give either answer: ${counts}`,
    ...(each ? lines : []),
  ];
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  return typeof value === "bigint" ? `0x${value.toString(16)}` : JSON.stringify(value);
}
