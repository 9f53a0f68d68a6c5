/**
 * Host memory behind guests: the {@link Backing} that comes with the library. A host address space of areas whose pages
 * come and go as a Linux host's do, over frames in the engine's memory, where vCPUs load and store.
 *
 *     const engine = await Engine.create({ guestRam: { pa: 0x8000_0000, size: 64 << 20 } });
 *     const ram = GuestMemory.create(engine, { pa: 0x8000_0000, size: 64 << 20 });
 *     ram.map({ hva: 0x7f00_0000_0000, size: 32 << 20 });
 *     const vm = engine.vm({ memory: ram });
 *     ram.addVm(vm);                                    // what the host changes, it tells this VM
 */
import type { Engine } from "../../engine.ts";
import { Stage2Error } from "../../errors.ts";
import { type Address, address, choiceOption, fields, flagOption } from "../../range.ts";
import type { Backing, BackingAnswer, BackingFacts, BackingRequest } from "../backing.ts";
import { refuseTaken } from "./_banks.ts";
import { mappedParts } from "./_change.ts";
import { answerFor } from "./_describe.ts";
import type { MissingMode } from "./_fault.ts";
import { type Content, type Filled, placePage, preloadPage } from "./_fill.ts";
import { type CounterName, State } from "./_layout.ts";
import type { GuestMemoryHandle } from "./_memory_base.ts";
import { MemoryChanges } from "./_memory_changes.ts";
import type { MissingHook, MissingRegistration } from "./_missing.ts";
import type { HostRange } from "./_notify.ts";
import type { Page } from "./_pager.ts";
import { type GuestMemoryOptions, type HostRangeRequest, checkedShape } from "./options.ts";

export type { AreaKind } from "./_areas.ts";
export type { PageState, PageStateName } from "./_describe.ts";
export type { MissingMode } from "./_fault.ts";
export type { Content, Filled } from "./_fill.ts";
export type { GuestMemoryCounters, GuestMemoryHandle } from "./_memory_base.ts";
export type { MissingAnswer, MissingFault, MissingHook, MissingRegistration } from "./_missing.ts";
export type { HostRange, Notified } from "./_notify.ts";
export type { AreaRequest, GuestMemoryOptions, HostRangeRequest } from "./options.ts";

/**
 * Host memory. All methods throw `BAD_ADDRESS`, `BAD_SIZE` or `BAD_OPTION` for values that are none, `EINVAL` for addresses that
 * are no multiples of the page size, `EFAULT` where not all of a range is mapped ({@link unmap} does not mind), `EINVAL` where it
 * is a device, and have changed nothing then; `DISPOSED` after {@link dispose}. `ETIMEDOUT` names a thread that does not go on in
 * the middle of a change: part of a range may have been done then, and no area is gone.
 *
 * Changes are told to the VMs that were added in this thread, and made only if all of them could be told: what
 * {@link Vm.invalidateStart} throws is passed on, and nothing has changed.
 */
export class GuestMemory extends MemoryChanges implements Backing {
  /**
   * Makes host memory without areas. Frames with bytes are what lies at their physical addresses, until they are first used.
   * Bytes belong to one guest memory at a time: two would hand each frame out twice. That is refused where this thread has the
   * other one, and has not disposed it; what other threads made over the same bytes cannot be seen, and must not be.
   * @throws Stage2Error `BAD_OPTION`, `EINVAL`; `EFAULT`: no segment of the memory map has them all; `EEXIST`: frames without
   *   bytes where the memory map has something, or bytes that another guest memory of this thread has
   */
  static create(engine: Engine, options: GuestMemoryOptions): GuestMemory {
    const shape = checkedShape(engine, options);
    refuseTaken(engine.context, shape);
    return new GuestMemory(engine, State.create(shape, engine.mode === "threads"));
  }

  /**
   * The memory that another thread made, in an engine attached to the same. One object is enough for a thread: a second one has
   * VMs and hooks of its own, and where it meets a page that a hook of the first is asked for it waits as for another thread's,
   * blocked for the engine's `patience`. @throws Stage2Error `BAD_OPTION`, `FOREIGN`
   */
  static attach(engine: Engine, handle: GuestMemoryHandle): GuestMemory {
    const { kind, engine: id, state: buffer } = fields(handle);
    const given = typeof SharedArrayBuffer !== "undefined" && buffer instanceof SharedArrayBuffer;
    const state = given && kind === "stage2-guest-memory" ? State.over(buffer) : undefined;
    if (state === undefined) throw new Stage2Error("BAD_OPTION", "no handle of a guest memory");
    if (id !== engine.context.id) {
      throw new Stage2Error("FOREIGN", "this guest memory belongs to another engine");
    }
    return new GuestMemory(engine, state);
  }

