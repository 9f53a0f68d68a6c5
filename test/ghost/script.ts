/**
 * Calls as text, to be read and made again:
 *
 *     generation newest
 *     0 SHARE_GUEST 0x80000 0x10 1 7 with 2: 0x80010 0x80011
 *
 * is CPU 0, the name (or number) of the call, its words, and a list of pages with the length that it claims to have.
 */
import { HYPERCALL } from "../../src/pkvm/_abi.ts";
import { type CallName, nameOf } from "./model/model.ts";
import type { Memcache, Words } from "./model/words.ts";
import type { Finding } from "./run.ts";
import type { Step } from "./step.ts";
import { GENERATIONS, type Generation } from "./world.ts";

/** A script that is none. */
export class BadScript extends Error {}

const LINE = /^([0-9]) ([A-Z_]+|\d+)((?: \S+)*?)(?: with (\S+):((?: \S+)*))?$/;
const WORD = /^(0x[0-9a-f]{1,16}|\d{1,20})$/;
const LAST = 2n ** 64n - 1n;
const CPUS = 2;

const text = (value: bigint): string => (value < 1024n ? `${value}` : `0x${value.toString(16)}`);
const list = (words: Words): string => words.map((value) => ` ${text(value)}`).join("");

/** What a call's words are without the zeros at the end, which every caller may leave out. */
function trimmed(words: Words): Words {
  const end = words.findLastIndex((value) => value !== 0n) + 1;
  return words.slice(0, end);
}

export function stepText({ cpu, number, args, memcache }: Step): string {
  const pages =
    memcache === undefined ? "" : ` with ${text(memcache.count)}:${list(memcache.pages)}`;
  return `${cpu} ${nameOf(number) ?? number}${list(trimmed(args))}${pages}`;
}

export function scriptText({ world, steps }: Pick<Finding, "world" | "steps">): string {
  return [`generation ${world.generation}`, ...steps.map(stepText)].join("\n");
}

/** @throws BadScript */
export function parseScript(script: string): { generation: Generation; steps: Step[] } {
  const lines = script.split("\n").map((line) => line.replace(/#.*/, "").trim());
  const [head, ...calls] = lines.filter((line) => line !== "");
  const generation = GENERATIONS.find((name) => head === `generation ${name}`);
  if (generation === undefined) throw new BadScript(`no generation: "${head ?? ""}"`);
  return { generation, steps: calls.map(parseStep) };
}

function parseStep(line: string): Step {
  const [, cpu, name, args, count, pages] = LINE.exec(line) ?? [];
  if (name === undefined) throw new BadScript(`no call: "${line}"`);
  const number = /^\d/.test(name) ? Number(name) : HYPERCALL[name as CallName];
  if (number === undefined) throw new BadScript(`there is no ${name}`);
  if (Number(cpu) >= CPUS) throw new BadScript(`there is no CPU ${cpu}`);
  const memcache: Memcache | undefined =
    count === undefined ? undefined : { count: parseWord(count), pages: parseWords(pages ?? "") };
  return { cpu: Number(cpu), number, args: parseWords(args ?? ""), memcache };
}

const parseWords = (words: string): bigint[] => words.split(" ").filter(Boolean).map(parseWord);

function parseWord(word: string): bigint {
  if (!WORD.test(word) || BigInt(word) > LAST) throw new BadScript(`no word: "${word}"`);
  return BigInt(word);
}
