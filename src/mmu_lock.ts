/**
 * The reader/writer lock of a page table: KVM's `mmu_lock`. Readers are many (faults: shared walks), a writer is alone
 * (operations on ranges). Readers that wait go before the next writer, a writer that waits keeps new readers out: neither
 * side starves.
 *
 *     s2.mmuLock.read(() => s2.map({ ipa, size, pa, prot, flags: WalkFlag.SHARED | WalkFlag.HANDLE_FAULT }));
 *     await s2.mmuLock.writeAsync(() => s2.unmap(range)); // on a page's main thread, which may not block
 */
import { THREAD_FLAG } from "./_abi.ts";
import { type LockSide, unlock, workLater } from "./_lock_later.ts";
import { refusal } from "./_outcome.ts";
import type { TableCore } from "./_table.ts";
import { Limit, type LockOptions } from "./_turns.ts";
import { EBUSY, EPERM, Stage2Error } from "./errors.ts";

export type { LockSide } from "./_lock_later.ts";
export type { LockOptions } from "./_turns.ts";

/**
 * The lock of one {@link Stage2}, the same in every thread. A thread holds at most one lock of an engine, and takes none
 * inside a vCPU's bracket: what could wait for itself is refused (`EDEADLK`) instead.
 *
 * A table with the option `locking` takes the lock by itself, operation by operation; hold it for what belongs together.
 */
export class MmuLock {
  readonly #table: TableCore;
  /** The table whose lock was acquired here: it can be released when the table is no more. */
  #acquired = 0;

  /** @internal */
  constructor(table: TableCore) {
    this.#table = table;
  }

  /**
   * Does `work`, which must be synchronous, beside other readers; what it returns. Blocks until it can.
   * @throws Stage2Error `EDEADLK` if this thread holds a lock or is inside a bracket; `ETIMEDOUT` names the thread that did
   *   not release it within {@link Engine.patience}; `EBUSY` if this thread may not block: use {@link readAsync}.
   */
  read<T>(work: () => T): T {
    return this.#with("read", work);
  }

  /** Does `work` alone. @throws Stage2Error as {@link read} */
  write<T>(work: () => T): T {
    return this.#with("write", work);
  }

  /**
   * The same without blocking the thread while it waits. `work` itself must be synchronous. Requests of one thread take turns.
   * While the first of them waits, other operations of this thread that need a lock are refused (`EDEADLK`); but a request for
   * the write side that waits for another writer has no place yet, and they wait for that writer themselves.
   * @throws Stage2Error as {@link read}, but for `EBUSY`. With a `signal` that is aborted, its reason.
   */
  readAsync<T>(work: () => T, options: LockOptions = {}): Promise<T> {
    return this.#later("read", work, options);
  }

  /**
   * The same for the write side. New readers are kept out from when it is its turn and no other writer has the lock.
   * @throws Stage2Error as {@link readAsync}
   */
  writeAsync<T>(work: () => T, options: LockOptions = {}): Promise<T> {
    return this.#later("write", work, options);
  }

  /** Takes the read side; {@link releaseRead} must follow. @throws Stage2Error as {@link read} */
  acquireRead(): void {
    this.#acquired = this.#acquire("read");
  }

  /** Takes the write side; {@link releaseWrite} must follow. @throws Stage2Error as {@link read} */
  acquireWrite(): void {
    this.#acquired = this.#acquire("write");
  }

  /** Takes the read side if that can be done at once: whether it was. @throws Stage2Error `EDEADLK` */
  tryRead(): boolean {
    const { context, pointer } = this.#table;
    return this.#tried(context.core.lock_try_read(pointer), "tryRead", pointer);
  }

  /** Takes the write side if that can be done at once: whether it was. @throws Stage2Error `EDEADLK` */
  tryWrite(): boolean {
    const { context, pointer } = this.#table;
    return this.#tried(context.core.lock_try_write(pointer), "tryWrite", pointer);
  }

