/** What a guest's leaf says: its page, and in bits 56:55 the state of the page for the guest. */
import { outputAddress } from "../descriptor";
import { Pgt } from "../pgt";
import { STATE_SHIFT } from "./page";

/** In place of a leaf: its page was taken back by force. */
// @ts-ignore: decorator
@inline export const POISON: u64 = 4 << 2;

// @ts-ignore: decorator
@inline export function stateIn(leaf: u64): u32 { return <u32>(leaf >> STATE_SHIFT) & 3; }

// @ts-ignore: decorator
@inline export function addressOf(pgt: Pgt, leaf: u64): u64 { return outputAddress(leaf, pgt.pageShift, pgt.lpa2); }
