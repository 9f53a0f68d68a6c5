/**
 * Vector files: JSON Lines, one step of a script per line, checked before anything is replayed.
 *
 *   {"i": <line from 0>, "op": {"op": "<name>", ...arguments}, "r": {...observed result}}
 *
 * 64-bit values are hex strings. A step is only as good as what it lets us compare, so each kind of step lists the
 * results that it must have.
 */
import { inputError, parseJson } from "../input.ts";

/** Everything an observed result may hold, as JSON. */
export type Result = Readonly<Record<string, unknown>>;

type Check = (value: unknown) => boolean;

const hex: Check = (value) => typeof value === "string" && /^0x[0-9a-f]{1,16}$/.test(value);
const whole: Check = (value) => Number.isSafeInteger(value) || typeof value === "boolean";
const oneOf =
  (...values: unknown[]): Check =>
  (value) =>
    values.includes(value);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const flag = maybe(oneOf(0, 1, false, true));
/** Pages available to a step: a count; null: no cache at all; absent: unlimited. */
const stock = maybe((value) => value === null || (whole(value) && (value as number) >= 0));

const RANGE = { ia: hex, size: hex };
const RET = ["ret"] as const;

/** Arguments and required results of a kind of step. */
interface Shape {
  readonly takes: Readonly<Record<string, Check>>;
  readonly yields: readonly string[];
}

const SHAPES: Readonly<Record<string, Shape>> = {
  init: {
    takes: {
      kind: oneOf("s2", "hyp"),
      page_shift: oneOf(12, 14, 16),
      ctx: oneOf("host", "nvhe"),
      phys_shift: maybe(whole),
      va_bits: maybe(whole),
      mmfr0: maybe(hex),
      mmfr1: maybe(hex),
      trace: oneOf(1, 2),
      evcap: maybe(whole),
      ...{ fwb: flag, lpa2: flag, pa52: flag, tlbirange: flag, hvhe: flag, bti: flag, ac03: flag },
      ...{
        s2flags: maybe(oneOf(0, 1, 2, 3)),
        dc: flag,
        ic: flag,
        page_count: flag,
        fail_pgd: flag,
      },
    },
    yields: RET,
  },
  map: { takes: { ...RANGE, pa: hex, prot: hex, flags: whole, mc: stock }, yields: RET },
  set_owner: { takes: { ...RANGE, owner: whole, mc: stock }, yields: RET },
  unmap: { takes: RANGE, yields: RET },
  wrprotect: { takes: RANGE, yields: RET },
  flush: { takes: RANGE, yields: RET },
  test_clear_young: { takes: { ...RANGE, mkold: flag }, yields: ["young"] },
  relax_perms: { takes: { ia: hex, prot: hex }, yields: RET },
  mkyoung: { takes: { ia: hex }, yields: ["pte"] },
  split: { takes: { ...RANGE, mc: stock }, yields: ["ret", "mc_left"] },
  create_unlinked: { takes: { pa: hex, level: whole, prot: hex, mc: stock }, yields: RET },
  free_unlinked: { takes: {}, yields: RET },
  get_leaf: { takes: { ia: hex }, yields: RET },
  walk: {
    takes: { ...RANGE, flags: whole, stop_at: maybe(whole), stop_ret: maybe(whole) },
    yields: ["ret", "vn", "vh"],
  },
  hyp_map: { takes: { ...RANGE, pa: hex, prot: hex, mc: stock }, yields: RET },
  hyp_unmap: { takes: RANGE, yields: ["unmapped"] },
  destroy: { takes: {}, yields: ["live"] },
  tlb_flush_range: { takes: RANGE, yields: RET },
  dump: { takes: { max: maybe(whole) }, yields: ["dn", "dh"] },
  hw_touch: { takes: { ia: hex }, yields: ["hit"] },
  lock_entry: { takes: { ia: hex }, yields: ["hit"] },
  unlock_entry: { takes: { ia: hex }, yields: ["hit"] },
  race: {
    takes: {
      on: oneOf("alloc", "dclean", "iinval"),
      act: oneOf("touch", "zero", "lock"),
      ia: hex,
    },
    yields: RET,
  },
  vtcr: {
    takes: { lpa2: flag, pa52: flag, ac03: flag, mmfr0: hex, mmfr1: hex, phys_shift: whole },
    yields: ["vtcr", "pgd_size", "start_level", "levels", "parange"],
  },
  pte_prot: { takes: { kind: oneOf("s2", "hyp"), hvhe: flag, pte: hex }, yields: ["prot"] },
  phys_pte: { takes: { lpa2: flag, pa: hex, pte: maybe(hex) }, yields: ["pte", "phys"] },
  granule: {
    takes: { level: whole, size: hex },
    yields: ["shift", "block", "sizes", "supported"],
  },
};

/** One line of a vector file. */
export class Step {
  readonly name: string;
  readonly expected: Result;
  readonly #given: Readonly<Record<string, unknown>>;

  constructor(given: Readonly<Record<string, unknown>>, expected: Result) {
    this.name = given["op"] as string;
    this.expected = expected;
    this.#given = given;
  }

  /** A 64-bit argument. */
  u64(name: string): bigint {
    return BigInt((this.#given[name] as string | undefined) ?? 0);
  }

  /** A number; flags count as 0 and 1. */
  int(name: string, absent = 0): number {
    return Number(this.#given[name] ?? absent);
  }

  text(name: string): string {
    return this.#given[name] as string;
  }

  /** Whether the argument is there at all; null is. */
  has(name: string): boolean {
    return this.#given[name] !== undefined;
  }

  /** Pages the step may use. */
  get stock(): number | "none" | "unlimited" {
    const given = this.#given["mc"] as number | null | undefined;
    return given === undefined ? "unlimited" : (given ?? "none");
  }
}

/** The steps that lines hold. Anything that is not one is an input error. @throws Stage2Error `BAD_INPUT` */
export function parseSteps(path: string, lines: readonly string[]): Step[] {
  return lines.map((line, index) => {
    const place = `line ${index + 1}`;
    return checkedStep(parseJson(path, line, place), index, (message) => {
      throw inputError(path, `${place}: ${message}`);
    });
  });
}

function checkedStep(value: unknown, index: number, refuse: (message: string) => never): Step {
  if (!isObject(value)) return refuse("not a JSON object");
  const { i, op, r } = value;
  if (!isObject(op) || !isObject(r)) return refuse("not a vector");
  if (i !== index) return refuse(`step ${String(i)} stands where step ${index} belongs`);
  const name = String(op["op"]);
  const shape = Object.hasOwn(SHAPES, name) ? SHAPES[name] : undefined;
  if (shape === undefined) return refuse(`unknown step "${String(op["op"])}"`);
  if (index === 0 && op["op"] !== "init") return refuse("the first step is not an init");
  const bad = Object.keys(shape.takes).find((name) => !shape.takes[name]?.(op[name]));
  if (bad !== undefined) return refuse(`${String(op["op"])}: missing or bad argument "${bad}"`);
  const missing = shape.yields.find((name) => r[name] === undefined);
  if (missing !== undefined) return refuse(`${String(op["op"])}: missing result "${missing}"`);
  return new Step(op, r);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
