/** What the calls that change attributes of a leaf stored: the record of a visit says only what it read afterwards. */
import type { Node } from "./calls.ts";
import type { TraceRecord } from "./record.ts";

const VALID = 1n;
const AF = 1n << 10n;
const READ = 1n << 6n;
const WRITE = 1n << 7n;
const EXECUTE_NEVER = 1n << 54n;
const PROT = { X: 1n, W: 2n, R: 4n } as const;

/** An exchange of attributes: it was made, or another CPU had changed the entry before. */
export interface AttributeExchange {
  readonly value: string;
  readonly won: boolean;
}

/** What a visit of `call` tried to store; undefined if there was nothing to change. */
export function attributeExchange(
  { record, inner }: Node,
  call: TraceRecord,
): AttributeExchange | undefined {
  if (record.op !== "v_attr" && record.op !== "v_age") return undefined;
  const tried = inner.find((node) => node.record.op === "set_pte")?.record;
  if (tried !== undefined) return { value: tried.new as string, won: tried.ret === 1 };
  const value = SHARED[call.op]?.(BigInt(record.old), call);
  const next = value === undefined ? alone(record) : `0x${value.toString(16)}`;
  const won = record.ret === 0;
  return next === record.old || !isValid(record.old) ? undefined : { value: next, won };
}

/** What the calls make of a leaf beside which others change it: what is read back can be theirs. */
const SHARED: Readonly<Record<string, (old: bigint, call: TraceRecord) => bigint>> = {
  s2_mkyoung: (old) => old | AF,
  s2_relax_perms: (old, call) => {
    const prot = BigInt(call.prot);
    const granted = (prot & PROT.R ? READ : 0n) | (prot & PROT.W ? WRITE : 0n);
    return (old | granted) & ~(prot & PROT.X ? EXECUTE_NEVER : 0n);
  },
};

/** A call that nobody runs beside reads back what it stored, if that worked. */
function alone(record: TraceRecord): string {
  return record.ret === 0 ? (record.new as string) : record.old;
}

function isValid(entry: string): boolean {
  return (BigInt(entry) & VALID) !== 0n;
}
