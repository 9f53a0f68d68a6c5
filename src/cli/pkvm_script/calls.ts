/** The hypercalls as scripts write them: `share_hyp` with what each argument is. */
import { HYPERCALLS } from "../../pkvm/hypercalls.ts";

/** What an argument means to the pages that it names; `other` names none. */
export type ArgumentKind = "pfn" | "gfn" | "n" | "prot" | "handle" | "other";

export interface Argument {
  readonly name: string;
  readonly kind: ArgumentKind;
  /** May be left out: 0. */
  readonly optional: boolean;
}

/** A hypercall. */
export interface Call {
  readonly number: number;
  /** As scripts write it. */
  readonly script: string;
  readonly arguments: readonly Argument[];
  /** The host's kernel hands pages for the guest's tables along. */
  readonly memcache: boolean;
}

/** Arguments of INIT_VM that most hosts have nothing to say with. */
const OPTIONAL = ["flags", "table", "events"];

/** Every hypercall, by the name that scripts use. */
export const CALLS: ReadonlyMap<string, Call> = new Map(
  HYPERCALLS.map(({ number, name, parameters, memcache }) => {
    const script = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return [script, { number, script, memcache, arguments: parameters.map(argumentOf) }];
  }),
);

const NUMBERED = new Map([...CALLS.values()].map((call) => [call.number, call]));

/** A hypercall by its number. One that no hypervisor knows takes up to eight words. */
export function callNumbered(number: number): Call {
  const known = NUMBERED.get(number);
  if (known !== undefined) return known;
  const words = Array.from({ length: 8 }, (_, i) => argumentOf(`word${i}`));
  return {
    number,
    script: `hypercall ${number}`,
    arguments: words.map((word) => ({ ...word, optional: true })),
    memcache: false,
  };
}

/** `unshare_guest handle gfn n`, for messages. */
export function formOf({ script, arguments: list }: Call): string {
  const words = list.map(({ name, optional }) => (optional ? `[${name}]` : name));
  return [script, ...words].join(" ");
}

function argumentOf(name: string): Argument {
  return { name, kind: kindOf(name), optional: OPTIONAL.includes(name) };
}

function kindOf(name: string): ArgumentKind {
  if (/pfn$/i.test(name)) return "pfn";
  return name === "gfn" || name === "n" || name === "prot" || name === "handle" ? name : "other";
}
