/**
 * Operations on the one entry, page or block, that decides an address: the helpers that the first arm64 ports of aging
 * and dirty logging used. Each is one atomic step on the entry.
 */
import type { Context } from "./_context.ts";
import { outcome } from "./_outcome.ts";
import { pureContext } from "./_pure.ts";
import { Stage2Error } from "./errors.ts";
import { type Address, address, flagOption, knownOptions } from "./range.ts";
import { Stage2 } from "./stage2.ts";

/** How the entry is changed. */
export interface EntryOptions {
  /**
   * With a load-exclusive / store-exclusive loop (LDXR, STXR) in place of a compare-exchange. Such a store may fail for no
   * reason, see {@link Engine.setSpuriousFailures}; the loop retries until it has stored. Default false.
   */
  exclusives?: boolean;
}

/**
 * Whether the entry was young; it is old now (`stage2_ptep_test_and_clear_young`, `stage2_pmdp_test_and_clear_young`,
 * `__ptep_test_and_clear_young` with exclusives). An old entry is not written.
 * @throws Stage2Error `ENOENT` if no valid leaf maps `ipa`; `ERANGE`.
 */
export function testAndClearYoung(
  table: Stage2,
  ipa: Address,
  options: EntryOptions = {},
): boolean {
  const context = contextOf(table);
  const { core } = context;
  const status = core.entry_test_and_clear_young(table.pointer, address(ipa, "ipa"), loop(options));
  return outcome(context, status, "testAndClearYoung", { ipa }) === 1;
}

/**
 * Makes the entry read-only and keeps all its other bits, whatever happens to them meanwhile (`kvm_set_s2pte_readonly`,
 * `kvm_set_s2pmd_readonly`). An entry without access becomes read-only too.
 * @throws Stage2Error `ENOENT` if no valid leaf maps `ipa`; `ERANGE`.
 */
export function setReadonly(table: Stage2, ipa: Address, options: EntryOptions = {}): void {
  const context = contextOf(table);
  const { core } = context;
  const status = core.entry_set_readonly(table.pointer, address(ipa, "ipa"), loop(options));
  outcome(context, status, "setReadonly", { ipa });
}

/**
 * Whether the entry is readable and not writable (`kvm_s2pte_readonly`, `kvm_s2pmd_readonly`).
 * @throws Stage2Error `ENOENT` if no valid leaf maps `ipa`; `ERANGE`.
 */
export function isReadonly(table: Stage2, ipa: Address): boolean {
  const context = contextOf(table);
  const { core } = context;
  const status = core.entry_readonly(table.pointer, address(ipa, "ipa"));
  return outcome(context, status, "isReadonly", { ipa }) === 1;
}

/** The descriptor `pte`, readable and writable; no table is touched (`kvm_s2pte_mkwrite`, `kvm_s2pmd_mkwrite`). */
export function mkwrite(pte: bigint): bigint {
  const context: Context = pureContext();
  context.setArgument(0, descriptor(pte));
  context.core.pte_mkwrite();
  return context.result(0);
}

/** A checked 64-bit descriptor. */
export function descriptor(pte: bigint): bigint {
  if (typeof pte === "bigint" && pte >= 0n && pte < 2n ** 64n) return pte;
  throw new Stage2Error("BAD_OPTION", "a descriptor is a bigint of 64 bits", { pte });
}

function loop(options: EntryOptions): number {
  knownOptions("entry", options, ["exclusives"]);
  return flagOption("exclusives", options.exclusives ?? false) ? 1 : 0;
}

/** The context of what must be a page table. */
function contextOf(table: Stage2): Context {
  if (table instanceof Stage2) return table.context;
  throw new Stage2Error("BAD_OPTION", "this is no stage-2 page table", { table });
}
