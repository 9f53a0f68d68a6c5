/** Fault status codes (Arm ARM D24.2 ESR_EL2, ISS encoding of aborts). */

// Types: the status code of level 0, as codes of levels 0 to 3 follow each other.
// @ts-ignore: decorator
@inline export const ADDRESS_SIZE: u32 = 0x00;
// @ts-ignore: decorator
@inline export const TRANSLATION: u32 = 0x04;
// @ts-ignore: decorator
@inline export const ACCESS_FLAG: u32 = 0x08;
// @ts-ignore: decorator
@inline export const PERMISSION: u32 = 0x0c;
// @ts-ignore: decorator
@inline export const EXTERNAL_ON_WALK: u32 = 0x14;
// Types without a level.
// @ts-ignore: decorator
@inline export const EXTERNAL: u32 = 0x10;
// @ts-ignore: decorator
@inline export const ALIGNMENT: u32 = 0x21;
// @ts-ignore: decorator
@inline export const TLB_CONFLICT: u32 = 0x30;
// @ts-ignore: decorator
@inline export const NO_ATOMIC_UPDATES: u32 = 0x31;
// @ts-ignore: decorator
@inline export const NONE: u32 = 0xff;
