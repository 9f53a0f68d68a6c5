// @ts-check
/**
 * A VM whose guest only touches memory: translations by a vCPU of its own, each abort handled, and the access made again. There
 * are no bytes behind it, so that 16 GiB of it cost what their tables cost.
 *
 *     IPA  4 GiB ...      hva  HVA + the same offset      PA  64 GiB + the same offset
 */
import assert from "node:assert/strict";
import { Access, MemslotFlag } from "stage2";
import { BLOCK, GIB, PAGE } from "../bed.mjs";

export const IPA = 4 * GIB;
export const HVA = 2 ** 46;
export const PA = 64 * GIB;
export const SLOT = 0;

/**
 * Memory of the host, all of it there from the start, in leaves of one size.
 *
 * @param {number} hostSize bytes of a leaf of the host's own tables: 4 KiB, or a transparent huge page's 2 MiB
 * @param {number} [vmaPageSize] of a mapping of huge pages (hugetlb): their size
 * @returns {import("stage2").Backing}
 */
export function linearBacking(hostSize, vmaPageSize) {
  const how = { writable: true, hostSize, ...(vmaPageSize !== undefined && { vmaPageSize }) };
  return { resolve: ({ hva }) => ({ pa: hva - HVA + PA, ...how }) };
}

/** One VM, one vCPU, one slot. */
export class Guest {
  /**
   * @param {import("stage2").Engine} engine
   * @param {number} size bytes of the slot
   * @param {import("stage2").Backing} memory
   * @param {(vm: import("stage2").Vm) => void} [configure] what has to be said before slots and vCPUs exist
   * @param {import("stage2").VcpuOptions} [cpu] it has no TLB: what is timed is the host's work, not that of an emulated TLB
   */
  constructor(engine, size, memory, configure, cpu) {
    this.size = size;
    this.vm = engine.vm({ ipaBits: 40, memory });
    configure?.(this.vm);
    this.setFlags(0);
    this.vcpu = this.vm.createVcpu({ ...cpu, tlb: false });
  }

  /** Creates the slot, or changes its flags. @param {number} flags */
  setFlags(flags) {
    this.vm.setMemslot({ slot: SLOT, ipa: IPA, size: this.size, hva: HVA, flags });
  }

  startLogging() {
    this.setFlags(MemslotFlag.LOG_DIRTY_PAGES);
  }

  stopLogging() {
    this.setFlags(0);
  }

  /**
   * One access for writing, until it succeeds, or ends in something that is not for the host's memory management.
   *
   * @param {number} ipa
   * @returns {number | import("stage2").AbortOutcome} the physical address
   */
  write(ipa) {
    const { vcpu } = this;
    return vcpu.run(() => vcpu.cpu.translate(ipa, Access.Write));
  }

  /** Writes to the first page of every block: each is mapped whole. */
  populate() {
    for (let offset = 0; offset < this.size; offset += BLOCK) this.writeTo(offset);
  }

  /** Writes to a page, which has to succeed. @param {number} offset in the slot */
  writeTo(offset) {
    const pa = this.write(IPA + offset);
    if (pa !== PA + offset) assert.equal(pa, PA + offset);
  }

  /** Writes to a page; false: the vCPU has to be relieved first. @param {number} offset */
  tryWriteTo(offset) {
    const pa = this.write(IPA + offset);
    if (pa === PA + offset) return true;
    if (typeof pa === "number") assert.equal(pa, PA + offset);
    else assert.equal(pa.reason, "dirtyRingFull");
    return false;
  }

  dispose() {
    const { vm, vcpu } = this;
    vcpu.dispose();
    vm.dispose();
  }
}

/** Page numbers of a slot, each anywhere in its share of it, in random order. @param {number} size @param {number} percent @param {(limit: number) => number} random */
export function scatteredPages(size, percent, random) {
  const share = 100 / percent;
  const pages = Float64Array.from({ length: Math.floor(size / PAGE / share) }, (_, i) =>
    Math.floor(i * share + random(share)),
  );
  for (let i = pages.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [pages[i], pages[j]] = [pages[j], pages[i]];
  }
  return pages;
}
