/**
 * The reader/writer lock of a page table: KVM's `mmu_lock`. Readers are many (faults: shared walks), a writer is alone
 * (operations on ranges). Readers that wait go before the next writer, a writer that waits keeps new readers out: neither
 * side starves.
 *
 *     s2.mmuLock.read(() => s2.map({ ipa, size, pa, prot, flags: WalkFlag.SHARED }));
 *     await s2.mmuLock.writeAsync(() => s2.unmap(range)); // on a page's main thread, which may not block
 */
import { THREAD_FLAG } from "./_abi.ts";
import { type LockSide, workLater } from "./_lock_later.ts";
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
   * While the first of them waits, other operations of this thread that need a lock are refused (`EDEADLK`).
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
    const { context, pointer } = this.#table;
    this.#checked(context.core.lock_read(pointer), "acquireRead");
  }

  /** Takes the write side; {@link releaseWrite} must follow. @throws Stage2Error as {@link read} */
  acquireWrite(): void {
    const { context, pointer } = this.#table;
    this.#checked(context.core.lock_write(pointer), "acquireWrite");
  }

  /** Takes the read side if that can be done at once: whether it was. @throws Stage2Error `EDEADLK` */
  tryRead(): boolean {
    const { context, pointer } = this.#table;
    return this.#tried(context.core.lock_try_read(pointer), "tryRead");
  }

  /** Takes the write side if that can be done at once: whether it was. @throws Stage2Error `EDEADLK` */
  tryWrite(): boolean {
    const { context, pointer } = this.#table;
    return this.#tried(context.core.lock_try_write(pointer), "tryWrite");
  }

  /**
   * @throws Stage2Error `EPERM` if this thread does not hold the read side. `ETIMEDOUT`: it is released, but a thread did not
   *   end its walk, and table pages wait for it.
   */
  releaseRead(): void {
    this.#released(this.#release("read"), "read");
  }

  /** @throws Stage2Error as {@link releaseRead} */
  releaseWrite(): void {
    this.#released(this.#release("write"), "write");
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
    if (side === "read") this.acquireRead();
    else this.acquireWrite();
    return this.#work(side, work);
  }

  /** Does the work with the lock held, and releases it whatever happens: an error of the work itself comes first. */
  #work<T>(side: LockSide, work: () => T): T {
    let result: T;
    try {
      result = work();
    } catch (error) {
      this.#release(side);
      throw error;
    }
    this.#released(this.#release(side), side);
    if (typeof (result as { then?: unknown } | undefined | null)?.then !== "function")
      return result;
    const message = "the work under a lock must be synchronous: what it awaits is done without";
    throw new Stage2Error("BAD_OPTION", message, this.#details);
  }

  async #later<T>(side: LockSide, work: () => T, options: LockOptions): Promise<T> {
    checkWork(work);
    const limit = new Limit(options, this.#table.context.patience);
    return workLater(this.#table, side, limit, () => this.#work(side, work));
  }

  /** What is not refused costs no look at the table. */
  #checked(status: number, operation: string): void {
    if (status < 0) throw refusal(this.#table.context, status, operation, this.#details);
  }

  #tried(status: number, operation: string): boolean {
    if (status === -EBUSY) return false;
    this.#checked(status, operation);
    return true;
  }

  #release(side: LockSide): number {
    const { context, pointer } = this.#table;
    const { core } = context;
    return side === "read" ? core.unlock_read(pointer) : core.unlock_write(pointer);
  }

  #released(status: number, side: LockSide): void {
    const operation = side === "read" ? "releaseRead" : "releaseWrite";
    if (status !== -EPERM) return this.#checked(status, operation);
    const { holder, writer } = this;
    const message = `${operation}: this thread does not hold the ${side} side of the mmu_lock`;
    throw new Stage2Error("EPERM", message, { ...this.#details, holder, writer }, EPERM);
  }

  get #details(): { vmid: number } {
    const { context, pointer } = this.#table;
    return { vmid: context.core.pgt_vmid(pointer) >>> 0 };
  }
}

function checkWork(work: unknown): void {
  if (typeof work === "function") return;
  throw new Stage2Error("BAD_OPTION", "the work must be a function", { work });
}
