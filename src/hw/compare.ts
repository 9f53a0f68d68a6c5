/**
 * Compares what an access did with one of its recorded answers.
 *
 * Not compared, because it says nothing about the walk: HPFAR_EL2 bits that hold no address; HPFAR_EL2 of an AT instruction
 * that took an external abort, which the CPU model left unwritten; PAR_EL1 attributes outside their own category; WnR of
 * an AT instruction where only the second model gave it (it does not model that instructions of this class count as writes).
 */
import { type Observed, isAddressTranslation } from "./access.ts";
import { loadedValue, storedWords } from "./effects.ts";
import type { Answer, Vector, Word } from "./format.ts";
import { type Run, performs } from "./machine.ts";
import { type VectorMemory, initialWord } from "./memory.ts";

/** The first thing that is not as recorded. */
export interface Difference {
  readonly field: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** Fields in the order in which they tell most. */
const FIELDS = [
  ...["ok", "trapped", "type", "level", "fsc", "stage", "s1ptw", "pa", "value", "stxr"],
  ...["wnr", "el", "far", "hpfar", "par", "esr"],
] as const;

/** ISS2 above says what the CPU model has no feature for. */
const ESR_LOW = 0xffff_ffffn;
/** IPA[51:12] in HPFAR_EL2. */
const HPFAR_IPA = 0x0000_0fff_ffff_fff0n;
// PAR_EL1: F; with F=1 also FST, PTW and S; with F=0 the address, and attributes and shareability.
const PAR_F = 1n;
const PAR_FAULT = PAR_F | (0x3fn << 1n) | (1n << 8n) | (1n << 9n);
const PAR_PA = 0x000f_ffff_ffff_f000n;
const PAR_ATTRIBUTES = (0xffn << 56n) | (0b11n << 7n);

/** Compares outcome and memory. `undefined`: this answer it is. */
export function compare(
  vector: Vector,
  answer: Answer,
  observed: Observed,
  { run, memory }: { readonly run: Run; readonly memory: VectorMemory },
): Difference | undefined {
  const expected = expectedOf(vector, answer, run);
  for (const field of FIELDS) {
    const mask = maskOf(field, vector, expected);
    const [want, found] = [expected[field], observed[field]];
    if (want !== undefined && masked(want, mask) !== masked(found, mask))
      return { field, expected: want, actual: found };
  }
  return compareWords(memory, [
    ...initialWords(vector, observed),
    ...vector.memory,
    ...answer.after,
    ...(performs(run) ? storedWords(vector, answer) : []),
  ]);
}

/** What this run can show of an answer. */
function expectedOf(vector: Vector, answer: Answer, run: Run): Partial<Answer> {
  const { ok, pa, stxr, type } = answer;
  if (isAddressTranslation(vector.kind)) return expectedOfAt(vector, answer);
  const translated = ok || type === "external"; // the address is fine, but no memory is there
  if (!performs(run)) {
    if (translated) return { ok: true, ...(pa === undefined ? {} : { pa }) };
    if (run === "batch") return { ok };
  }
  if (ok) return defined({ ok, pa, stxr, value: loadedValue(vector, answer) });
  return { ...answer, far: answer.far ?? vector.address };
}

/** PAR_EL1, or an exception: for an external abort, and for a guest's own AT whose walk faults at stage 2. */
function expectedOfAt(vector: Vector, answer: Answer): Partial<Answer> {
  const { fsc, stage, s1ptw, level, type, el, esr, far, wnr, hpfar, par } = answer;
  const external = type === "external_walk";
  const trapped = external || (!answer.ok && vector.el === 1 && stage === 2);
  if (!trapped) {
    return defined({ ok: answer.ok, trapped, pa: answer.pa, fsc, stage, s1ptw, par });
  }
  const recorded = answer === vector.expected;
  return defined({
    ...{ ok: false, trapped, type, level, fsc, stage, s1ptw, el, esr },
    far: far ?? vector.address,
    ...(recorded ? { wnr } : {}),
    ...(external ? {} : { hpfar }),
  });
}

/** Fields without those that say nothing. */
function defined(fields: { [name in keyof Answer]?: Answer[name] | undefined }): Partial<Answer> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function maskOf(field: (typeof FIELDS)[number], vector: Vector, { ok }: Partial<Answer>): bigint {
  if (field === "hpfar") return HPFAR_IPA;
  if (field === "esr") return ESR_LOW;
  if (field !== "par") return ALL;
  if (!ok) return PAR_FAULT;
  return PAR_F | PAR_PA | (vector.category === ATTRIBUTES ? PAR_ATTRIBUTES : 0n);
}

const ALL = (1n << 64n) - 1n;
/** The category that is about attributes. */
const ATTRIBUTES = "t-attr";

function masked(value: unknown, mask: bigint): unknown {
  return typeof value === "bigint" ? value & mask : value;
}

/** The word that the access found: as it was, unless something else is known of it. */
function initialWords(vector: Vector, { pa }: Observed): Word[] {
  const at = pa === undefined ? [] : [Number(pa) - (Number(pa) % 8)];
  return [...at, ...vector.dataAfter.map((word) => word.pa)].map((word) => ({
    pa: word,
    value: initialWord(word),
  }));
}

/** Of several words at one address the last counts. */
function compareWords(memory: VectorMemory, words: readonly Word[]): Difference | undefined {
  for (const [pa, expected] of new Map(words.map(({ pa, value }) => [pa, value]))) {
    const actual = memory.read(pa);
    if (actual !== undefined && actual !== expected)
      return { field: `memory at 0x${pa.toString(16)}`, expected, actual };
  }
  return undefined;
}
