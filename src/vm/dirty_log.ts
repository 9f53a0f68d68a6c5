/** The dirty log of a memslot: which of its pages were written to (`KVM_GET_DIRTY_LOG`, `KVM_CLEAR_DIRTY_LOG`). */
import { EFAULT, Stage2Error } from "../errors.ts";
import { integerOption, knownOptions } from "../range.ts";
import { harvest } from "./_harvest.ts";
import type { VmPlace } from "./_place.ts";
import { type Work, tried } from "./_work.ts";

/** A snapshot of a dirty log. Iterating it gives the numbers of dirty pages in the slot, ascending. */
export class DirtyLog implements Iterable<number> {
  readonly slot: number;
  /** Pages of the slot. */
  readonly pages: number;
  /** Bit i of the whole is page i: word `i >> 6`, bit `i & 63`. Bits behind the last page are 0. */
  readonly bits: BigUint64Array;
  /** How many bits are set. */
  readonly count: number;
  readonly #halves: Uint32Array;

  /** @internal */
  constructor(slot: number, pages: number, bits: BigUint64Array, count: number) {
    this.slot = slot;
    this.pages = pages;
    this.bits = bits;
    this.count = count;
    this.#halves = new Uint32Array(bits.buffer, bits.byteOffset, bits.length * 2);
  }

  /** Whether the page is in it. */
  has(page: number): boolean {
    const half = this.#halves[Math.floor(page / 32)] ?? 0;
    return ((half >>> (page % 32)) & 1) === 1;
  }

  *[Symbol.iterator](): Generator<number, void, undefined> {
    const halves = this.#halves;
    for (let index = 0; index < halves.length; index++) {
      for (let rest = halves[index] as number; rest !== 0; rest &= rest - 1) {
        yield index * 32 + (31 - Math.clz32(rest & -rest));
      }
    }
  }
}

/** What is to be cleared. */
export interface ClearRequest {
  /** First page: a multiple of 64. */
  firstPage: number;
  /** Pages: a multiple of 64, or up to the end of the slot. */
  pages: number;
  /** Bit i: page `firstPage + i`. Bits beyond `pages` do not matter. */
  bitmap: BigUint64Array | Uint8Array;
}

/** Words that one step takes: 64 Ki pages. */
const STEP_WORDS = 1024;
const MOST = 2 ** 32 - 1;

interface LogCall {
  readonly operation: string;
  readonly phase: "collect" | "clear";
}
const GET: LogCall = { operation: "getDirtyLog", phase: "collect" };
const CLEAR: LogCall = { operation: "clearDirtyLog", phase: "clear" };

/** The log that this thread has from the core, between a get or clear and its end. */
interface OpenLog {
  readonly slot: number;
  readonly pages: number;
  /** Pointer of the snapshot, which is as long as the bitmap. */
  readonly snapshot: number;
  readonly first: number;
  /** Words `first` to `end` are wanted. */
  readonly end: number;
}

/** `kvm_get_dirty_log_protect`, or in manual mode a copy. */
export function* getLog(place: VmPlace, slot: number, view: boolean): Work<DirtyLog> {
  integerOption("slot", slot, 0, MOST);
  const { context, core } = place;
  harvest(place, "getDirtyLog");
  const begin = (): number => core.vm_log_get(place.pointer, slot);
  place.done(yield* tried(place, "getDirtyLog", begin), "getDirtyLog", { slot });
  const log = opened(place, slot);
  const { snapshot, pages, end } = log;
  const bits = (): BigUint64Array =>
    view
      ? new BigUint64Array(context.memory.buffer, snapshot, end)
      : context.u64.slice(snapshot / 8, snapshot / 8 + end);
  return yield* take(place, log, GET, (count) => new DirtyLog(slot, pages, bits(), count));
}

