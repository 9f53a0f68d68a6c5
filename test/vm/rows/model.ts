/** A VM as a few sets: what memslots, faults, notifiers and dirty logs come to, said as plainly as possible. */
export interface Slot {
  readonly slot: number;
  readonly ipa: number;
  readonly size: number;
  readonly hva: number;
  readonly flags: number;
}

interface Page {
  writable: boolean;
  young: boolean;
}

export const PAGE = 4096;
const LOG = 1;
const READONLY = 2;
const WORD = 64;

export class Model {
  readonly slots = new Map<number, Slot>();
  /** What is mapped, by IPA. */
  readonly pages = new Map<number, Page>();
  /** Dirty pages of slots that log, as numbers in the slot. */
  readonly logs = new Map<number, Set<number>>();

  slotOf(ipa: number): Slot | undefined {
    return [...this.slots.values()].find((slot) => ipa >= slot.ipa && ipa < slot.ipa + slot.size);
  }

  /** M-3.8 to M-3.15: the change, or the error. */
  setMemslot(region: Slot): string {
    const { slot, ipa, size, hva, flags } = region;
    const old = this.slots.get(slot);
    if (size === 0) return old === undefined ? "EINVAL" : this.#remove(old);
    const changed = old !== undefined && (old.size !== size || old.hva !== hva);
    if (changed || (old !== undefined && ((old.flags ^ flags) & READONLY) !== 0)) return "EINVAL";
    if (old === undefined || old.ipa !== ipa) {
      const others = [...this.slots.values()].filter((other) => other.slot !== slot);
      if (others.some((other) => ipa < other.ipa + other.size && other.ipa < ipa + size))
        return "EEXIST";
    } else if (old.flags === flags) return "none";
    const what = old === undefined ? "create" : old.ipa === ipa ? "flags" : "move";
    if (old !== undefined && what === "move") this.#unmap(old.ipa, old.size);
    this.slots.set(slot, region);
    this.#log(region, old);
    return what;
  }

  #remove(old: Slot): string {
    this.#unmap(old.ipa, old.size);
    this.slots.delete(old.slot);
    this.logs.delete(old.slot);
    return "delete";
  }

  #log(region: Slot, old: Slot | undefined): void {
    const before = ((old?.flags ?? 0) & LOG) !== 0;
    if ((region.flags & LOG) === 0) this.logs.delete(region.slot);
    else if (!before) {
      this.logs.set(region.slot, new Set());
      this.#protect(region.ipa, region.size);
    }
  }

  /** An access: which fault it takes, "none", or "mmio" where it is no memory. The fault is handled. */
  access(ipa: number, write: boolean): "none" | "translation" | "permission" | "mmio" {
    const slot = this.slotOf(ipa);
    if (slot === undefined || (write && (slot.flags & READONLY) !== 0)) return "mmio";
    const page = this.pages.get(ipa);
    if (page !== undefined && (!write || page.writable)) return "none";
    const log = this.logs.get(slot.slot);
    const protects = (slot.flags & READONLY) !== 0 || (log !== undefined && !write);
    if (page === undefined) this.pages.set(ipa, { writable: !protects, young: true });
    else page.writable = true;
    if (!protects) log?.add((ipa - slot.ipa) / PAGE);
    return page === undefined ? "translation" : "permission";
  }

  /** IPAs of the pages of all slots that the host's range touches. */
  #touched(hva: number, size: number): number[] {
    return [...this.slots.values()].flatMap((slot) => {
      const pages = Array.from({ length: slot.size / PAGE }, (_, i) => i * PAGE);
      const hit = pages.filter((at) => slot.hva + at < hva + size && hva < slot.hva + at + PAGE);
      return hit.map((at) => slot.ipa + at);
    });
  }

  invalidate(hva: number, size: number): void {
    for (const ipa of this.#touched(hva, size)) this.pages.delete(ipa);
  }

  clearYoung(hva: number, size: number): boolean {
    const old = this.#touched(hva, size).filter((ipa) => this.pages.get(ipa)?.young === true);
    for (const ipa of old) this.pages.get(ipa)!.young = false;
    return old.length > 0;
  }

  /** With automatic protection. */
  getDirtyLog(slot: number): number[] | undefined {
    const log = this.logs.get(slot);
    return log === undefined ? undefined : this.#clear(slot, [...log]);
  }

  clearDirtyLog(slot: number, mask: readonly number[]): number {
    return this.#clear(
      slot,
      mask.filter((page) => this.logs.get(slot)?.has(page)),
    ).length;
  }

  /** Out of the log, and protected from the first to the last of each word. */
  #clear(slot: number, taken: readonly number[]): number[] {
    const sorted = [...taken].sort((a, b) => a - b);
    const { ipa } = this.slots.get(slot)!;
    for (const word of new Set(sorted.map((page) => Math.floor(page / WORD)))) {
      const pages = sorted.filter((page) => Math.floor(page / WORD) === word);
      const [first, last] = [pages[0]!, pages.at(-1)!];
      this.#protect(ipa + first * PAGE, (last - first + 1) * PAGE);
    }
    for (const page of sorted) this.logs.get(slot)!.delete(page);
    return sorted;
  }

  #unmap(start: number, size: number): void {
    for (const ipa of this.pages.keys())
      if (ipa >= start && ipa < start + size) this.pages.delete(ipa);
  }

  #protect(start: number, size: number): void {
    for (const [ipa, page] of this.pages) {
      if (ipa >= start && ipa < start + size) page.writable = false;
    }
  }
}
