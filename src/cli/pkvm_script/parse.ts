/** Reads a hypercall script. What cannot be read is refused with file, line and column, and what was expected there. */
import { inputError } from "../../input.ts";
import { readExpression, readSmall } from "./expression.ts";
import { MachineReader } from "./machine_request.ts";
import { isCall, readCall } from "./parse_call.ts";
import { readClaims } from "./parse_claim.ts";
import type { Script, Statement } from "./syntax.ts";
import { Line } from "./words.ts";

const MOST_VCPUS = 512;
const NOTHING = "a statement: a hypercall, note, show, expect, load, or $name = …";

/** A script; `file` is its name in messages. */
export function parseScript(file: string, text: string): Script {
  const machine = new MachineReader();
  const statements: Statement[] = [];
  const names = new Set<string>();
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = new Line(file, index + 1, raw);
    if (line.empty && line.note === undefined) continue;
    if (machine.takes(line)) {
      if (statements.some(({ kind }) => kind !== "note"))
        throw line.error(`expected "${line.peek().text}" before the first statement`);
      machine.read(line);
    } else statements.push(readStatement(line, names));
    line.expectEnd();
  }
  if (statements.length === 0) throw inputError(file, "no statement in this script");
  const { request, line } = machine.finish();
  return { file, machine: request, machineLine: line, statements };
}

function readStatement(line: Line, names: Set<string>): Statement {
  if (line.note !== undefined) return { line, kind: "note", text: line.note };
  const word = line.peek();
  if (word.text === "note") {
    line.take();
    throw line.expected("what there is to note");
  }
  if (word.kind === "name") return readNamed(line, names);
  if (line.takeIf("show")) return { line, kind: "show" };
  if (line.takeIf("expect")) return { line, kind: "expect", claims: readClaims(line, names) };
  if (line.takeIf("load")) return readLoad(line, names);
  if (isCall(word)) return { line, ...readCall(line, names, undefined) };
  if (word.kind !== "word") throw line.expected(NOTHING);
  throw line.expected("a hypercall, note, show, expect or load");
}

/** `$name = …`. The name has its value behind the line. */
function readNamed(line: Line, names: Set<string>): Statement {
  const name = line.take().text;
  line.expectText("=");
  const statement = readValue(line, names, name);
  names.add(name);
  return statement;
}

function readValue(line: Line, names: ReadonlySet<string>, name: string): Statement {
  if (line.takeIf("guest")) return { line, kind: "guest", name, ...readGuest(line) };
  if (isCall(line.peek())) return { line, ...readCall(line, names, name) };
  const value = readExpression(line, names, 'a number, a $name, "guest" or a hypercall');
  return { line, kind: "let", name, value };
}

function readGuest(line: Line): { protectedGuest: boolean; vcpus: number } {
  const protectedGuest = line.takeIf("protected");
  const vcpus = line.takeIf("vcpus") ? readSmall(line, "a number of vCPUs", 1, MOST_VCPUS) : 1;
  return { protectedGuest, vcpus };
}

function readLoad(line: Line, names: ReadonlySet<string>): Statement {
  const handle = readExpression(line, names, "the handle of a VM");
  const index = line.empty ? undefined : readExpression(line, names, "the index of a vCPU");
  return { line, kind: "load", handle, index };
}
