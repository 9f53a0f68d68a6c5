/**
 * Expectations: translations of a dumped guest that were found by other means than its tables.
 *
 *   {"header":1, "checkpoint":…, "cpu":1, "guest_stage1_on":false, …}
 *   {"k":"p","ipa":"0x…","pa":"0x…"}        the host page behind a guest page; where stage 2 maps it, it maps it there
 *   {"k":"q","va":"0x…","pa":"0x…" | null}  a read at a virtual address; null: it faults
 *
 * With stage 1 off a virtual address is an intermediate physical one, and `q` rows are facts of stage 2 alone. With
 * stage 1 on they need both stages together: such rows are counted as not checked.
 */
import { Stage2Error } from "../errors.ts";
import { inputError, parseJson } from "../_input.ts";
import { JsonNode } from "./json.ts";
import type { ImportedTable } from "./table.ts";

/** How many failures are kept with their values. */
const KEPT_FAILURES = 20;

/** One row. */
export interface Expectation {
  readonly kind: "page" | "read";
  /** Guest physical address (`page`), virtual address (`read`). */
  readonly address: bigint;
  /** Physical address; `null`: no translation. */
  readonly pa: number | null;
}

/** A file of expectations. */
export interface Expectations {
  /** Name of the image they belong to. */
  readonly checkpoint: string;
  /** CPU whose guest they are about: regime `s2.cpuN`. */
  readonly cpu: number;
  readonly guestStage1: boolean;
  readonly rows: readonly Expectation[];
}

/** A row that does not hold. */
export interface Disagreement extends Expectation {
  /** Where the imported table maps the address; `null`: nowhere, or not readable. */
  readonly found: number | null;
}

/** What came of the rows. Every row is in exactly one of `passed`, `failed`, `notChecked`. */
export interface ExpectationResult {
  readonly passed: number;
  readonly failed: number;
  /** Rows that need both stages of translation. */
  readonly notChecked: number;
  /** Of the passed: host pages that stage 2 does not map, so that there was nothing to disagree with. */
  readonly unmapped: number;
  /** The first rows that failed. */
  readonly failures: readonly Disagreement[];
}

/** Checks the text of a file of expectations, and gives it shape. @throws Stage2Error `BAD_INPUT` */
export function parseExpectations(path: string, text: string): Expectations {
  const [first, ...lines] = text.split("\n");
  const header = new JsonNode(path, parseJson(path, first as string, "line 1"), "line 1:");
  if (header.maybe("header") === undefined) header.fail("not the header of an expectation file");
  if (lines.at(-1) === "") lines.pop();
  if (lines.length === 0) throw inputError(path, "holds no expectation");
  return {
    checkpoint: header.get("checkpoint").text(),
    cpu: header.get("cpu").integer(0, 4095),
    guestStage1: header.get("guest_stage1_on").flag(),
    rows: lines.map((line, i) => {
      const place = `line ${i + 2}`;
      return parseRow(new JsonNode(path, parseJson(path, line, place), `${place}:`));
    }),
  };
}

function parseRow(node: JsonNode): Expectation {
  const kind = node.get("k").text();
  const pa = node.get("pa");
  if (kind === "p") return { kind: "page", address: node.get("ipa").word(), pa: pa.address() };
  if (kind !== "q") node.get("k").fail(`"${kind}" is no kind of expectation`);
  const translation = pa.value === null ? null : pa.address();
  return { kind: "read", address: node.get("va").word(), pa: translation };
}

/** Compares every row with an imported stage 2. */
export function checkExpectations(table: ImportedTable, expected: Expectations): ExpectationResult {
  let [passed, failed, notChecked, unmapped] = [0, 0, 0, 0];
  const failures: Disagreement[] = [];
  for (const row of expected.rows) {
    if (row.kind === "read" && expected.guestStage1) {
      notChecked++;
      continue;
    }
    const found = row.kind === "page" ? mapped(table, row) : readable(table, row);
    if (found === row.pa) passed++;
    else if (row.kind === "page" && found === null) {
      passed++;
      unmapped++;
    } else {
      failed++;
      if (failures.length < KEPT_FAILURES) failures.push({ ...row, found });
    }
  }
  return { passed, failed, notChecked, unmapped, failures };
}

function mapped(table: ImportedTable, { address }: Expectation): number | null {
  return table.lookup(Number(address))?.pa ?? null;
}

/** A read needs a readable leaf. The walk that the rows come from does not fault on a clear access flag, on any CPU. */
function readable(table: ImportedTable, { address }: Expectation): number | null {
  const mapping = table.lookup(Number(address));
  return mapping?.readable ? mapping.pa : null;
}

/**
 * Name of the regime that expectations are about. `chosen` may name another CPU's that has the same root.
 *
 * @throws Stage2Error `BAD_INPUT` if the image is another, or `chosen` another table
 */
export function expectedRegime(
  image: ImportedTable["image"],
  expected: Expectations,
  chosen?: string,
): string {
  const { checkpoint, cpu } = expected;
  if (checkpoint !== image.name) {
    throw new Stage2Error(
      "BAD_INPUT",
      `these are expectations of ${checkpoint}, not of ${image.name}`,
    );
  }
  const own = `s2.cpu${cpu}`;
  const find = (name: string) => image.regimes.find((regime) => regime.name === name);
  if (chosen === undefined || chosen === own) return own;
  if (find(chosen)?.stage === 2 && find(chosen)?.root === find(own)?.root) return chosen;
  throw new Stage2Error("BAD_INPUT", `the expectations are about ${own}, not about ${chosen}`);
}
