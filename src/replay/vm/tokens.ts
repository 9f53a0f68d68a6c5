/** Library calls as text, ours and the recorded ones in the same words. */
import { RECORD_BYTES } from "../../_abi.ts";
import type { Context } from "../../_context.ts";
import { hex, hex64 } from "../addresses.ts";
import type { TraceRecord } from "../record.ts";
import { VM_EVENT } from "../../vm/_abi.ts";

const WORDS = RECORD_BYTES / 4;
/** What is logged: library calls and flushes, MAP to FLUSH_TLB. */
export const CALL_EVENTS = ((1 << (VM_EVENT.FLUSH_TLB - 79)) - 1) & ~1;

/** The recorded call. */
export function recordedCall(record: TraceRecord): string {
  const { op, addr, size, prot, flags, mkold, ret } = record;
  switch (op) {
    case "s2_map":
      return `${op} ${addr} ${size} prot ${prot} flags ${flags}: ${ret}`;
    case "s2_relax_perms":
      return `${op} ${addr} prot ${prot}: ${ret}`;
    case "s2_mkyoung":
      return `${op} ${addr}: ${entry(ret)}`;
    case "s2_test_clear_young":
      return `${op} ${addr} ${size} mkold ${mkold}: ${ret}`;
    case "tlb_flush_range":
      return `${op} ${addr} ${size}`;
    default:
      return `${op} ${addr} ${size}: ${ret}`;
  }
}

/** An entry that was returned; zero can be written as a number. */
function entry(value: number | string | undefined): string {
  return `0x${BigInt(value ?? 0).toString(16)}`;
}

/** The calls that our VM has made since the last time, oldest first. */
export function predictedCalls(context: Context): string[] {
  const { core } = context;
  if (core.events_lost() > 0) throw new Error("the event ring is too small");
  const count = core.events_count();
  if (count === 0) return [];
  const [first, capacity, tail] = [
    (core.events_pointer() >>> 0) / 4,
    core.events_capacity(),
    core.events_tail() >>> 0,
  ];
  const { u32 } = context;
  const out = Array.from({ length: count }, (_, i) =>
    predictedCall(u32, first + ((tail + i) % capacity) * WORDS),
  );
  core.events_consume(count);
  return out;
}

const NAMES: Readonly<Record<number, string>> = {
  [VM_EVENT.UNMAP]: "s2_unmap",
  [VM_EVENT.WRPROTECT]: "s2_wrprotect",
  [VM_EVENT.SPLIT]: "s2_split",
  [VM_EVENT.FLUSH]: "s2_flush",
};

function predictedCall(words: Uint32Array, at: number): string {
  const head = words[at] as number;
  const kind = head & 0xff;
  const result = -((head << 16) >> 24);
  const half = (index: number): number => words[at + index] as number;
  const [addr, b] = [hex64(half(3), half(2)), hex64(half(5), half(4))];
  switch (kind) {
    case VM_EVENT.MAP:
      return `s2_map ${addr} ${b} prot ${hex(half(6))} flags ${hex(half(7))}: ${result}`;
    case VM_EVENT.RELAX:
      return `s2_relax_perms ${addr} prot ${hex(half(6))}: ${result}`;
    case VM_EVENT.MKYOUNG:
      return `s2_mkyoung ${addr}: ${hex64(half(7), half(6))}`;
    case VM_EVENT.AGE:
      return `s2_test_clear_young ${addr} ${b} mkold ${half(6) & 1}: ${half(6) >>> 1}`;
    case VM_EVENT.FLUSH_TLB:
      return `tlb_flush_range ${addr} ${b}`;
    default:
      return `${NAMES[kind] ?? `event ${kind}`} ${addr} ${b}: ${result}`;
  }
}
