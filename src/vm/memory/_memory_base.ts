/** A guest memory as one thread has it: what it is, who is told of changes, its end. */
import { type Context, disposed } from "../../_context.ts";
import type { Engine } from "../../engine.ts";
import { Stage2Error } from "../../errors.ts";
import { type Address, address, knownOptions } from "../../range.ts";
import { forget, remember } from "./_banks.ts";
import { checkMemory } from "./_change.ts";
import { HostAccess } from "./_copy.ts";
import { type PageState, pageState } from "./_describe.ts";
import { COUNTER_NAMES, type CounterName, type State } from "./_layout.ts";
import type { HostRange, Notified } from "./_notify.ts";
import { Pager } from "./_pager.ts";
import { Space } from "./_space.ts";
import { type HostRangeRequest, checkedRange } from "./options.ts";

/** For {@link GuestMemory.attach}: structured-cloneable. */
export interface GuestMemoryHandle {
  readonly kind: "stage2-guest-memory";
  readonly engine: string;
  readonly state: SharedArrayBuffer;
}

/**
 * Counters of all threads. `framesUsed` is 0 when nothing is mapped. `faults`: pages asked for by VMs. What was brought in:
 * `zeroPages`, `pages`, `blocks` (transparent huge pages), `hugePages`; `copies`: another frame for a write; `upgrades`:
 * writable where it was. `splits`, `collapses` of blocks. `invalidations`: changes that VMs were told. `missing`, `minor`: hooks
 * asked; `filled`, `exists`: pages put from the side, or there already; `waited`: accesses that met a page that a hook was asked
 * for. `dirtied`, `accessed`: pages that VMs reported. They count on from 0 after 2^32 - 1.
 */
export type GuestMemoryCounters = Readonly<Record<CounterName | "frames", number>>;

/** The part of {@link GuestMemory} that changes nothing. */
export class MemoryBase implements Disposable {
  readonly #context: Context;
  readonly #open: Space;
  /** @internal */
  protected readonly pager: Pager;
  /** @internal */
  protected readonly host: HostAccess;
  #closed = false;

  /** @internal */
  protected constructor(engine: Engine, state: State) {
    this.#context = engine.context;
    this.#open = new Space(engine, state);
    this.pager = new Pager(this.#open);
    this.host = new HostAccess(this.#open, this.pager);
    this.#context.add(this);
    remember(this.#context, this, state.shape);
  }

  /** For {@link GuestMemory.attach} in another thread. @throws Stage2Error `NO_SHARED_MEMORY` in single mode */
  get handle(): GuestMemoryHandle {
    const { buffer } = this.space.state.words;
    if (typeof SharedArrayBuffer !== "undefined" && buffer instanceof SharedArrayBuffer) {
      return { kind: "stage2-guest-memory", engine: this.#context.id, state: buffer };
    }
    throw new Stage2Error("NO_SHARED_MEMORY", "this engine runs without threads");
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.space.state.page;
  }

  /** Bytes of a transparent huge page. */
  get blockSize(): number {
    return this.space.state.page * this.space.state.blockPages;
  }

  get counters(): GuestMemoryCounters {
    const { state } = this.space;
    const entries = COUNTER_NAMES.map((name) => [name, state.counter(name)] as const);
    const counted = Object.fromEntries(entries) as Record<CounterName, number>;
    return { frames: state.shape.frames, ...counted };
  }

  /** What is at an address now. */
  state(hva: Address): PageState {
    return pageState(this.space, address(hva, "hva"));
  }

  /** From now on changes that this thread makes are told to the VM. In other threads: to the VM that is attached there. */
  addVm(vm: Notified): void {
    this.space.vms.add(vm);
  }

  removeVm(vm: Notified): void {
    this.space.vms.remove(vm);
  }

  /**
   * Ends this thread's use: its VMs and hooks are forgotten. Accesses that wait for a hook of this thread are refused with
   * `DISPOSED`, what it answers later is dropped, and its pages are as if it had not been asked. The memory stays for other
   * threads. The same when the engine is disposed. A second call does nothing.
   */
  dispose(): void {
    if (this.#closed) return;
    this.#context.remove(this);
    this.close();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The engine ends. @internal */
  close(): void {
    this.#closed = true;
    this.#open.vms.clear();
    forget(this.#context, this);
    this.pager.hooks.end();
  }

  /** @internal */
  protected get space(): Space {
    if (!this.#closed) return this.#open;
    throw disposed("guest memory");
  }

  /** A checked range that is memory. @internal */
  protected memory(
    request: HostRangeRequest,
    what: string,
    options: readonly string[] = [],
  ): HostRange {
    knownOptions(what, request, ["hva", "size", ...options]);
    const range = checkedRange(this.space.state, request);
    checkMemory(this.space, range);
    return range;
  }
}
