/**
 * What waiting means to agents. One that waits for ever is disabled until it is woken. One that waits for a while is
 * disabled until it is woken or the word differs from what it expected; time does not pass, so it never gives up, unless
 * nobody can go on: then the first agent that waits for a while does.
 */
import type { Stop } from "../agents/stop.ts";

interface Waiter {
  readonly agent: number;
  readonly stop: Stop;
  woken: boolean;
}

export class Waiting {
  readonly #words: Int32Array;
  readonly #queue: Waiter[] = [];

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Whether the word holds what a wait expects. */
  holds(stop: Stop): boolean {
    const at = stop.address >>> 2;
    const low = BigInt((this.#words[at] as number) >>> 0);
    if (stop.bytes === 4) return low === stop.expected;
    return (BigInt((this.#words[at + 1] as number) >>> 0) << 32n) + low === stop.expected;
  }

  enter(agent: number, stop: Stop): void {
    this.#queue.push({ agent, stop, woken: false });
  }

  isWaiting(agent: number): boolean {
    return this.#find(agent) !== undefined;
  }

  wasWoken(agent: number): boolean {
    return this.#find(agent)?.woken === true;
  }

  /** Whether an agent that waits can go on. */
  canGoOn(agent: number): boolean {
    const waiter = this.#find(agent);
    if (waiter === undefined || waiter.woken) return true;
    return waiter.stop.timeout >= 0n && !this.holds(waiter.stop);
  }

  leave(agent: number): void {
    const at = this.#queue.findIndex((waiter) => waiter.agent === agent);
    this.#queue.splice(at, 1);
  }

  /** Wakes the first `count` that wait on a word; how many there were. */
  wake(address: number, count: number): number {
    let woken = 0;
    for (const waiter of this.#queue) {
      if (woken === count) break;
      if (waiter.woken || waiter.stop.address !== address) continue;
      waiter.woken = true;
      woken++;
    }
    return woken;
  }

  /** The agent that gives up when nobody can go on. */
  get impatient(): number | undefined {
    const timed = this.#queue.filter((waiter) => waiter.stop.timeout >= 0n);
    return timed.length === 0 ? undefined : Math.min(...timed.map((waiter) => waiter.agent));
  }

  #find(agent: number): Waiter | undefined {
    for (const waiter of this.#queue) if (waiter.agent === agent) return waiter;
    return undefined;
  }
}
