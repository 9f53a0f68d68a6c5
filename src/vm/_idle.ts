/**
 * Long work without keeping a thread busy: it runs in slices, and between them the thread's other tasks have their turn. All
 * work of a thread shares its slices, so that several operations take no longer at a time than one.
 */

/** Milliseconds that a slice lasts: with a piece that goes beyond it, and a collection of garbage, less than a frame of 16 ms. */
const SLICE = 6;

const waiting: (() => void)[] = [];
let ticking = false;
let sliceEnd = 0;
let channel: MessageChannel | undefined;

/** Whether this slice is over. The first look of a task finds it over, too: a new one starts with {@link nextSlice}. */
export function sliceIsOver(): boolean {
  return performance.now() >= sliceEnd;
}

/** Settles in a task of its own, at the start of a slice. Who waits has it in turn. */
export function nextSlice(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (ticking) return;
    ticking = true;
    later(tick);
  });
}

/** One slice for the one that waits longest. */
function tick(): void {
  sliceEnd = performance.now() + SLICE;
  waiting.shift()?.();
  ticking = waiting.length > 0;
  if (ticking) later(tick);
}

/**
 * Runs a task behind what waits already: input, timers, messages. Hosts without `setImmediate` queue messages like that;
 * `scheduler.yield` would go on before other tasks of the thread, which is what this is not for.
 */
function later(task: () => void): void {
  const { setImmediate } = globalThis as { setImmediate?: (task: () => void) => unknown };
  if (typeof setImmediate === "function") return void setImmediate(task);
  channel ??= new MessageChannel();
  channel.port1.onmessage = task; // one task at a time: tick asks for the next
  channel.port2.postMessage(undefined);
}
