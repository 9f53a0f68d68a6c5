/**
 * Hardware vectors: JSON Lines, one access of one CPU to one small machine per line, and what its MMU did.
 *
 *   { id, cat,
 *     regs:   the translation registers; those of EL2 if there is no stage 2 (`hcr` is absent)
 *     mem:    [[pa, word], …] tables and data to store first
 *     access: { ia, kind, el, data? }
 *     expect: what the CPU model answered          after: the words of `mem` that changed, with their new values
 *     data_after: words outside the tables that the access itself stored
 *     arch:   another answer, by a second model: the architecture's where the first is known to deviate
 *     note:   why }
 *
 * Addresses, registers and words are hex strings. Every line is checked before anything is replayed.
 */
import { JsonNode } from "../image/json.ts";
import { inputError, parseJson } from "../input.ts";
import { RAM } from "./memory.ts";

/** A 64-bit word of physical memory. */
export interface Word {
  readonly pa: number;
  readonly value: bigint;
}

/** What the access is: loads, stores, read-modify-writes, a fetch, LDXR then STXR (`excl`), or an AT instruction. */
export type Kind = (typeof KINDS)[number];

const KINDS = [
  ...["read", "write", "readb", "writeb", "ldar", "stlr", "ldp", "ldxr", "fetch"],
  ...["ldadd", "swp", "cas", "excl"],
  ...["at_s12e1r", "at_s12e1w", "at_s12e0r", "at_s12e0w"],
  ...["at_s1e1r", "at_s1e1w", "at_s1e0r", "at_s1e0w", "at_s1e2r", "at_s1e2w"],
] as const;

/** Translation registers by the names of the file. */
export type RegisterName = "hcr" | "vtcr" | "vttbr" | "sctlr" | "tcr" | "ttbr0" | "mair";

/** What an MMU did. Fields that say nothing about the outcome are absent. */
export interface Answer {
  /** The translation succeeded, and the access found memory. */
  readonly ok: boolean;
  /** Physical address, exact to the byte. */
  readonly pa?: bigint;
  /** What a load returned. */
  readonly value?: bigint;
  /** Status of a store-exclusive: 0 stored. */
  readonly stxr?: number;
  /** The kind of fault, and the fault status code that says the same with the level. */
  readonly type?: string;
  readonly fsc?: number;
  readonly level?: number;
  readonly stage?: number;
  readonly s1ptw?: number;
  readonly wnr?: number;
  /** Exception level that the fault was taken to. */
  readonly el?: number;
  readonly esr?: bigint;
  readonly far?: bigint;
  readonly hpfar?: bigint;
  /** AT: PAR_EL1. */
  readonly par?: bigint;
  /** AT: an exception was taken and PAR_EL1 was not written. */
  readonly trapped: boolean;
  /** The words of `mem` that changed. */
  readonly after: readonly Word[];
}

/** One vector. */
export interface Vector {
  readonly id: number;
  readonly category: string;
  readonly registers: ReadonlyMap<RegisterName, bigint>;
  /** The registers are those of the EL2 regime. */
  readonly hypervisor: boolean;
  readonly memory: readonly Word[];
  readonly kind: Kind;
  readonly address: bigint;
  /** Exception level that executes the access. */
  readonly el: 0 | 1 | 2;
  readonly data: bigint;
  readonly expected: Answer;
  readonly dataAfter: readonly Word[];
  /** The other answer; `confirmed`: it must be this one. */
  readonly arch: (Answer & { readonly confirmed: boolean }) | undefined;
  readonly notes: readonly string[];
}

/** Whether a line, already parsed, is a hardware vector: so that a file can be told by its first line. */
export function isHardwareVector(value: unknown): boolean {
  return typeof value === "object" && value !== null && "regs" in value && "access" in value;
}

/** The vectors of a file's lines. @throws Stage2Error `BAD_INPUT` */
export function parseVectors(path: string, lines: readonly string[]): Vector[] {
  const known = new Set<number>();
  return lines.map((line, index) => {
    const place = `line ${index + 1}`;
    const vector = parseVector(new JsonNode(path, parseJson(path, line, place), `${place}:`));
    if (known.has(vector.id)) throw inputError(path, `${place}: id ${vector.id} is there twice`);
    known.add(vector.id);
    return vector;
  });
}