/** `kvm_clear_dirty_log_protect`: how many pages were dirty and are clean now. */
export function* clearLog(place: VmPlace, slot: number, request: ClearRequest): Work<number> {
  integerOption("slot", slot, 0, MOST);
  knownOptions("clearDirtyLog", request, ["firstPage", "pages", "bitmap"]);
  const { firstPage, pages, bitmap } = request;
  integerOption("firstPage", firstPage, 0, Number.MAX_SAFE_INTEGER);
  integerOption("pages", pages, 0, Number.MAX_SAFE_INTEGER);
  checkBitmap(bitmap);
  const details = { slot, firstPage, pages };
  const begin = (): number => {
    place.context.setArgument(0, BigInt(firstPage));
    place.context.setArgument(1, BigInt(pages));
    return place.core.vm_log_clear(place.pointer, slot);
  };
  place.done(yield* tried(place, "clearDirtyLog", begin), "clearDirtyLog", details);
  const first = firstPage / 64;
  const log = { ...opened(place, slot), first, end: first + Math.ceil(pages / 64) };
  if (bitmap.byteLength * 8 < pages) {
    place.core.vm_log_end(place.pointer);
    const message = "clearDirtyLog: the bitmap is shorter than the pages";
    throw new Stage2Error("EFAULT", message, { ...details, bytes: bitmap.byteLength }, EFAULT);
  }
  fillMask(place, log, bitmap);
  return yield* take(place, log, CLEAR, (count) => count);
}

function checkBitmap(bitmap: unknown): void {
  if (bitmap instanceof BigUint64Array || bitmap instanceof Uint8Array) return;
  throw new Stage2Error("BAD_OPTION", "bitmap must be a BigUint64Array or a Uint8Array", {
    bitmap,
  });
}

/** Results of vm_log_get and vm_log_clear. */
function opened({ context }: VmPlace, slot: number): OpenLog {
  const [pages, snapshot, bytes] = [0, 2, 3].map((index) => context.resultNumber(index));
  return { slot, pages: pages!, snapshot: snapshot!, first: 0, end: bytes! / 8 };
}

/** The caller's mask, in the place of the snapshot's words; it may be a view of that very place. */
function fillMask({ context }: VmPlace, log: OpenLog, bitmap: BigUint64Array | Uint8Array): void {
  const size = (log.end - log.first) * 8;
  const to = new Uint8Array(context.memory.buffer, log.snapshot + log.first * 8, size);
  const used = Math.min(size, bitmap.byteLength);
  to.set(new Uint8Array(bitmap.buffer, bitmap.byteOffset, used));
  to.fill(0, used);
}

/**
 * Takes all words, then gives the log back; `collect` looks at the snapshot before anybody else can. If it does not come to its
 * end, what was taken is dirty again.
 */
function* take<T>(
  place: VmPlace,
  log: OpenLog,
  call: LogCall,
  collect: (count: number) => T,
): Work<T> {
  const { core, context, pointer, pageSize } = place;
  const { operation, phase } = call;
  const { slot, first, end } = log;
  let [count, at] = [0, first];
  let result: { readonly value: T } | undefined;
  const step = (): number => core.vm_log_take(place.pointer, at, Math.min(STEP_WORDS, end - at));
  try {
    while (at < end) {
      const status = yield* tried(place, operation, step);
      at = status < 0 ? at + context.resultNumber(0) : Math.min(at + STEP_WORDS, end);
      count += place.done(status, operation, { slot });
      const bytes = 64 * pageSize;
      yield { phase, done: (at - first) * bytes, size: (end - first) * bytes };
    }
    result = { value: collect(count) };
  } finally {
    if (result === undefined && place.isLive(pointer)) {
      core.vm_log_restore(pointer, first, at - first);
      core.vm_log_end(pointer);
    }
  }
  const status = core.vm_log_end(place.pointer);
  if (status < 0) throw untold(place, log, status, operation);
  return result.value;
}

/** Somebody may still write to what was protected, and the caller does not come to see what was taken: it is dirty again. */
function untold(place: VmPlace, log: OpenLog, status: number, operation: string): Stage2Error {
  const { context, core, pageSize } = place;
  const error = place.refusal(status, operation, { slot: log.slot });
  if (core.vm_slot(place.pointer, log.slot) !== 1) return error;
  const base = context.resultNumber(0);
  const bits = context.u64.slice(log.snapshot / 8, log.snapshot / 8 + log.end);
  bits.fill(0n, 0, log.first);
  for (const page of new DirtyLog(log.slot, log.pages, bits, 0)) {
    core.vm_mark_dirty(place.pointer, base + page * pageSize);
  }
  return error;
}
