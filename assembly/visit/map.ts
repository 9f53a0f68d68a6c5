/**
 * kvm_pgtable_stage2_map and _set_owner, and the building of unlinked tables: one visitor. It installs a leaf where
 * one is allowed and a table where none is; what it finds in its way it breaks first.
 */
import {
  addressField, AF, annotation, isCounted, isExecutable, isValid, leafEntry, LAST_LEVEL, LOCKED, PERMISSIONS, S2AP, SW, tableEntry,
} from "../descriptor";
import { EAGAIN, EINVAL, ENOMEM } from "../errno";
import { UNLINK, TABLES } from "../events";
import * as events from "../events";
import { leafLevel, levelShift } from "../geometry";
import { scratch, shared, S_VISITOR, toPhysical } from "../layout";
import { cleanDataCache, dsbIshst, invalidateInstructionCache } from "../maintenance";
import { keepTree, forgetTree } from "../holders";
import { IDMAP, KEEP_PERMISSIONS, KEEP_UNLINKED, NVHE, PAGES_ONLY, Pgt } from "../pgt";
import { discardPage } from "../table_pages";
import * as pool from "../pool";
import { detach } from "../retire";
import { isCacheable, REFUSED, stage2Attributes } from "../prot";
import { adjustReference, breakEntry, makeEntry } from "../replace";
import { isSingle, mapSingle } from "../single";
import * as slots from "../slot";
import { takePage } from "../cache";
import { CALLER_FLAGS, childOf, FORCE_PAGES, HANDLE_FAULT, HANDLED, LEAF, SHARED, SKIP_CMO, TABLE_POST, TABLE_PRE, walk, Walk } from "../walk";
import { freeUnlinked } from "./free";

/** An output address that no table can hold: the entry becomes an annotation instead of a leaf. */
// @ts-ignore: decorator
@inline const NO_ADDRESS: u64 = 1 << 63;

@unmanaged
@final
export class MapVisitor extends Walk {
  /** Output address of `start`. */
  pa: u64;
  attributes: u64;
  /** What takes the place of a leaf where there is no address: an annotation. */
  owner: u64;
  cache: usize;
  pagesOnly: bool;

  // @ts-ignore: decorator
  @inline get runs(): bool { return false; }

  run(slot: usize, stop: usize): i32 { return 0; }

  /** A leaf at or above an existing table replaces the whole sub-tree. */
  pre(slot: usize, old: u64, level: i32): i32 {
    if (!this.leafAllowed(level)) return 0;
    const result = this.install(slot, old, level);
    if (result != 0) return result;
    const table = childOf(old);
    forgetTree();
    if (this.handsOver(table, level)) return 0;
    // Beside others nothing can be counted in there yet: one of them may be about to map into it.
    if (this.shared && shared) detach(this.pgt.detached, table, level);
    else freeUnlinked(this.pgt, table, level);
    return 0;
  }

  /** Logs the detached table. True: the caller of map learns of it that way, and frees it. */
  private handsOver(table: usize, level: i32): bool {
    const pgt = this.pgt;
    if (!pgt.logs(TABLES)) return false;
    const told = events.append(UNLINK, level, 0, pgt.generation, toPhysical(table), <u64>changetype<usize>(pgt), 0);
    return told && pgt.has(KEEP_UNLINKED);
  }

  leaf(slot: usize, old: u64, level: i32): i32 {
    return this.leafAllowed(level) ? this.install(slot, old, level) : this.descend(slot, old, level);
  }

  /** Only a caller's own TABLE_POST flag leads here. */
  post(slot: usize, old: u64, level: i32): i32 { return -EINVAL; }

  /** Visits to ask for: where only pages are mapped and nobody watches, no leaf can take a table's place. */
  wanted(pgt: Pgt): u32 { return this.pagesOnly && pgt.quiet ? LEAF : LEAF | TABLE_PRE; }

  /** Output address of the current address. One beyond the limit is not advanced: it could wrap into range. */
  private target(): u64 {
    return this.pa >= this.pgt.paLimit ? this.pa : this.pa + (this.addr - this.start);
  }

  private leafAllowed(level: i32): bool {
    if (level == LAST_LEVEL) return true; // addresses are rounded to pages
    if (this.pagesOnly || !leafLevel(this.pageShift, level)) return false;
    const size = <u64>1 << levelShift(this.pageShift, level);
    if (this.end - this.addr < size || this.addr & (size - 1)) return false;
    const pa = this.target();
    return pa >= this.pgt.paLimit || !(pa & (size - 1));
  }

  private entryFor(pa: u64, level: i32): u64 {
    if (pa >= this.pgt.paLimit) return this.owner;
    return leafEntry(addressField(pa, this.pageShift, this.pgt.lpa2), this.attributes, level);
  }

  private install(slot: usize, old: u64, level: i32): i32 {
    const pa = this.target();
    const next = this.entryFor(pa, level);
    while (true) {
      if (!this.worthwhile(old, next)) {
        this.makeYoung(slot, old, level);
        return -EAGAIN;
      }
      if (!this.shared && !((old ^ next) & ~SW)) {
        if (this.exchange(slot, old, next, level)) {
          adjustReference(this, slot, old, next);
          return 0;
        }
      } else if (this.quiet && !isValid(old) && old != LOCKED) {
        if (this.publish(slot, old, next)) return 0;
        if (this.shared) return -EAGAIN;
      } else if (breakEntry(this, slot, old, level)) {
        break;
      } else if (this.shared || old == LOCKED) {
        return -EAGAIN;
      }
      old = slots.read(slot); // an exclusive walk lost to hardware: decide anew
    }
    if (isValid(next) && !(this.flags & SKIP_CMO)) this.maintainCaches(next, pa, level);
    makeEntry(this, slot, next, level);
    return 0;
  }

