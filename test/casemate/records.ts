/** A reader of traces, by the grammar that casemate's manual gives: one parenthesised record a line. */

/** A record in plain fields. */
export interface Record {
  readonly name: string;
  readonly id: number;
  readonly thread: number;
  /** Words without a key: the barrier, the TLBI operation. */
  readonly words: readonly string[];
  readonly fields: ReadonlyMap<string, string>;
}

/** Record names with the keys that they need, in order; `?` may be missing. */
const GRAMMAR: { readonly [name: string]: readonly string[] } = {
  "mem-write": ["mem-order", "address", "value"],
  "mem-read": ["address", "value"],
  "mem-init": ["address", "size"],
  "mem-free": ["address", "size"],
  "mem-set": ["address", "size", "value"],
  barrier: ["kind?"],
  tlbi: ["value?"],
  "sysreg-write": ["sysreg", "value"],
  hint: ["kind", "location", "value"],
  lock: ["address"],
  unlock: ["address"],
};

const CHOICES: { readonly [key: string]: RegExp } = {
  "mem-order": /^(plain|release)$/,
  sysreg: /^(vttbr_el2|vtcr_el2|ttbr0_el2)$/,
  kind: /^(ish|ishst|nsh|set_root_lock|set_owner_root|release_table|set_pte_thread_owner)$/,
  address: /^0x[0-9a-f]{1,16}$/,
  location: /^0x[0-9a-f]{1,16}$/,
  value: /^0x[0-9a-f]{1,16}$/,
  size: /^0x[0-9a-f]{1,16}$/,
};
const WORDS: { readonly [name: string]: RegExp } = {
  barrier: /^(dsb|isb)$/,
  tlbi: /^(vmalls12e1is|vmalle1is|alle1is|ipas2e1is)$/,
};

/** One line. Throws if it is no record of the grammar. */
export function parse(line: string): Record {
  const tokens = line.match(/"[^"]*"|[()]|[^\s()"]+/g) ?? [];
  if (tokens[0] !== "(" || tokens.at(-1) !== ")") throw new Error(`no record: ${line}`);
  const name = tokens[1] as string;
  const words: string[] = [];
  const pairs: [string, string][] = [];
  for (let i = 2; i < tokens.length - 1;) {
    if (tokens[i] !== "(") words.push(tokens[i++] as string);
    else {
      if (tokens[i + 3] !== ")") throw new Error(`no pair: ${line}`);
      pairs.push([tokens[i + 1] as string, tokens[i + 2] as string]);
      i += 4;
    }
  }
  checkKeys(line, name, words, pairs);
  const fields = new Map(pairs);
  const number = (key: string): number => Number(fields.get(key));
  return { name, id: number("id"), thread: number("tid"), words, fields };
}

function checkKeys(line: string, name: string, words: string[], pairs: [string, string][]): void {
  const known = GRAMMAR[name];
  if (known === undefined) throw new Error(`no such record: ${line}`);
  const [first, second, ...rest] = pairs;
  const source = rest.pop();
  const framed = first?.[0] === "id" && second?.[0] === "tid" && source?.[0] === "src";
  if (!framed || !/^"[^":]+:\d+"$/.test(source[1])) throw new Error(`no id, tid, src: ${line}`);
  const keys = known.filter((key) => !key.endsWith("?") || rest.length > 0);
  if (keys.map((key) => key.replace("?", "")).join() !== rest.map(([key]) => key).join()) {
    throw new Error(`not the keys of a ${name}: ${line}`);
  }
  for (const [key, value] of rest) {
    if (!CHOICES[key]?.test(value)) throw new Error(`no ${key}: ${line}`);
  }
  const operation = WORDS[name];
  const right = operation === undefined ? words.length === 0 : operation.test(words.join(" "));
  if (!right) throw new Error(`not the words of a ${name}: ${line}`);
  if (operation !== undefined && needsField(words[0]) !== rest.length > 0) {
    throw new Error(`an operand too few or too many: ${line}`);
  }
}

const needsField = (word: string | undefined): boolean => word === "dsb" || word === "ipas2e1is";

/** A field as a number. */
export function hex(record: Record, key: string): bigint {
  return BigInt(record.fields.get(key) as string);
}
