/**
 * A translation as text, one line for each descriptor. Stage 2 is set in: it serves the line of stage 1 below it.
 *
 *     max4k.rand.c0 (CPU 0, both stages): read, VA 0x10001230, EL1
 *
 *      #  stage   of              descriptor at  holds               which is
 *      1    2 L1  IPA 0x100000    0x4396a000     0x0000000044a03003  table at PA 0x44a03000
 *      …
 *      4  1 L0    VA 0x10001230   0x4c17e000     0x0000000000101003  table at IPA 0x101000
 *
 *     PA 0x4c181230
 */
import { describeSyndrome } from "../syndrome.ts";
import { humanSize } from "../dump.ts";
import { Fault } from "../fault.ts";
import type { Probe, ProbedStage } from "../vcpu.ts";
import { type StepDocument, type WalkDocument, outputSpace } from "./document.ts";
import { descriptorWords, hex } from "./words.ts";

/** All of it, without a line end. */
export function walkText(document: WalkDocument): string {
  const { outcome } = document;
  const end =
    outcome instanceof Fault ? faultLines(outcome, document.takenTo) : probeLines(outcome);
  return [titleOf(document), "", ...stepLines(document), "", ...end].join("\n");
}

function titleOf({ access, virtual, address, el, machine, source }: WalkDocument): string {
  const what = `${access}, ${virtual ? "VA" : "IPA"} ${hex(address)}, EL${el}`;
  return `${source} (${machine}): ${what}`;
}

const HEAD = ["#", "stage", "of", "descriptor at", "holds", "which is"];

function stepLines(document: WalkDocument): string[] {
  const { steps, virtual } = document;
  if (steps.length === 0) return ["No descriptor was fetched."];
  const digits = Math.max(...steps.map(({ pa }) => pa.toString(16).length));
  const rows = steps.map((step, i) => [
    `${i + 1}`,
    `${step.stage === 2 && virtual ? "  " : ""}${step.stage} L${step.level}`,
    `${step.stage === 1 && virtual ? "VA" : "IPA"} ${hex(step.address)}`,
    hex(step.pa, digits),
    hex(step.value, 16),
    meaning(step, outputSpace(document, step.stage)),
  ]);
  return table([HEAD, ...rows]);
}

function meaning({ kind, fields, unknown }: StepDocument, space: "IPA" | "PA"): string {
  const words = descriptorWords(fields, space);
  if (unknown) return `not in the dump, reads as: ${words}`;
  return kind === "update" ? `updated by hardware: ${words}` : words;
}

/** Columns to the left, but the first. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = HEAD.map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length)));
  const cell = (text: string, i: number): string =>
    i === 0 ? text.padStart(widths[i] as number) : text.padEnd(widths[i] as number);
  return rows.map((row) => row.map(cell).join("  ").trimEnd());
}

function probeLines({ pa, ipa, allowed, memory, sh, stage1, stage2 }: Probe): string[] {
  const rights = Object.entries(allowed).filter(([, may]) => may);
  return [
    `PA ${hex(pa)}`,
    `  mapped by  ${mappedBy(ipa, stage1, stage2)}`,
    `  allowed    ${rights.map(([name]) => name).join(", ")}`,
    `  memory     ${memory}${SHAREABILITY[sh as keyof typeof SHAREABILITY]}`,
  ];
}

const SHAREABILITY = {
  0: "",
  1: ", reserved shareability",
  2: ", outer shareable",
  3: ", inner shareable",
} as const;

function mappedBy(ipa: number, one?: ProbedStage, two?: ProbedStage): string {
  const leaf = ({ size, level }: ProbedStage): string => `${humanSize(size)} at level ${level}`;
  const parts = [];
  const between = two === undefined ? "" : `, to IPA ${hex(ipa)}`;
  if (one !== undefined) parts.push(`stage 1: ${leaf(one)}${between}`);
  if (two !== undefined) parts.push(`stage 2: ${leaf(two)}`);
  return parts.length === 0 ? "nothing: both stages are off" : parts.join("; ");
}

function faultLines(fault: Fault, el: number | undefined): string[] {
  const { esr, far, hpfar, stage } = fault;
  return [
    `Fault, taken to EL${el}: ${describeSyndrome(esr)}`,
    `  ESR_EL${el}    ${hex(esr)}`,
    `  FAR_EL${el}    ${hex(far)}`,
    ...(fault.el === 2 && stage === 2 ? [`  HPFAR_EL2  ${hex(hpfar)}`] : []),
    ...(fault.ipa === undefined ? [] : [`  IPA        ${hex(fault.ipa)}`]),
  ];
}