  /** Brings the pages of a range in, as reading or writing them does: whether all could be. A promise if a hook answers with one. */
  populate(request: HostRangeRequest & { write?: boolean }): boolean | Promise<boolean> {
    const range = this.memory(request, "populate", ["write"]);
    const write = flagOption("write", request.write ?? false);
    return this.host.pass({ ...range, write, move: undefined });
  }

  /** Puts a page where none is, at the first address of a page or huge page: userfaultfd's copy, zeropage, continue, poison. */
  fill(hva: Address, content: Content): Filled {
    return placePage(this.space, address(hva, "hva"), content);
  }

  /** Writes bytes to the start of a page of a file or hugetlb area through another mapping: it is in the page cache then. */
  preload(hva: Address, content: Uint8Array | "zero"): void {
    preloadPage(this.space, address(hva, "hva"), content);
  }

  /**
   * Registers a hook for missing pages (userfaultfd). `missing` (default): asked when a page is not there; `minor`: when it is in
   * the page cache only. The hook is this thread's: each thread that accesses the range registers one (`ENOENT` in one that has
   * none). It runs with no lock held, in the middle of the access, once for each paging unit; who comes by meanwhile waits. A
   * page that is dropped meanwhile is asked for anew. The registration ends with {@link unmap}, in whatever thread, as far as
   * that goes; a later area is not registered.
   */
  onMissing(
    request: HostRangeRequest & { mode?: MissingMode },
    hook: MissingHook,
  ): MissingRegistration {
    const range = this.memory(request, "onMissing", ["mode"]);
    const mode = choiceOption<MissingMode>("mode", request.mode ?? "missing", ["missing", "minor"]);
    if (typeof hook === "function") return this.pager.hooks.register(range, mode, hook);
    throw new Stage2Error("BAD_OPTION", "a hook is a function", { hook });
  }

  /** Reads all of `into`: whether there was memory; what lies before a page that was not there has been read. Hooks are asked. */
  read(hva: Address, into: Uint8Array): boolean | Promise<boolean> {
    const at = this.#checkedBytes(hva, into);
    const move = (bytes: Uint8Array, offset: number): void => into.set(bytes, offset);
    return this.host.pass({ hva: at, size: into.length, write: false, move });
  }

  /** Writes all bytes: whether there was memory that may be written. As {@link read}. */
  write(hva: Address, bytes: Uint8Array): boolean | Promise<boolean> {
    const at = this.#checkedBytes(hva, bytes);
    const move = (to: Uint8Array, offset: number): void =>
      to.set(bytes.subarray(offset, offset + to.length));
    return this.host.pass({ hva: at, size: bytes.length, write: true, move });
  }

  /** The page behind an address, for a guest's access: {@link Backing.resolve}. @throws Stage2Error `ENOMEM`: no frame is free */
  resolve({ hva, write, vcpu }: BackingRequest): BackingAnswer | Promise<BackingAnswer> {
    const space = this.space;
    space.state.count("faults");
    const answer = (page: Page): BackingAnswer => answerFor(space, page, hva);
    const page = this.pager.get(hva, { write, vcpu });
    return page instanceof Promise ? page.then(answer) : answer(page);
  }

  /** What the areas of a range are like. */
  inspect(hva: number, size: number): BackingFacts {
    const areas = mappedParts(this.space, hva, hva + size);
    return {
      pfnMapped: areas.some(({ kind }) => kind === "device"),
      noMte: areas.some(({ noMte }) => noMte),
    };
  }

  /** The parts of a range that are memory. */
  mapped(hva: number, size: number): HostRange[] {
    return mappedParts(this.space, hva, hva + size)
      .filter(({ kind }) => kind !== "device")
      .map(({ start, end }) => {
        const from = Math.max(start, hva);
        return { hva: from, size: Math.min(end, hva + size) - from };
      });
  }

  dirtied(pa: number): void {
    this.#report("dirty", "dirtied", pa);
  }

  accessed(pa: number): void {
    this.#report("accessed", "accessed", pa);
  }

  #checkedBytes(hva: Address, bytes: unknown): number {
    if (!(bytes instanceof Uint8Array)) {
      throw new Stage2Error("BAD_OPTION", "bytes must be a Uint8Array", { bytes });
    }
    if (!this.space.bytes.exist) {
      throw new Stage2Error("ENOSYS", "this guest memory has frames without bytes", {}, 38);
    }
    return address(hva, "hva");
  }

  #report(which: "dirty" | "accessed", counter: CounterName, pa: number): void {
    const { state, frames } = this.space;
    const frame = frames.at(pa);
    if (frame >= 0) frames.mark(which, frame);
    state.count(counter);
  }
}
