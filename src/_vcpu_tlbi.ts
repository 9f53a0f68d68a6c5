/** TLB invalidation instructions by name, with what each of them takes (Arm ARM D8.14, C5.5). */
import { LEVEL_UNKNOWN, TLBI_OP } from "./_abi.ts";
import type { Context } from "./_context.ts";
import type { TlbiOperation } from "./_vcpu_event.ts";
import { type VirtualAddress, virtualAddress } from "./access.ts";
import { Stage2Error } from "./errors.ts";
import { choiceOption, integerOption, knownOptions } from "./range.ts";

export type { TlbiOperation } from "./_vcpu_event.ts";

/** What an invalidation names. */
export interface TlbiRequest {
  /** The VA, or with IPAS2 forms the IPA, that entries translate. All but VMALLE1, VMALLS12E1, ALLE1 and ASIDE1 need it. */
  address?: VirtualAddress;
  /** Range forms (R...): pages of 4 KiB from `address` on, 1 to 2^21. */
  pages?: number;
  /** Forms by VA, and ASIDE1: 0 to 65,535. Default 0. Forms for all ASIDs (VAAE1, ...) take none. */
  asid?: number;
  /** Level of the leaf, -1 to 3, if it is known: entries of other levels may stay. Default: any. */
  level?: number;
}

/** The same by software outside every guest. */
export interface EngineTlbiRequest extends TlbiRequest {
  /** Whose entries: {@link Stage2.vmid}. All but ALLE1 need it. */
  vmid?: number;
}

/** The same by a guest or for it. */
export interface VcpuTlbiRequest extends TlbiRequest {
  /** On this vCPU's thread only, not on all (the forms without IS). Default: broadcast. */
  local?: boolean;
}

const MOST_PAGES = 2 ** 21;
const OPERATIONS = Object.keys(TLBI_OP) as TlbiOperation[];
const WHOLE: readonly TlbiOperation[] = ["VMALLE1", "VMALLS12E1", "ALLE1", "ASIDE1"];
const BY_ASID: readonly TlbiOperation[] = ["VAE1", "VALE1", "RVAE1", "RVALE1", "ASIDE1"];

/**
 * Checks an invalidation and puts its operands into the argument block.
 * @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`
 */
export function prepareTlbi(
  context: Context,
  operation: TlbiOperation,
  request: TlbiRequest,
  more: string,
): { op: number; level: number } {
  const name = choiceOption<TlbiOperation>("operation", operation, OPERATIONS);
  knownOptions(name, request, [...operandsOf(name), more]);
  const { address, pages, asid = 0, level } = request;
  const range = name.startsWith("R");
  if (address === undefined && !WHOLE.includes(name)) {
    throw new Stage2Error("BAD_OPTION", `${name} needs an address`, { address });
  }
  const count = range ? integerOption("pages", pages, 1, MOST_PAGES) : 1;
  const tag = integerOption("asid", asid, 0, 0xffff);
  const at = virtualAddress(address ?? 0);
  const hint = level === undefined ? LEVEL_UNKNOWN : integerOption("level", level, -1, 3);
  context.setArgument(0, BigInt.asUintN(64, BigInt(at)));
  context.setArgument(1, BigInt(count));
  context.setArgument(2, BigInt(tag));
  return { op: TLBI_OP[name], level: hint };
}

/** The same for software outside every guest, which names the VMID. */
export function prepareEngineTlbi(
  context: Context,
  operation: TlbiOperation,
  request: EngineTlbiRequest,
): { op: number; level: number; vmid: number } {
  const prepared = prepareTlbi(context, operation, request, "vmid");
  const { vmid = operation === "ALLE1" ? 0 : undefined } = request;
  return { ...prepared, vmid: integerOption("vmid", vmid, 0, 0xffff) };
}

function operandsOf(name: TlbiOperation): string[] {
  const operands = WHOLE.includes(name) ? [] : ["address", "level"];
  if (name.startsWith("R")) operands.push("pages");
  if (BY_ASID.includes(name)) operands.push("asid");
  return operands;
}
