/** Events of a VM: what the page-table library was asked, and what came of it. Each VM says which kinds it logs. */
import * as events from "../events";
import { thisThread } from "../layout";
import { Vm } from "./vm";

// @ts-ignore: decorator
@inline export const FAULT: u32 = 80;
// @ts-ignore: decorator
@inline export const MAP: u32 = 81;
// @ts-ignore: decorator
@inline export const RELAX: u32 = 82;
// @ts-ignore: decorator
@inline export const MKYOUNG: u32 = 83;
// @ts-ignore: decorator
@inline export const UNMAP: u32 = 84;
// @ts-ignore: decorator
@inline export const WRPROTECT: u32 = 85;
// @ts-ignore: decorator
@inline export const AGE: u32 = 86;
// @ts-ignore: decorator
@inline export const SPLIT: u32 = 87;
// @ts-ignore: decorator
@inline export const FLUSH: u32 = 88;
// @ts-ignore: decorator
@inline export const FLUSH_TLB: u32 = 89;
// @ts-ignore: decorator
@inline export const DIRTY: u32 = 90;
// @ts-ignore: decorator
@inline export const SLOT: u32 = 91;
// @ts-ignore: decorator
@inline export const INVALIDATE: u32 = 92;

/** In place of a vCPU: none. */
// @ts-ignore: decorator
@inline export const NOBODY: u32 = 0xffff;

/** `status`: 0 or a positive errno. */
export function log(vm: Vm, kind: u32, status: i32, vcpu: u32, a: u64, b: u64, c: u64): void {
  if (vm.logs(kind)) events.append(kind, status, thisThread(), vm.number << 16 | vcpu, a, b, c);
}
