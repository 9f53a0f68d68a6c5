/** What a host does to its memory: areas that are mapped and unmapped, pages that are dropped, shared, moved, lost. */
import { Stage2Error } from "../../errors.ts";
import { type Address, address, flagOption, integerOption, knownOptions } from "../../range.ts";
import * as change from "./_change.ts";
import * as huge from "./_huge.ts";
import { MemoryBase } from "./_memory_base.ts";
import { reclaim } from "./_reclaim.ts";
import {
  type AreaRequest,
  HVA_LIMIT,
  type HostRangeRequest,
  checkedArea,
  checkedRange,
} from "./options.ts";

/** Threads of an engine: {@link EngineOptions.maxThreads}. */
const MOST_THREADS = 1024;

/** The part of {@link GuestMemory} that changes what is there, and tells VMs. */
export class MemoryChanges extends MemoryBase {
  /** Maps an area, empty (mmap). @throws Stage2Error `EEXIST`: something is mapped there; `ENOMEM`: `mappablePages`, `maxAreas` */
  map(request: AreaRequest): void {
    const space = this.space;
    change.addArea(space, checkedArea(space.state, request));
  }

  /**
   * Takes what is mapped in the range away, its pages, and its registrations for missing pages (munmap): what is mapped there
   * later is not registered, and gets no late answer of their hooks. @throws Stage2Error `EINVAL`: it cuts a huge page
   */
  unmap(request: HostRangeRequest): void {
    const space = this.space;
    knownOptions("unmap", request, ["hva", "size"]);
    const { hva, size } = checkedRange(space.state, request);
    for (const area of change.mappedParts(space, hva, hva + size)) {
      const from = Math.max(hva, area.start);
      const to = Math.min(hva + size, area.end);
      if (area.kind !== "device") change.checkMemory(space, { hva: from, size: to - from });
    }
    change.removeAreas(space, hva, hva + size);
    this.pager.hooks.forgetUnmapped({ hva, size });
  }

  /** Takes everything away: the VMs are told that the address space goes ({@link Vm.release}), then all is unmapped. */
  release(): void {
    const space = this.space;
    space.vms.release();
    change.removeAreas(space, 0, HVA_LIMIT);
    this.pager.hooks.forgetUnmapped({ hva: 0, size: HVA_LIMIT });
  }

  /** Makes a range read-only, or writable again (mprotect). Its areas are cut where the range ends. */
  protect(request: HostRangeRequest & { writable: boolean }): void {
    const range = this.memory(request, "protect", ["writable"]);
    change.protect(this.space, range, flagOption("writable", request.writable));
  }

  /**
   * Drops the pages of a range (MADV_DONTNEED, or a hole punched into the file): the next access finds zeros. `keepCache`: pages
   * of files and hugetlb areas stay in the page cache, and are only unmapped. Default false.
   */
  punch(request: HostRangeRequest & { keepCache?: boolean }): void {
    const range = this.memory(request, "punch", ["keepCache"]);
    change.punch(this.space, range, flagOption("keepCache", request.keepCache ?? false));
  }

  /** Makes the frames of a range shared with somebody else (fork, KSM): read-only, and copied by the first write. Blocks become pages. */
  share(request: HostRangeRequest): void {
    change.share(this.space, this.memory(request, "share"));
  }

  /** Moves pages together into transparent huge pages, where that can be done (khugepaged): how many were made. */
  collapse(request: HostRangeRequest): number {
    return huge.collapse(this.space, this.memory(request, "collapse"));
  }

  /** Makes pages of the transparent huge pages that the range touches: of how many. */
  splitHuge(request: HostRangeRequest): number {
    return huge.splitHuge(this.space, this.memory(request, "splitHuge"));
  }

  /** A hardware error at an address: the page (the huge page of a hugetlb area) is gone, and its frame is never used again. */
  poison(hva: Address): void {
    const space = this.space;
    const at = address(hva, "hva");
    const range = { hva: at - (at % space.state.page), size: space.state.page };
    const area = change.mappedParts(space, at, at + 1)[0];
    const unit = area === undefined ? range : space.unitAt(area, at);
    change.checkMemory(space, unit);
    change.poison(space, unit);
  }

  /**
   * Puts in order what a thread left that was ended in the middle of a change ({@link Worker.terminate}): its locks are released,
   * what it was unmapping is unmapped, who waits for its hooks looks again. Only after the worker's `exit` event, as
   * {@link Engine.reclaimThread}. A few frames may stay in use by nobody.
   * @throws Stage2Error `BAD_OPTION` for this thread, or no thread
   */
  reclaimThread(thread: number): void {
    const space = this.space;
    const number = integerOption("thread", thread, 0, MOST_THREADS - 1);
    if (number !== space.waiter.thread) return reclaim(space, number);
    throw new Stage2Error("BAD_OPTION", "a thread cannot reclaim itself", { thread });
  }
}
