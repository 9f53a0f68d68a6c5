/** What an access needs, and the addresses it is made to. */
import { ACCESS } from "./_abi.ts";
import { Stage2Error } from "./errors.ts";

/**
 * Kinds of access. A read-modify-write is `ReadWrite`. Data accesses may be made as EL0 whatever PSTATE says, as LDTR and
 * STTR make them: `Access.Read | Access.Unprivileged`.
 */
export const Access = {
  /** Data is loaded. */
  Read: ACCESS.READ,
  /** Data is stored. */
  Write: ACCESS.WRITE,
  /** Both: atomics, exclusives that store. */
  ReadWrite: 3,
  /** Instructions are fetched. */
  Fetch: ACCESS.FETCH,
  /** A modifier of data accesses. */
  Unprivileged: ACCESS.UNPRIVILEGED,
} as const;

/**
 * A virtual address, of up to 64 bits: a number in [-2^53, 2^53], where kernel addresses are the negative numbers that
 * their 64 bits mean when signed (-1 is 0xffff_ffff_ffff_ffff), or a bigint in [-2^63, 2^64).
 */
export type VirtualAddress = number | bigint;

/** Bytes of an access. */
export type AccessSize = 1 | 2 | 4 | 8;

/** How a load or store is made. */
export interface AccessOptions {
  /** As EL0 would (LDTR, STTR). Default: as the Exception level in PSTATE. */
  unprivileged?: boolean;
}

/** Beside the three that nearly all accesses are. */
const OTHER_ACCESSES = [3, 9, 10, 11];
const LIMIT = 2 ** 53;

/** Whether a value names a kind of access: 1 to 4, or data accesses with the modifier. */
export function isAccess(access: number): boolean {
  if (access === ACCESS.READ || access === ACCESS.WRITE || access === ACCESS.FETCH) return true;
  return OTHER_ACCESSES.includes(access);
}

/** The checked kind of an access. */
export function checkedAccess(access: number): number {
  if (isAccess(access)) return access;
  throw new Stage2Error("BAD_OPTION", "access must be one of Access", { access });
}

/** A checked address: a number where it is exact, else the 64 bits as a bigint in [0, 2^64). */
export function virtualAddress(va: VirtualAddress): VirtualAddress {
  if (Number.isSafeInteger(va) || va === LIMIT || va === -LIMIT) return va;
  if (typeof va === "bigint" && va >= -(2n ** 63n) && va < 2n ** 64n) {
    const signed = BigInt.asIntN(64, va);
    return signed >= -LIMIT && signed <= LIMIT ? Number(signed) : BigInt.asUintN(64, va);
  }
  throw new Stage2Error(
    "BAD_ADDRESS",
    "a virtual address is an exact integer in [-2^53, 2^53], or a bigint of 64 bits",
    { va },
  );
}
