/** `stage2 translate`: walks one address step by step, through a table image or the tables of a replayed trace. */
import { Fault } from "../fault.ts";
import { readImage } from "../image/read.ts";
import { readTrace } from "../replay/read.ts";
import type { AccessName, WalkDocument } from "../translate/document.ts";
import { walkImage } from "../translate/image.ts";
import { walkJson } from "../translate/json.ts";
import { walkText } from "../translate/text.ts";
import { walkTrace } from "../translate/trace.ts";
import { EXIT, type Io, parseArguments, usageError } from "./shared.ts";

const OPTIONS = {
  trace: { type: "string" },
  at: { type: "string" },
  table: { type: "string" },
  regime: { type: "string" },
  el: { type: "string" },
  write: { type: "boolean" },
  fetch: { type: "boolean" },
  json: { type: "boolean" },
} as const;

/** What was asked for. */
type Values = { readonly [name in keyof typeof OPTIONS]?: string | boolean };

/** Exit code 0: translated; 1: a fault. */
export async function translateCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArguments(argv, OPTIONS);
  const document = await (values.trace === undefined
    ? throughImage(values, positionals)
    : throughTrace(values.trace, values, positionals));
  io.out(values.json ? JSON.stringify(walkJson(document), null, 2) : walkText(document));
  return document.outcome instanceof Fault ? EXIT.DIFFERS : EXIT.HOLDS;
}

function throughImage(values: Values, positionals: readonly string[]): Promise<WalkDocument> {
  const [path, address, ...rest] = positionals;
  if (path === undefined || address === undefined || rest.length > 0)
    throw usageError("translate takes a tables.json and an address");
  for (const name of ["at", "table"] as const)
    if (values[name] !== undefined) throw usageError(`translate: --${name} goes with --trace`);
  const request = {
    ...commonRequest(values, address),
    regime: values.regime as string | undefined,
  };
  return walkImage(readImage(path), request);
}

function throughTrace(
  path: string,
  values: Values,
  positionals: readonly string[],
): Promise<WalkDocument> {
  const [address, ...rest] = positionals;
  if (address === undefined || rest.length > 0)
    throw usageError("translate takes one address with --trace");
  if (values.regime !== undefined) throw usageError("translate: a trace has no regimes");
  if (values.el === "2") throw usageError("translate: guests run at EL0 and EL1");
  const at = integer("at", values.at, 2 ** 31);
  const table = integer("table", values.table, 2 ** 52);
  return walkTrace(readTrace(path), { ...commonRequest(values, address), at, table });
}

function commonRequest(values: Values, address: string) {
  if (values.write && values.fetch) throw usageError("translate: --write or --fetch, not both");
  const access: AccessName = values.write ? "write" : values.fetch ? "fetch" : "read";
  const el = integer("el", values.el, 2) as 0 | 1 | 2 | undefined;
  return { address: addressOf(address), access, el };
}

/** Hexadecimal with 0x, or decimal; up to 64 bits. */
function addressOf(text: string): bigint {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? BigInt(text) : undefined;
  if (value === undefined || value >= 2n ** 64n)
    throw usageError(`translate: "${text}" is no address`);
  return value;
}

function integer(name: string, text: unknown, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = typeof text === "string" && /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (value <= most) return value;
  throw usageError(`translate: --${name} takes a number up to ${most}`);
}
