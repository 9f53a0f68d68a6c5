/** Reads a trace and checks it: what comes out has the shape that record.ts describes. */
import { basename } from "node:path";
import { JsonNode } from "../image/json.ts";
import { inputError, parseJson, readText } from "../input.ts";
import { FIELDS, type TraceHeader, type TraceRecord } from "./record.ts";

/** A trace in memory. A record's place in `records` is its line. */
export interface Trace {
  readonly path: string;
  /** The file's name without its endings. */
  readonly name: string;
  readonly header: TraceHeader;
  readonly records: readonly TraceRecord[];
}

const TRACE_NAME = /\.trace\.jsonl(\.gz)?$/;

const HEX = /^0x[0-9a-f]{1,16}$/;
const LEADING_ZEROS = /^0x0+(?=[0-9a-f])/;
const TIME = /^\d+(\.\d+)?$/;

/**
 * Reads a `….trace.jsonl[.gz]` file.
 *
 * @throws Stage2Error  `BAD_INPUT` if it is missing, truncated, corrupt, or no trace
 */
export function readTrace(path: string): Trace {
  const lines = readText(path).split("\n");
  if (lines.at(-1) === "") lines.pop();
  const header = parseHeader(path, lines[0] ?? "");
  const known = new Set<number>();
  let last = -1;
  const records = lines.slice(1).map((line, index) => {
    const where = `line ${index + 2}`;
    const record = parseRecord(path, line, where);
    if (record.i <= last) throw inputError(path, `${where}: records are out of order`);
    if (record.up !== undefined && !known.has(record.up))
      throw inputError(path, `${where}: lies inside record ${record.up}, which is not there`);
    known.add((last = record.i));
    return record;
  });
  if (!records.some(({ op }) => op.startsWith("s2_")))
    throw inputError(path, "holds no call of the page-table library");
  return { path, name: basename(path).replace(TRACE_NAME, ""), header, records };
}

function parseHeader(path: string, line: string): TraceHeader {
  if (!line.startsWith("{")) throw inputError(path, "not a recorded trace (no header line)");
  const top = new JsonNode(path, parseJson(path, line, "line 1"), "header");
  if (top.maybe("op")?.value !== "header")
    throw inputError(path, "not a recorded trace (the first line is no header)");
  const pageSize = top.get("page_size");
  const pageShift = Math.log2(pageSize.integer(4096, 65536));
  if (![12, 14, 16].includes(pageShift)) pageSize.fail("is not 4096, 16384 or 65536");
  const shapes = top.get("pgt_ia_bits_start_level").list().map(parseShape);
  if (shapes.length === 0) top.fail("names no page table");
  return {
    name: top.get("name").text(),
    cpuModel: top.get("qemu_cpu").text(),
    kernel: top.get("kernel").text(),
    pageShift,
    shapes,
    registers: new Map(
      top
        .maybe("regs")
        ?.members()
        .map(([name, value]) => [name, value.word()]),
    ),
  };
}

function parseShape(node: JsonNode): { iaBits: number; startLevel: number } {
  const [iaBits, startLevel] = node.list();
  if (iaBits === undefined || startLevel === undefined) return node.fail("is not a pair");
  return { iaBits: iaBits.integer(32, 52), startLevel: startLevel.integer(-1, 2) };
}

function parseRecord(path: string, line: string, where: string): TraceRecord {
  const value = parseJson(path, line, where) as Record<string, unknown> | null;
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw inputError(path, `${where}: not a record`);
  if (!Number.isInteger(value["i"]) || typeof value["op"] !== "string")
    throw inputError(path, `${where}: not a record (no index or no operation)`);
  const fields = Object.hasOwn(FIELDS, value["op"]) ? FIELDS[value["op"]] : undefined;
  for (const name in fields) {
    if (!checkField(value, name, fields[name] as string))
      throw inputError(path, `${where}: ${value["op"]} has no valid "${name}"`);
  }
  return value as unknown as TraceRecord;
}

/** Whether the field has its form; a hexadecimal number loses its leading zeros. */
function checkField(record: Record<string, unknown>, name: string, form: string): boolean {
  const value = record[name];
  if (form === "number" || (form === "value" && typeof value === "number"))
    return Number.isSafeInteger(value);
  if (typeof value !== "string") return false;
  if (form === "string") return true;
  if (form === "time") return TIME.test(value);
  if (!HEX.test(value)) return false;
  if (value.startsWith("0x0") && value.length > 3)
    record[name] = value.replace(LEADING_ZEROS, "0x");
  return true;
}
