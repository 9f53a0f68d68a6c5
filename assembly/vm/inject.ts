/** Exceptions that KVM gives to a guest in place of what it cannot do for it (Arm ARM D24.2.40; kvm_inject_dabt and its kin). */
import { setResult } from "../layout";

// Exception classes; from a lower level without bit 26, from the same level with it.
// @ts-ignore: decorator
@inline export const IABT_LOW: u32 = 0x20;
// @ts-ignore: decorator
@inline export const DABT_LOW: u32 = 0x24;
// @ts-ignore: decorator
@inline const SAME_LEVEL: u32 = 1;
// @ts-ignore: decorator
@inline const EC_SHIFT: u64 = 26;
// @ts-ignore: decorator
@inline const IL: u64 = 1 << 25;

// Fault status codes.
// @ts-ignore: decorator
@inline export const ADDRESS_SIZE_0: u32 = 0x00;
// @ts-ignore: decorator
@inline export const EXTERNAL: u32 = 0x10;

/** An abort at EL1: ESR_EL1, FAR_EL1 and whether it is an instruction abort, in the results. */
export function injectAbort(esr: u64, fsc: u32, far: u64, instruction: bool, fromEl0: bool): void {
  const ec = (instruction ? IABT_LOW : DABT_LOW) | (fromEl0 ? 0 : SAME_LEVEL);
  setResult(0, <u64>ec << EC_SHIFT | (esr & IL) | fsc);
  setResult(1, far);
  setResult(2, <u64>instruction);
}