  /** @throws Stage2Error `EPERM` if this thread does not hold the read side. */
  releaseRead(): void {
    this.#release("read");
  }

  /** @throws Stage2Error as {@link releaseRead} */
  releaseWrite(): void {
    this.#release("write");
  }

  /** The side that this thread holds. */
  get holder(): LockSide | undefined {
    const { context, pointer } = this.#table;
    context.core.thread_describe(context.core.thread_number());
    if (context.resultNumber(2) !== pointer) return undefined;
    const flags = context.resultNumber(0);
    if (flags & THREAD_FLAG.READS) return "read";
    return flags & THREAD_FLAG.WRITES ? "write" : undefined;
  }

  /** The thread that holds the write side, or keeps new readers out until it can have it. */
  get writer(): number | undefined {
    const { context, pointer } = this.#table;
    context.core.lock_state(pointer);
    return context.resultNumber(0) === 0 ? undefined : context.resultNumber(0) - 1;
  }

  #with<T>(side: LockSide, work: () => T): T {
    checkWork(work);
    return this.#work(side, this.#acquire(side), work);
  }

  /** Takes the side; the pointer of the table. */
  #acquire(side: LockSide): number {
    const { context, pointer } = this.#table;
    const { core } = context;
    const status = side === "read" ? core.lock_read(pointer) : core.lock_write(pointer);
    // What is not refused costs no look at the table.
    if (status < 0) throw this.#refused(status, side === "read" ? "acquireRead" : "acquireWrite");
    return pointer;
  }

  /** Does the work with the lock held, and releases it whatever happens: an error of the work itself comes first. */
  #work<T>(side: LockSide, pointer: number, work: () => T): T {
    const { context } = this.#table;
    let result: T;
    try {
      result = work();
    } catch (error) {
      unlock(context, side, pointer);
      throw error;
    }
    this.#released(unlock(context, side, pointer), side);
    if (typeof (result as { then?: unknown } | undefined | null)?.then !== "function")
      return result;
    Promise.resolve(result).catch(() => {}); // what becomes of it nobody hears: this error comes in its place
    const message = "the work under a lock must be synchronous: what it awaits is done without";
    throw new Stage2Error("BAD_OPTION", message, this.#details);
  }

  async #later<T>(side: LockSide, work: () => T, options: LockOptions): Promise<T> {
    checkWork(work);
    const limit = new Limit(options, this.#table.context.patience);
    return workLater(this.#table, side, limit, (pointer) => this.#work(side, pointer, work));
  }

  #refused(status: number, operation: string): Stage2Error {
    return refusal(this.#table.context, status, operation, this.#details);
  }

  #tried(status: number, operation: string, pointer: number): boolean {
    if (status === -EBUSY) return false;
    if (status < 0) throw this.#refused(status, operation);
    this.#acquired = pointer;
    return true;
  }

  #release(side: LockSide): void {
    const status = unlock(this.#table.context, side, this.#acquired || this.#table.pointer);
    if (status !== -EPERM) this.#acquired = 0;
    this.#released(status, side);
  }

  #released(status: number, side: LockSide): void {
    const operation = side === "read" ? "releaseRead" : "releaseWrite";
    if (status >= 0) return;
    if (status !== -EPERM) throw this.#refused(status, operation);
    const { holder, writer } = this;
    const message = `${operation}: this thread does not hold the ${side} side of the mmu_lock`;
    throw new Stage2Error("EPERM", message, { ...this.#details, holder, writer }, EPERM);
  }

  /** The table by its VMID, if it is still there. */
  get #details(): { vmid?: number } {
    const { context, isLive } = this.#table;
    return isLive ? { vmid: context.core.pgt_vmid(this.#table.pointer) >>> 0 } : {};
  }
}

function checkWork(work: unknown): void {
  if (typeof work === "function") return;
  throw new Stage2Error("BAD_OPTION", "the work must be a function", { work });
}
