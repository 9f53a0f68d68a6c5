/** `stage2 dump [--regime s2.cpu0] [--expect file] [--json] <tables.json>`: prints a table image, checks expectations. */
import { Engine } from "../engine.ts";
import {
  type Disagreement,
  type ExpectationResult,
  type Expectations,
  checkExpectations,
  expectedRegime,
} from "../image/expect.ts";
import { type TableImage, regimeNamed } from "../image/format.ts";
import { importRegime } from "../image/import.ts";
import { type RegimeDocument, regimeDocument, regimeText } from "../image/listing.ts";
import { readExpectations, readImage } from "../image/read.ts";
import { EXIT, type Io, parseArguments, usageError } from "./shared.ts";

/** What the command found out. */
interface DumpResult {
  readonly image: string;
  readonly regimes: readonly RegimeDocument[];
  readonly expectations?: ExpectationResult & { readonly regime: string };
}

/** What was asked for. */
interface Request {
  readonly image: TableImage;
  readonly regimes: readonly string[];
  readonly expected: Expectations | undefined;
}

/** The smallest pool; an image of many pages gets a larger one. */
const POOL_UNITS = 16_384;
const UNIT = 4096;

/** Prints the regimes of an image as grouped ranges. With `--expect`: of the one it is about, and whether it holds. */
export async function dumpCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArguments(argv, {
    regime: { type: "string" },
    expect: { type: "string" },
    json: { type: "boolean" },
  });
  const [path] = positionals;
  if (path === undefined || positionals.length > 1) throw usageError("dump takes one tables.json");
  const result = await dump(request(path, values.regime, values.expect));
  if (values.json) io.out(JSON.stringify(result, jsonValue, 2));
  else print(result, io);
  return (result.expectations?.failed ?? 0) > 0 ? EXIT.DIFFERS : EXIT.HOLDS;
}

function request(path: string, regime?: string, expect?: string): Request {
  const image = readImage(path);
  const expected = expect === undefined ? undefined : readExpectations(expect);
  const chosen = expected === undefined ? regime : expectedRegime(image, expected, regime);
  return {
    image,
    expected,
    regimes: chosen === undefined ? image.regimes.map(({ name }) => name) : [chosen],
  };
}

async function dump({ image, regimes, expected }: Request): Promise<DumpResult> {
  const maxTablePages = POOL_UNITS + Math.ceil(image.bytes.length / UNIT);
  const engine = await Engine.create({ maxTablePages });
  try {
    const documents = regimes.map((name) => {
      const table = importRegime(engine, image, name);
      const document = regimeDocument(table);
      table.dispose();
      return document;
    });
    const expectations = expected && (await check(image, expected, regimes[0] as string));
    return { image: image.name, regimes: documents, ...(expectations && { expectations }) };
  } finally {
    engine.dispose();
  }
}

async function check(image: TableImage, expected: Expectations, name: string) {
  const regime = regimeNamed(image, name);
  return { regime: name, ...(await checkExpectations(image, regime, expected)) };
}

function print({ regimes, expectations }: DumpResult, io: Io): void {
  for (const regime of regimes) io.out(`${regimeText(regime)}\n`);
  if (expectations === undefined) return;
  const { passed, failed, bothStages, unmapped, failures } = expectations;
  for (const failure of failures) io.out(describe(failure));
  if (failed > failures.length) io.out(`… ${failed - failures.length} more`);
  if (unmapped > 0) io.out(`${unmapped} of the passed: host page present, not mapped in stage 2`);
  if (bothStages > 0) io.out(`${bothStages} reads went through both stages`);
  io.out(`${passed} passed, ${failed} failed`);
}

function describe({ kind, address, pa, found, fault }: Disagreement): string {
  const what = kind === "page" ? "page" : "read";
  return `${what} ${hex(address)}: expected ${place(pa)}, found ${fault ?? place(found)}`;
}

function place(pa: number | null): string {
  return pa === null ? "no translation" : hex(pa);
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** Addresses of expectations are hex strings in JSON, as everywhere in it. */
function jsonValue(key: string, value: unknown): unknown {
  const isAddress =
    typeof value === "bigint" || (typeof value === "number" && /^(pa|found)$/.test(key));
  return isAddress ? hex(value as number | bigint) : value;
}
