/**
 * The physical memory map: where in the engine's memory a physical address lies. The table-page pool is always there;
 * guest memory, and tables that somebody else built, are added. Where nothing is, accesses and walks abort.
 *
 * One map for all threads of an engine. Change it while no vCPU runs: what a vCPU looked up before it may still use.
 */
import type { Core } from "./_abi.ts";
import type { Context } from "./_context.ts";
import { EFAULT, Stage2Error, check } from "./errors.ts";
import { type Address, address, byteCount, fields, integerOption } from "./range.ts";

/** A stretch of physical addresses that lies in one piece in memory. */
export interface MemorySegment {
  /** First physical address: a multiple of 4 KiB below 2^52. */
  readonly pa: number;
  /** Bytes: a multiple of 4 KiB. */
  readonly size: number;
  /** Byte offset in {@link Engine.memory}: a multiple of 4 KiB. */
  readonly pointer: number;
}

/** A segment as it is asked for. */
export interface SegmentRequest {
  pa: Address;
  size: Address;
  pointer: number;
}

/** The map of an engine. */
export class MemoryMap {
  readonly #context: () => Context;

  /** @internal */
  constructor(context: () => Context) {
    this.#context = context;
  }

  /**
   * Adds memory.
   * @throws Stage2Error `EINVAL`: not multiples of 4 KiB, empty, beyond 2^52 or the end of the memory, or over the engine's
   *   own region. `EEXIST`: some of it is there already. `EMFILE`: there are 7 besides the pool. `BAD_ADDRESS`, `BAD_SIZE`,
   *   `BAD_OPTION`.
   */
  add(segment: SegmentRequest): void {
    const pa = address(fields(segment).pa, "pa");
    const size = byteCount(segment.size, pa);
    const pointer = integerOption("pointer", segment.pointer, 0, 2 ** 32 - 1);
    check(this.#core.map_add(pa, pointer, size), "memoryMap.add", segment);
  }

  /** Takes the segment that starts at `pa` away. @throws Stage2Error `ENOENT` if none does. */
  remove(pa: Address): void {
    check(this.#core.map_remove(address(pa, "pa")), "memoryMap.remove", { pa });
  }

  /** What is there now: the table-page pool, then what was added. */
  get segments(): readonly MemorySegment[] {
    const context = this.#context();
    const found: MemorySegment[] = [];
    for (let index = 0; context.core.map_segment(index) === 1; index++) {
      const size = context.resultNumber(1);
      if (size === 0) continue;
      found.push({ pa: context.resultNumber(0), size, pointer: context.resultNumber(2) });
    }
    return found;
  }

  /**
   * The bytes behind `length` bytes of physical addresses, to look at and to fill: a view of {@link Engine.memory}, which
   * ends where a memory that is not shared grows. Stores through it are those of no vCPU: monitors do not see them.
   * @throws Stage2Error `EFAULT` if not all of it is mapped, or not in one piece. `BAD_ADDRESS`, `BAD_SIZE`.
   */
  bytes(pa: Address, length: Address): Uint8Array {
    const from = address(pa, "pa");
    const size = byteCount(length, from);
    const inside = this.segments.find((one) => from >= one.pa && from < one.pa + one.size);
    if (inside !== undefined && from + size <= inside.pa + inside.size) {
      const { buffer } = this.#context().memory;
      return new Uint8Array(buffer, inside.pointer + (from - inside.pa), size);
    }
    throw new Stage2Error("EFAULT", "there is no such memory", { pa: from, length: size }, EFAULT);
  }

  get #core(): Core {
    return this.#context().core;
  }
}
