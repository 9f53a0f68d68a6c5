/**
 * Access flags that the recorded host's hardware set between two calls. Nothing records the moment: they show in what
 * the next call found, or in the next dump, as an entry that is ours plus bit 10. Everything else must be equal.
 */
import type { Context } from "../_context.ts";
import type { TableAddresses } from "./addresses.ts";
import type { TraceRecord } from "./record.ts";

const VALID = 1n;
const AF = 1n << 10n;

/** Whether `recorded` is our valid entry with the access flag added. */
function isAccessFlagSet(ours: bigint, recorded: bigint): boolean {
  return (ours & VALID) !== 0n && (ours & AF) === 0n && recorded === (ours | AF);
}

/** Sets the access flags that these visits found set. How many. */
export function takeAccessFlags(
  context: Context,
  addresses: TableAddresses,
  visits: Iterable<TraceRecord>,
): number {
  let taken = 0;
  for (const { pte_pa, old } of visits) {
    const pointer = addresses.pointer(Number(pte_pa));
    if (pointer === undefined) continue;
    taken += Number(takeAccessFlag(context, pointer, BigInt(old)));
  }
  return taken;
}

/** Sets the flag of one entry, if that is all that is missing. */
export function takeAccessFlag(context: Context, pointer: number, recorded: bigint): boolean {
  const { u64 } = context;
  if (!isAccessFlagSet(Atomics.load(u64, pointer / 8), recorded)) return false;
  Atomics.or(u64, pointer / 8, AF);
  return true;
}
