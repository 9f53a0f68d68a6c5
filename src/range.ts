/**
 * What callers hand in, checked: addresses, sizes, protections, options. Nothing was changed when one of these throws.
 *
 * Addresses and sizes are exact integers in [0, 2^53], as `number` or `bigint`; inside they are numbers. Whether a range
 * lies inside a table's input space is the core's to say (ERANGE).
 */
import { PROT_KNOWN } from "./_abi.ts";
import { Stage2Error } from "./errors.ts";

/** A byte address or a number of bytes: an exact integer in [0, 2^53]. */
export type Address = number | bigint;

/** A stretch of intermediate physical (guest physical) address space. */
export interface Range {
  /** First address. Rounded down to a page by the operations. */
  ipa: Address;
  /** Bytes, more than 0. The end is rounded up to a page. */
  size: Address;
}

const LIMIT = 2 ** 53;

/** A checked address. */
export function address(value: Address, name: string): number {
  if (typeof value === "number" && value >= 0 && value <= LIMIT && Math.floor(value) === value) {
    return value;
  }
  if (typeof value === "bigint" && value >= 0n && value <= LIMIT) return Number(value);
  throw new Stage2Error("BAD_ADDRESS", `${name} must be an exact integer in [0, 2^53]`, {
    [name]: value,
  });
}

/** The checked size of a range that starts at `start`. */
export function byteCount(value: Address, start: number): number {
  if (
    typeof value === "number" &&
    value > 0 &&
    Math.floor(value) === value &&
    start + value <= LIMIT
  ) {
    return value;
  }
  if (typeof value === "bigint" && value > 0n && BigInt(start) + value <= LIMIT)
    return Number(value);
  throw new Stage2Error("BAD_SIZE", "size must be a positive integer, and the range end by 2^53", {
    start,
    size: value,
  });
}

/** Refuses what has no fields, as `undefined` where a request belongs. */
export function fields<T>(request: T): T {
  if (typeof request === "object" && request !== null) return request;
  throw new Stage2Error("BAD_OPTION", "a request must be an object", { request });
}

/** The checked first address and size of a range. */
export function span(range: Range): { ipa: number; size: number } {
  const ipa = address(fields(range).ipa, "ipa");
  return { ipa, size: byteCount(range.size, ipa) };
}

/** Checked protection bits. */
export function protection(value: number): number {
  if (typeof value === "number" && (value & PROT_KNOWN) === value) return value;
  throw new Stage2Error("BAD_PROT", "prot has unknown bits", { prot: value });
}

/** A checked integer option in [min, max]. */
export function integerOption(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max)
    return value;
  throw new Stage2Error("BAD_OPTION", `${name} must be an integer in [${min}, ${max}]`, {
    [name]: value,
  });
}

/** A checked option that takes one of a few values. */
export function choiceOption<T>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  throw new Stage2Error("BAD_OPTION", `${name} must be one of ${choices.join(", ")}`, {
    [name]: value,
  });
}

/** A checked on/off option. */
export function flagOption(name: string, value: unknown): boolean {
  return choiceOption(name, value, [true, false]);
}

/** Refuses names that `known` does not have: a misspelt option must not pass as its default. */
export function knownOptions(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw new Stage2Error("BAD_OPTION", `${what} options must be an object`, { options });
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new Stage2Error("BAD_OPTION", `${what} has no option "${unknown}"`, { option: unknown });
}
