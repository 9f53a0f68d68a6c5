/** What workers do for a while, beside each other and beside the test. */
import {
  Access,
  type Engine,
  type MemorySegment,
  Prot,
  type Stage2,
  type Stage2Handle,
  type Vcpu,
  WalkFlag,
} from "../../src/index.ts";
import { CONTROL } from "./messages.ts";

export interface Loops {
  /** Sleeps where it is until the test says so. */
  park(): void;
  /** Adds 1 to COUNT in two steps, `times` times, each under the write side. */
  write(times: number): void;
  /** Looks under the read side whether a writer is inside, until the test stops it. How often. */
  read(): number;
  /** Stores `value` at `ipa` by the vCPU until the test stops it. How many stores went through. */
  store(ipa: number, value: number): number;
  /** The same from JavaScript, inside the bracket, at the address that the vCPU gives. */
  bracket(ipa: number, value: number): number;
  /** The same outside it: nobody waits for such a thread. */
  rogue(ipa: number, value: number): number;
  /** Counts, then calls `poll` or `exit` of the vCPU, after `ms`. */
  later(call: "poll" | "exit", ms: number): void;
  /** TLB invalidations by the vCPU inside its bracket, until the test stops it. How many. */
  broadcast(): number;
  /** Walks a stretch of pages by lookups, listings and translations. How many leaves were met. */
  walk(ipa: number, pages: number): number;
  /** Maps and unmaps one page after another of a stretch until the test stops it. How often. */
  churn(ipa: number, pages: number, pa: number): number;
  /** Sets pages aside, in a cache. */
  stock(pages: number): void;
  /** Makes a page table, which outlives the thread: its handle. */
  table(): Stage2Handle;
}

export function loopsOf(control: Int32Array, engine: Engine, s2: Stage2, vcpu: Vcpu): Loops {
  const stopped = (): boolean => Atomics.load(control, CONTROL.STOP) !== 0;
  const add = (word: number, n: number): number => Atomics.add(control, word, n);

  const { pa, size } = engine.memoryMap.segments[1] as MemorySegment;
  const ram = { pa, bytes: engine.memoryMap.bytes(pa, size) };

  /** Says that it runs, then does `step` until it is stopped, once at least; the sum of what the steps return. */
  function until(step: (round: number) => number): number {
    add(CONTROL.RUNNING, 1);
    Atomics.notify(control, CONTROL.RUNNING);
    let sum = 0;
    let round = 0;
    do sum += step(round++);
    while (!stopped());
    add(CONTROL.RUNNING, -1);
    return sum;
  }

  /** Stores to the page of `ipa`, `times` times, at the address that the vCPU gives now. */
  function storeAt(ipa: number, value: number, times: number): number {
    const pa = vcpu.translate(ipa, Access.Write);
    if (typeof pa !== "number") return 0;
    for (let i = 0; i < times; i++) ram.bytes[pa - ram.pa] = value;
    return times;
  }

  return {
    park: () => void until(() => (Atomics.wait(control, CONTROL.STOP, 0), 0)),
    write(times) {
      for (let i = 0; i < times; i++) {
        s2.mmuLock.write(() => {
          if (add(CONTROL.WRITERS, 1) !== 0 || Atomics.load(control, CONTROL.READERS) !== 0) {
            add(CONTROL.BROKEN, 1);
          }
          control[CONTROL.COUNT] = (control[CONTROL.COUNT] as number) + 1; // plain: lost if not alone
          add(CONTROL.WRITERS, -1);
        });
      }
    },
    read: () =>
      until(() =>
        s2.mmuLock.read(() => {
          add(CONTROL.READERS, 1);
          if (Atomics.load(control, CONTROL.WRITERS) !== 0) add(CONTROL.BROKEN, 1);
          add(CONTROL.READERS, -1);
          return 1;
        }),
      ),
    store: (ipa, value) => until(() => (vcpu.write64(ipa, BigInt(value)) === undefined ? 1 : 0)),
    bracket: (ipa, value) =>
      until(() => {
        let stores = 0;
        vcpu.enter();
        for (let i = 0; i < 64; i++) {
          stores += storeAt(ipa, value, 8); // good until the next poll
          vcpu.poll();
        }
        vcpu.exit();
        return stores;
      }),
    rogue: (ipa, value) => until(() => storeAt(ipa, value, 10_000)),
    later(call, ms) {
      add(CONTROL.RUNNING, 1);
      Atomics.wait(control, CONTROL.STOP, 0, ms);
      add(CONTROL.COUNT, 1);
      vcpu[call]();
    },
    broadcast() {
      vcpu.enter();
      const count = until(() => {
        vcpu.tlbi("VMALLE1");
        vcpu.poll();
        return 1;
      });
      vcpu.exit();
      return count;
    },
    walk: (ipa, pages) =>
      until((round) => {
        const at = ipa + (round % pages) * 4096;
        vcpu.translate(at, Access.Read);
        const met = [...s2.leaves({ ipa: at, size: 64 * 4096 })].length;
        return met + (s2.lookup(at) === undefined ? 0 : 1);
      }),
    churn: (ipa, pages, pa) =>
      until((round) => {
        const range = { ipa: ipa + (round % pages) * 4096, size: 4096 };
        const flags = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;
        s2.mmuLock.read(() => s2.map({ ...range, pa, prot: Prot.RW, flags }));
        s2.mmuLock.write(() => s2.unmap(range));
        return 1;
      }),
    stock: (pages) => engine.cache().topup(pages),
    table: () => engine.stage2().handle,
  };
}
