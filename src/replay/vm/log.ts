/** Dirty logs: which words of a bitmap were taken, what that protected, and how many pages were told of. */
import type { Comparison } from "./comparison.ts";
import type { Fields } from "./fields.ts";
import type { ReplayedVm } from "./machine.ts";
import type { Abort, DirtyLog } from "./model.ts";
import { compareSlot } from "./slot_player.ts";

const WORD_PAGES = 64;

/** Gets or clears the log on our VM, and compares what it took. `writers` may not have marked their pages yet. */
export function playLog(
  vm: ReplayedVm,
  log: DirtyLog,
  writers: readonly Abort[],
  comparison: Comparison,
  fields: Fields,
): void {
  for (const { record } of log.words) compareSlot(vm, record, fields, comparison);
  const late = withhold(vm, log, writers, fields.pageBytes);
  comparison.tally.undecide("late-mark", late.length);
  const before = vm.bitmap(log.slot);
  const pages = log.op === "get" ? vm.getLog(log.slot) : clear(vm, log, before.length);
  const after = vm.bitmap(log.slot);
  compareWords(log, taken(before, after), comparison);
  compareCount(log, pages, comparison);
  const recorded = log.words.flatMap(({ calls }) => calls);
  comparison.calls(log, log.flush ? [...recorded, log.flush] : recorded, vm.calls());
  for (const page of late) vm.mark(log.slot, page);
}

/**
 * A fault marks its page after it has let go of the lock, and the log can come between. Such a page is not in the recorded words,
 * though it is in our bitmap: it is taken out for the time being.
 */
function withhold(
  vm: ReplayedVm,
  log: DirtyLog,
  writers: readonly Abort[],
  pageBytes: number,
): number[] {
  if (log.words.length === 0 || writers.length === 0) return [];
  const slot = vm.slot(log.slot);
  const bits = vm.bitmap(log.slot);
  const late = new Set<number>();
  for (const { fault } of writers) {
    const page = Math.floor((fault.ipa - (slot?.ipa ?? 0)) / pageBytes);
    if (bit(bits[Math.floor(page / WORD_PAGES)], page) && isAsked(log, page) && !isTaken(log, page))
      late.add(page);
  }
  for (const page of late) vm.unmark(log.slot, page);
  return [...late];
}

function bit(word: bigint | undefined, page: number): boolean {
  return word !== undefined && ((word >> BigInt(page % WORD_PAGES)) & 1n) === 1n;
}

function isTaken({ words }: DirtyLog, page: number): boolean {
  const word = words.find((each) => each.page === page - (page % WORD_PAGES));
  return bit(word?.mask, page);
}

/** Whether the page is one of those that were to be taken. */
function isAsked({ op, request }: DirtyLog, page: number): boolean {
  if (op === "get") return true;
  if (request === undefined) return false; // only what was taken is known
  const { first, pages, pattern } = request;
  return page >= first && page < first + pages && bit(pattern, page);
}

function clear(vm: ReplayedVm, log: DirtyLog, words: number): undefined {
  const mask = log.request
    ? new BigUint64Array(Math.ceil(log.request.pages / WORD_PAGES)).fill(log.request.pattern)
    : new BigUint64Array(words);
  if (log.request === undefined)
    for (const { page, mask: bits } of log.words) mask[page / WORD_PAGES] = bits;
  vm.clearLog(log, mask);
}

/** Words of what is not in the bitmap any more. */
function taken(before: BigUint64Array, after: BigUint64Array): string[] {
  return [...before].flatMap((word, index) => {
    const gone = word & ~(after[index] as bigint);
    return gone === 0n ? [] : [text(index, gone)];
  });
}

/** Words that are zero were passed over. */
function compareWords(log: DirtyLog, ours: readonly string[], comparison: Comparison): void {
  const theirs = log.words.map(({ page, mask }) => text(page / WORD_PAGES, mask));
  comparison.tally.words += theirs.length;
  for (let i = 0; i < Math.max(ours.length, theirs.length); i++) {
    if (ours[i] === theirs[i]) continue;
    const [mine, other] = [ours[i] ?? "no more words", theirs[i] ?? "no more words"];
    return comparison.differs(log.words[i] ?? log, `took ${mine}, recorded ${other}`);
  }
}

function text(index: number, word: bigint): string {
  return `word ${index} with 0x${word.toString(16)}`;
}

function compareCount(
  { count }: DirtyLog,
  pages: number | undefined,
  comparison: Comparison,
): void {
  if (count === undefined || pages === undefined) return;
  comparison.tally.counts++;
  if (count.pages !== pages)
    comparison.differs(count, `${pages} pages are dirty, recorded ${count.pages}`);
}