  /**
   * Over an invalid entry there is nothing that a TLB could hold: with nobody watching the steps, break and make are
   * one exchange. Lost: another walker or hardware was there first.
   */
  private publish(slot: usize, old: u64, next: u64): bool {
    const page = pool.pageOf(slot, this.pageShift);
    if (isCounted(next)) pool.addReferences(page, 1);
    const done = slots.compareExchange(slot, old, next) == old;
    if (isCounted(done ? old : next)) pool.dropReferences(page, 1);
    return done;
  }

  /**
   * The prejudgement: a valid leaf that differs in permissions at most is left alone, relaxing is another call's job.
   * With `keepPermissions` so is one that was aged meanwhile: a late map takes nothing away from it.
   */
  private worthwhile(old: u64, next: u64): bool {
    if (!isValid(old)) return true;
    const difference = old ^ next;
    if (!(difference & ~PERMISSIONS)) return false;
    if (!this.pgt.has(KEEP_PERMISSIONS) || old & AF || difference & ~(PERMISSIONS | AF | SW)) return true;
    if (!(difference & SW)) return false;
    return !(old & ~next & S2AP) && !(isExecutable(old) && !isExecutable(next));
  }

  /** The access flag that the late map would have brought. Lost: the leaf is another by now, or young. */
  private makeYoung(slot: usize, old: u64, level: i32): void {
    if (isValid(old) && !(old & AF) && this.pgt.has(KEEP_PERMISSIONS)) this.exchange(slot, old, old | AF, level);
  }

  private maintainCaches(next: u64, pa: u64, level: i32): void {
    const size = <u64>1 << levelShift(this.pageShift, level);
    if (isCacheable(this.pgt, next)) cleanDataCache(this.pgt, pa, size);
    if (isExecutable(next)) invalidateInstructionCache(this.pgt, pa, size);
  }

  /** A table in place of whatever is here; what a block mapped outside the range faults back later. */
  private descend(slot: usize, old: u64, level: i32): i32 {
    const table = takePage(this.pgt, this.cache);
    if (!table) return -ENOMEM;
    const filled = this.quiet && this.fillTable(table, level + 1);
    if (!this.unlinked) keepTree(this.pgt, table, level);
    while (!breakEntry(this, slot, old, level)) {
      if (!this.shared && old != LOCKED) {
        old = slots.read(slot); // lost to hardware: break what is there now
        continue;
      }
      forgetTree();
      if (filled) pool.setReferences(table, 1);
      discardPage(this.pgt, table);
      return -EAGAIN;
    }
    if (!this.unlinked) forgetTree();
    makeEntry(this, slot, tableEntry(toPhysical(table)), level);
    return filled ? HANDLED : 0;
  }

  /**
   * Fills a table that nobody can see with leaves of `level`, if the range covers all of it and nobody watches the
   * single steps. The outcome is that of visiting each entry.
   */
  fillTable(table: usize, level: i32): bool {
    const pageShift = this.pageShift;
    const shift = levelShift(pageShift, level);
    const bytes = <u64>1 << (shift + pageShift - 3);
    if (this.addr & (bytes - 1) || this.end - this.addr < bytes || this.flags & TABLE_POST) return false;
    if (!this.leafAllowed(level)) return false;
    const pa = this.target();
    const last = pa + bytes - 1;
    if (last >= this.pgt.paLimit || last < pa || pa >> 48 != last >> 48) return false; // the address field is contiguous
    const entries = <u32>1 << (pageShift - 3);
    slots.fill(table, entries, this.entryFor(pa, level), <u64>1 << shift);
    pool.setReferences(table, entries + 1);
    return true;
  }
}

export function map(pgt: Pgt, ia: u64, size: u64, pa: u64, prot: u64, flags: u32, cache: usize): i32 {
  if (pgt.has(IDMAP) && ia != pa) return -EINVAL;
  const attributes = stage2Attributes(pgt, prot);
  if (attributes == REFUSED) return -EINVAL;
  const needsWalk = (flags & SHARED && pgt.has(NVHE)) || flags & TABLE_POST;
  if (!needsWalk && isSingle(pgt, size)) {
    const result = mapSingle(pgt, ia, pa, attributes);
    if (result == 0) return 0;
    if (result == -EAGAIN) return flags & HANDLE_FAULT ? result : 0;
  }
  const visitor = changetype<MapVisitor>(scratch + S_VISITOR);
  visitor.pa = pa & ~((<u64>1 << pgt.pageShift) - 1);
  visitor.attributes = attributes;
  visitor.owner = 0;
  visitor.cache = cache;
  visitor.pagesOnly = (flags & FORCE_PAGES) != 0 || pgt.has(PAGES_ONLY) || size <= <u64>1 << pgt.pageShift;
  const result = walk<MapVisitor>(visitor, pgt, ia, size, (flags & CALLER_FLAGS) | visitor.wanted(pgt));
  dsbIshst(pgt);
  return result;
}

/** Annotates pages with an owner; any valid mapping goes. Never at block level. */
export function setOwner(pgt: Pgt, ia: u64, size: u64, owner: u32, cache: usize): i32 {
  return (owner & 0xff) > 1 ? -EINVAL : annotate(pgt, ia, size, annotation(owner & 0xff), cache);
}

/** The same with any invalid entry. */
export function annotate(pgt: Pgt, ia: u64, size: u64, entry: u64, cache: usize): i32 {
  const visitor = changetype<MapVisitor>(scratch + S_VISITOR);
  visitor.pa = NO_ADDRESS;
  visitor.attributes = 0;
  visitor.owner = entry;
  visitor.cache = cache;
  visitor.pagesOnly = true;
  return walk<MapVisitor>(visitor, pgt, ia, size, visitor.wanted(pgt));
}
