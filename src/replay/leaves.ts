/** The leaves of a page table in the middle of a replay, as plain numbers. */
import { LIST } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { levelShift } from "../decode.ts";
import { batches } from "../iterate.ts";
import type { ReplayedTable } from "./driver.ts";

/** One block or page. */
export interface PlainLeaf {
  readonly ipa: number;
  readonly size: number;
  readonly level: number;
  /** `Prot` bits R, W and X. */
  readonly prot: number;
  readonly accessed: boolean;
}

const ACCESSED = 1 << 10;
const READ_WRITE_SHIFT = 6;
const EXECUTE_NEVER_HIGH = 1 << 22;

/** Every leaf, ascending. */
export function* leavesOf(
  context: Context,
  table: ReplayedTable,
  pageShift: number,
): Generator<PlainLeaf> {
  const list = (): number => context.core.pgt_list(table.pgt, LIST.LEAVES);
  for (const batch of batches(context, 0, 2 ** table.iaBits, list)) {
    for (let i = 0; i < batch.length; i++) {
      const level = batch.level(i);
      const low = batch.low(i);
      const readWrite = (low >>> READ_WRITE_SHIFT) & 3;
      const execute = (batch.high(i) & EXECUTE_NEVER_HIGH) === 0;
      yield {
        ipa: batch.address(i),
        size: 2 ** levelShift(pageShift, level),
        level,
        prot: ((readWrite & 1) << 2) | (readWrite & 2) | Number(execute),
        accessed: (low & ACCESSED) !== 0,
      };
    }
  }
}