function parseVector(node: JsonNode): Vector {
  const access = node.get("access");
  const regs = node.get("regs");
  const memory = wordsOf(node.get("mem"));
  const hypervisor = regs.maybe("hcr") === undefined;
  const arch = node.maybe("arch");
  return {
    id: node.get("id").integer(0, 2 ** 31),
    category: node.get("cat").text(),
    registers: registersOf(regs, hypervisor),
    hypervisor,
    memory,
    kind: choice(access.get("kind"), KINDS),
    address: access.get("ia").word(),
    el: access.get("el").integer(0, 2) as Vector["el"],
    data: access.maybe("data")?.word() ?? 0n,
    expected: parseAnswer(node.get("expect"), node, memory),
    dataAfter: node.maybe("data_after") === undefined ? [] : wordsOf(node.get("data_after")),
    arch: arch && {
      ...parseAnswer(arch, arch, memory),
      confirmed: arch.maybe("confirmed")?.flag() ?? false,
    },
    notes:
      node
        .maybe("note")
        ?.list()
        .map((note) => note.text()) ?? [],
  };
}

/** Stage 1 has its own registers only where it is on (SCTLR.M), or where there is nothing else. */
function registersOf(node: JsonNode, hypervisor: boolean): Map<RegisterName, bigint> {
  const sctlr = node.get("sctlr").word();
  const stage1: RegisterName[] = hypervisor || (sctlr & 1n) === 1n ? ["tcr", "ttbr0", "mair"] : [];
  const stage2: RegisterName[] = hypervisor ? [] : ["hcr", "vtcr", "vttbr"];
  const names: RegisterName[] = ["sctlr", ...stage1, ...stage2];
  return new Map(names.map((name) => [name, node.get(name).word()]));
}

/** `holder` is the object that has `after`: beside `expect`, but inside `arch`. */
function parseAnswer(node: JsonNode, holder: JsonNode, memory: readonly Word[]): Answer {
  const ok = node.get("ok").flag();
  const after = wordsOf(holder.get("after"));
  for (const { pa } of after) {
    if (!memory.some((word) => word.pa === pa))
      holder.get("after").fail(`names 0x${pa.toString(16)}, which is not in mem`);
  }
  const answer = {
    ok,
    trapped: node.maybe("at_trapped")?.flag() ?? false,
    ...present(node, WORDS, (member) => member.word()),
    ...present(node, NUMBERS, (member) => member.integer(-1, 63)),
    ...present(node, ["type"], (member) => member.text()),
    after,
  };
  // What an answer must have at least: without it there would be nothing to compare.
  node.get(ok ? "pa" : "fsc");
  return answer;
}

const WORDS = ["pa", "value", "esr", "far", "hpfar", "par"] as const;
const NUMBERS = ["stxr", "fsc", "level", "stage", "s1ptw", "wnr", "el"] as const;

/** The members of `names` that are there. */
function present<K extends string, T>(
  node: JsonNode,
  names: readonly K[],
  read: (member: JsonNode) => T,
): { [name in K]?: T } {
  const found: { [name in K]?: T } = {};
  for (const name of names) {
    const member = node.maybe(name);
    if (member !== undefined) found[name] = read(member);
  }
  return found;
}

function wordsOf(node: JsonNode): Word[] {
  const seen = new Set<number>();
  return node.list().map((pair) => {
    const [pa, value] = pair.list();
    if (pa === undefined || value === undefined) return pair.fail("is not a pair");
    const at = pa.address();
    if (at % 8 !== 0 || at < RAM.pa || at >= RAM.pa + RAM.size) pa.fail("is no word of the memory");
    if (seen.has(at)) pa.fail("is there twice");
    seen.add(at);
    return { pa: at, value: value.word() };
  });
}

function choice<T extends string>(node: JsonNode, values: readonly T[]): T {
  const text = node.text();
  const found = values.find((value) => value === text);
  return found ?? node.fail(`is the unknown ${JSON.stringify(text)}`);
}
