/** What a script did, for people who read along: every call, its result, the states of the pages that it was about. */
import { ownershipText } from "../ownership/terminal.ts";
import { address, bytes, counted, hex } from "../ownership/words.ts";
import { factWords, guestWordsOf, pageFacts } from "./change_words.ts";
import type { CallRecord, Check, GuestChange, PageChange, ScriptResult, Step } from "./document.ts";

/** Changes of one statement that are listed. */
const MOST_CHANGES = 16;
const RESULT_COLUMN = 58;
const INDENT = "        ";

/** The whole text. `report`: where the report is. */
export function resultText(result: ScriptResult, report?: string): string {
  const steps = result.steps.map(stepText).filter((text) => text !== "");
  const parts = [...steps, "", ownershipText(result.ownership), "", verdict(result)];
  if (report !== undefined) parts.push(`The report is in ${report}.`);
  return parts.join("\n");
}

function stepText(step: Step): string {
  if (step.kind === "note") return `\n${step.text.replace(/^note\s+/, "")}`;
  const at = String(step.line).padStart(5);
  if (step.ownership !== undefined) return `${at}   show\n${ownershipText(step.ownership)}`;
  if (step.kind === "value") return `${at}   ${step.text}`;
  const lines = step.kind === "expect" ? expectLines(at, step) : callLines(at, step);
  const wrong = step.checks.filter(({ ok }) => !ok).map(differs);
  return [...lines, ...wrong, ...changeLines(step)].join("\n");
}

/** A call as it is written, and what it answered; for statements of several calls each below it. */
function callLines(at: string, { kind, text, calls, checks }: Step): string[] {
  if (kind !== "call")
    return [`${at}   ${text}`, ...calls.map((call) => `${INDENT}${resultLine(call)}`)];
  const [statement] = text.split("->") as [string];
  const mark = checks.length === 0 ? "" : checks.every(({ ok }) => ok) ? "  as expected" : "";
  return [`${at}   ${column(statement.trim())}${calls[0]?.resultName ?? ""}${mark}`];
}

function expectLines(at: string, { text, checks }: Step): string[] {
  return [`${at}   ${column(text)}${checks.every(({ ok }) => ok) ? "holds" : "differs"}`];
}

function resultLine({ call, resultName }: CallRecord): string {
  return `${column(call, RESULT_COLUMN)}${resultName}`;
}

function column(text: string, width = RESULT_COLUMN): string {
  return `${text.padEnd(width)}  `;
}

function differs({ expected, found }: Check): string {
  return `   !!   expected ${expected}, found ${found}`;
}

function changeLines({ pages, guests, calls }: Step): string[] {
  // A statement that makes many calls tells what came of them; one that was refused, what there is.
  const shown = [...guests.map(guestLine), ...pages.map(pageLine)];
  if (calls.length === 0 || shown.length === 0) return [];
  const left = shown.length - MOST_CHANGES;
  const more = left > 0 ? [`${INDENT}and ${left} more`] : [];
  return [...shown.slice(0, MOST_CHANGES), ...more];
}

function pageLine(change: PageChange): string {
  const facts = pageFacts(change).map(factWords).join(", ");
  return `${INDENT}${address(change.pa)} ${bytes(change.size).padEnd(7)} ${facts}`;
}

function guestLine(change: GuestChange): string {
  const { before, after } = guestWordsOf(change);
  const words = before === after ? after : `${before} → ${after}`;
  return `${INDENT}guest ${hex(change.handle)} gfn ${hex(change.gfn)}: ${words}`;
}

function verdict({ calls, held, differing }: ScriptResult): string {
  const made = counted(calls, "hypercall");
  const all = counted(held + differing, "expectation");
  if (differing > 0)
    return `${made}; ${differing} of ${all} ${differing === 1 ? "differs" : "differ"}.`;
  if (held === 0) return `${made}; nothing was expected.`;
  return held === 1 ? `${made}; the 1 expectation holds.` : `${made}; all ${all} hold.`;
}
