/** What the callers of the core do between its calls: a change of a memslot, a range operation to its end. */
import type { Agent } from "../../../src/explorer/litmus.ts";
import { CHANGE, RANGE } from "../../../src/vm/_abi.ts";
import type { Call, Part } from "./observe.ts";
import { PAGE } from "./support.ts";

/** Where slots lie in the host's address space unless a test says otherwise. */
export const HVA = 0x7000_0000_0000;
/** A second place there. */
export const HVA2 = 0x7100_0000_0000;

export interface SlotStart {
  readonly id?: number;
  readonly ipa?: number;
  readonly pages: number;
  readonly hva?: number;
  /** SLOT_FLAG bits. */
  readonly flags?: number;
}

/** A VM, and how it is called. */
export interface Callable {
  readonly vm: number;
  /** A call with these words in the argument block. */
  asks(on: Agent, values: readonly (number | bigint)[], call: Call): Part<number>;
  /** r[index] of the agent's last call. */
  result(on: Agent, index: number): number;
}

/** KVM_SET_USER_MEMORY_REGION, with what its caller does between the core's calls: CHANGE, or what failed. */
export function* setSlot(
  on: Callable,
  by: Agent,
  { id = 0, ipa = 0, pages, hva = HVA, flags = 0 }: SlotStart,
): Part<number> {
  const { core } = by;
  const change = yield* on.asks(by, [ipa, pages * PAGE, hva], () =>
    core.vm_region_begin(on.vm, id, flags, 2),
  );
  if (change <= 0) return change;
  const old = [on.result(by, 0), on.result(by, 1)] as const;
  let status = 0;
  if (change === CHANGE.DELETE || change === CHANGE.MOVE) {
    status = yield () => core.vm_region_invalidate(on.vm);
    if (status === 0) status = yield* range(on, by, RANGE.UNMAP, ...old);
  }
  if (status >= 0) status = yield* commit(on, by);
  yield () => core.vm_region_end(on.vm);
  return status < 0 ? status : change;
}

function* commit(on: Callable, by: Agent): Part<number> {
  const { core } = by;
  const status = yield () => core.vm_region_commit(on.vm, 0);
  const [ipa, size, splits, flushes] = [0, 1, 2, 3].map((n) => on.result(by, n));
  if (status !== 0 || !size) return status;
  const protection = yield* range(on, by, RANGE.WRPROTECT, ipa ?? 0, size);
  if (protection < 0) return protection;
  if (flushes === 1) yield () => core.vm_flush_tlb(on.vm, ipa ?? 0, size);
  return splits === 1 ? yield* range(on, by, RANGE.SPLIT, ipa ?? 0, size) : 0;
}

/** A range operation to its end, piece by piece: 0, or what failed. */
function* range(
  on: Callable,
  { core }: Agent,
  op: number,
  ipa: number,
  size: number,
): Part<number> {
  for (let done = 0; done < size;) {
    const [from, left, resumed] = [ipa + done, size - done, done === 0 ? 0 : 1];
    const bytes = yield () => core.vm_range(on.vm, op, from, left, 1, resumed);
    if (bytes < 0) return bytes;
    if (bytes === 0) throw new Error("a range operation does nothing");
    done += bytes;
  }
  return 0;
}
