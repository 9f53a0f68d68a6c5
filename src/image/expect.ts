/**
 * Expectations: translations of a dumped guest that were found by other means than its tables.
 *
 *   {"header":1, "checkpoint":…, "cpu":1, "guest_stage1_on":false, …}
 *   {"k":"p","ipa":"0x…","pa":"0x…"}        the host page behind a guest page; where stage 2 maps it, it maps it there
 *   {"k":"q","va":"0x…","pa":"0x…" | null}  a read at a virtual address; null: it faults
 *
 * A vCPU with the registers of the stopped CPU walks the dumped tables for every row: both stages where the guest's stage 1
 * is on (with stage 1 off a virtual address is an intermediate physical one), stage 2 alone for the `p` rows.
 *
 * The walk that the `q` rows come from looks at no access flag, on any CPU: here every leaf has its flag.
 */
import { Access } from "../access.ts";
import type { Mode } from "../engine.ts";
import { Stage2Error } from "../errors.ts";
import { Fault } from "../fault.ts";
import { inputError, parseJson } from "../_input.ts";
import type { Vcpu } from "../vcpu.ts";
import { guestState, stage2State } from "./cpu.ts";
import type { Regime, TableImage } from "./format.ts";
import { JsonNode } from "./json.ts";
import { ImageMachine } from "./machine.ts";

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
  /** Where the vCPU got to; `null`: a fault. */
  readonly found: number | null;
  /** The fault in plain words. */
  readonly fault?: string;
}

/** What came of the rows. Every row is either in `passed` or in `failed`. */
export interface ExpectationResult {
  readonly passed: number;
  readonly failed: number;
  /** Reads that took both stages of translation. */
  readonly bothStages: number;
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

/**
 * Checks every row. `regime` is the guest's stage 2.
 *
 * @throws Stage2Error `BAD_INPUT` if the image has no registers of the CPU, or they contradict the expectations
 */
export async function checkExpectations(
  image: TableImage,
  regime: Regime,
  expected: Expectations,
  mode?: Mode,
): Promise<ExpectationResult> {
  const [guest, stage2] = [
    guestState(image, expected.cpu, regime),
    stage2State(image, expected.cpu, regime),
  ];
  const bothStages = guest.stages === "both stages";
  if (bothStages !== expected.guestStage1) {
    throw inputError(
      image.name,
      `stage 1 of CPU ${expected.cpu} is ${bothStages ? "on" : "off"}, but the expectations say otherwise`,
    );
  }
  const machine = await ImageMachine.create(image, { mode, young: true });
  try {
    const tally = new Tally(machine);
    machine.load(guest);
    for (const row of ofKind(expected, "read")) tally.read(row);
    machine.load(stage2);
    for (const row of ofKind(expected, "page")) tally.page(row);
    return tally.result(bothStages);
  } finally {
    machine.dispose();
  }
}

function ofKind({ rows }: Expectations, kind: Expectation["kind"]): Expectation[] {
  return rows.filter((row) => row.kind === kind);
}

/** Counts rows. */
class Tally {
  readonly #machine: ImageMachine;
  #passed = 0;
  #failed = 0;
  #reads = 0;
  #unmapped = 0;
  readonly #failures: Disagreement[] = [];

  constructor(machine: ImageMachine) {
    this.#machine = machine;
  }

  /** A read gives the address, or faults where that is expected. */
  read(row: Expectation): void {
    this.#reads++;
    this.#count(row, this.#machine.vcpu.translate(row.address, Access.Read));
  }

  /** A leaf that is there maps the page where the host has it, whatever it permits. */
  page(row: Expectation): void {
    const found = anyAccess(row, this.#machine.vcpu);
    if (!(found instanceof Fault) || found.type !== "translation") return this.#count(row, found);
    this.#passed++;
    this.#unmapped++;
  }

  #count(row: Expectation, found: number | Fault): void {
    const pa = found instanceof Fault ? null : found;
    // A fault for want of a page that was not dumped says nothing about the guest.
    if (pa === row.pa && (pa !== null || this.#machine.isKnown(row.address, Access.Read))) {
      this.#passed++;
      return;
    }
    this.#failed++;
    if (this.#failures.length >= KEPT_FAILURES) return;
    const fault = found instanceof Fault ? { fault: found.toString() } : {};
    this.#failures.push({ ...row, found: pa, ...fault });
  }

  result(bothStages: boolean): ExpectationResult {
    return {
      ...{ passed: this.#passed, failed: this.#failed, unmapped: this.#unmapped },
      bothStages: bothStages ? this.#reads : 0,
      failures: this.#failures,
    };
  }
}

/** The first access that no permission stops. */
function anyAccess({ address }: Expectation, vcpu: Vcpu): number | Fault {
  const [read, ...others] = [Access.Read, Access.Write, Access.Fetch];
  let found = vcpu.translate(address, read);
  for (const access of others) {
    if (!(found instanceof Fault) || found.type !== "permission") break;
    found = vcpu.translate(address, access);
  }
  return found;
}

/**
 * Name of the regime that expectations are about. `chosen` may name another CPU's that has the same root.
 *
 * @throws Stage2Error `BAD_INPUT` if the image is another, or `chosen` another table
 */
export function expectedRegime(image: TableImage, expected: Expectations, chosen?: string): string {
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
