/** Results of hypercalls by name. */
import { errnoName } from "../../errors.ts";
import { NOT_SUPPORTED } from "../../pkvm/_abi.ts";

const SPECIAL = "NOT_SUPPORTED";
const LARGEST_ERRNO = 133;

const NUMBERS: ReadonlyMap<string, number> = new Map(
  Array.from({ length: LARGEST_ERRNO }, (_, i) => i + 1).flatMap((number) => {
    const name = errnoName(number);
    return name === undefined ? [] : [[name, number] as const];
  }),
);

/** The result that a word names: an errno, or what a hypervisor says to calls that it does not know. */
export function errnoNumber(word: string): { value: number; special: boolean } | undefined {
  if (word === SPECIAL) return { value: NOT_SUPPORTED, special: true };
  const number = NUMBERS.get(word);
  return number === undefined ? undefined : { value: -number, special: false };
}

/** `0`, `-EPERM`, `NOT_SUPPORTED`; large values in hexadecimal. */
export function resultName(value: number): string {
  if (value === NOT_SUPPORTED) return SPECIAL;
  if (value < 0) return `-${errnoName(-value) ?? -value}`;
  return value >= 0x1000 ? `0x${value.toString(16)}` : String(value);
}
