/**
 * A hypervisor and the machine it guards: private pages of the pool.
 *
 *   +0      fields
 *   +128    lock of the VM table        (a line each; taken in this order)
 *   +192    lock of the host's stage 2, and of the host states of pages
 *   +256    lock of the hypervisor's stage 1, of its states, and of what it has admitted
 *   +320    lock of the host's page list
 *   +512    regions of memory, ascending: 32 of 32 bytes
 *   +2048   VM table: 255 words
 *   +3072   which CPUs are final: 512 bits
 */
import { stage2Init } from "../engine";
import { E2BIG, EBUSY, EEXIST, EINVAL, EMFILE, ENOMEM } from "../errno";
import { levelShift, stage2Levels, stage2Possible } from "../geometry";
import { H_UNITS, header, poolPhys, setArgument, UNIT_SHIFT } from "../layout";
import { GUARDED, MACHINE, Pgt, releaseSlot, takeSlot } from "../pgt";
import { privatePages, STATE_PAGE, stateGeneration, unitsFor } from "../private";

// Options: what generations of pKVM differ in.
// @ts-ignore: decorator
@inline export const MAPPINGS_LOCK: u32 = 1;
// @ts-ignore: decorator
@inline export const PAGES: u32 = 2;
// @ts-ignore: decorator
@inline export const GFN_ROUNDING: u32 = 4;
// @ts-ignore: decorator
@inline export const EPERM_IS_AGAIN: u32 = 8;
// @ts-ignore: decorator
@inline export const ERROR_IS_YOUNG: u32 = 16;
// @ts-ignore: decorator
@inline export const MAP_SHARED_HYP: u32 = 32;
// @ts-ignore: decorator
@inline export const FFA_UNCHECKED: u32 = 128;
// @ts-ignore: decorator
@inline export const PROTECTED_GUESTS: u32 = 256;
// @ts-ignore: decorator
@inline export const INJECT_HOST_ABORTS: u32 = 512;
// @ts-ignore: decorator
@inline const OPTIONS: u32 = 0x3ff & ~64;

// @ts-ignore: decorator
@inline export const VM_TABLE_LOCK: usize = 128;
// @ts-ignore: decorator
@inline export const HOST_LOCK: usize = 192;
// @ts-ignore: decorator
@inline export const HYP_LOCK: usize = 256;
// @ts-ignore: decorator
@inline export const LIST_LOCK: usize = 320;
// @ts-ignore: decorator
@inline const REGIONS: usize = 512;
// @ts-ignore: decorator
@inline const REGION_BYTES: usize = 32;
// @ts-ignore: decorator
@inline const MAX_REGIONS: u32 = 32;
// @ts-ignore: decorator
@inline export const VM_TABLE: usize = 2048;
// @ts-ignore: decorator
@inline export const MAX_VMS: u32 = 255;
// @ts-ignore: decorator
@inline export const FINAL_CPUS: usize = 3072;

/** A stretch of memory. It is the hypervisor's to know what each of its pages is: eight bytes a page (page.ts). */
@unmanaged
@final
export class Region {
  base: u64;
  bytes: u64;
  flags: u32;
  records: usize;
  units: u32;
  reserved: u32;

  // @ts-ignore: decorator
  @inline get end(): u64 { return this.base + this.bytes; }
}

/** Of a region: nobody's memory, as firmware has it. */
// @ts-ignore: decorator
@inline export const NOMAP: u32 = 1;

@unmanaged
@final
export class Machine {
  /** Object slot; first (private.ts). */
  slot: usize;
  options: u32;
  pageShift: u32;
  paBits: u32;
  regions: u32;
  /** Table pages that one mapping of a guest may need. */
  minPages: u32;
  /** Page tables: the host's stage 2 (identity), and the hypervisor's stage 1. */
  host: usize;
  hyp: usize;
  /** Pages for both, so that no change stops half way (host.ts). */
  cache: usize;
  /** Table pages that the host's stage 2 may have. */
  quota: u32;
  /** Options and event mask of guests' tables. */
  table: u32;
  events: u32;
  /** ID registers of the CPUs. */
  mmfr0: u64;
  mmfr1: u64;
  /** A CPU is final: what was early is over. */
  final: u32;
  /** First of the host's memcaches. */
  memcaches: usize;
  // the host's page list (host_pages.ts)
  listBase: u64;
  listPages: u32;
  listFree: u32;
  listHint: u32;
  list: usize;
  listUnits: u32;
  /** PA - VA of the hypervisor's linear map. */
  offset: u64;

  // @ts-ignore: decorator
  @inline has(option: u32): bool { return (this.options & option) != 0; }
  // @ts-ignore: decorator
  @inline word(offset: usize): usize { return changetype<usize>(this) + offset; }
  // @ts-ignore: decorator
  @inline get pageSize(): u64 { return <u64>1 << this.pageShift; }
  // @ts-ignore: decorator
  @inline get paLimit(): u64 { return <u64>1 << this.paBits; }
  /** Pages of the one block size there is. */
  // @ts-ignore: decorator
  @inline get blockPages(): u64 { return <u64>1 << (this.pageShift - 3); }
  // @ts-ignore: decorator
  @inline get hostTable(): Pgt { return changetype<Pgt>(this.host); }
  // @ts-ignore: decorator
  @inline get hypTable(): Pgt { return changetype<Pgt>(this.hyp); }
}

// @ts-ignore: decorator
@inline export function machineAt(pointer: usize): Machine { return changetype<Machine>(pointer); }

// @ts-ignore: decorator
@inline export function regionAt(m: Machine, index: u32): Region {
  return changetype<Region>(m.word(REGIONS) + <usize>index * REGION_BYTES);
}

/** Pointer, or -errno. */
export function createMachine(pageShift: u32, paBits: u32, options: u32): i32 {
  if ((pageShift != 12 && pageShift != 14 && pageShift != 16) || options & ~OPTIONS || !stage2Possible(pageShift, paBits)) return -EINVAL;
  const slot = takeSlot(MACHINE);
  if (!slot) return -EMFILE;
  const page = privatePages(1);
  if (!page) {
    releaseSlot(slot);
    return -ENOMEM;
  }
  const m = machineAt(page);
  m.slot = slot;
  m.options = options;
  m.pageShift = pageShift;
  m.paBits = paBits;
  m.minPages = <u32>(stage2Levels(pageShift, paBits) - 1);
  atomic.store<u32>(slot, <u32>page, STATE_PAGE);
  return <i32>page;
}

/** 0: there is none. */
export function machineGeneration(page: usize): u32 { return stateGeneration(page, MACHINE); }

export function addRegion(m: Machine, base: u64, bytes: u64, flags: u32): i32 {
  if (m.host) return -EBUSY;
  if (!bytes || (base | bytes) & (m.pageSize - 1) || base >= m.paLimit || bytes > m.paLimit - base || flags & ~NOMAP) return -EINVAL;
  if (m.regions == MAX_REGIONS) return -E2BIG;
  let place = m.regions;
  while (place && regionAt(m, place - 1).base > base) place--;
  if (place && regionAt(m, place - 1).end > base) return -EEXIST;
  if (place < m.regions && regionAt(m, place).base < base + bytes) return -EEXIST;
  if (base < poolPhys + (<u64>load<u32>(header, H_UNITS) << UNIT_SHIFT) && poolPhys < base + bytes) return -EEXIST; // the tables' own
  const units = unitsFor(bytes >> m.pageShift << 3);
  const records = privatePages(units);
  if (!records) return -ENOMEM;
  const at = changetype<usize>(regionAt(m, place));
  memory.copy(at + REGION_BYTES, at, <usize>(m.regions - place) * REGION_BYTES);
  const region = regionAt(m, place);
  region.base = base;
  region.bytes = bytes;
  region.flags = flags;
  region.records = records;
  region.units = units;
  m.regions++;
  return 0;
}

/** Table pages for a range that is mapped page by page. */
export function tablesFor(m: Machine, bytes: u64): u32 {
  let pages: u64 = 0;
  for (let level = 3 - stage2Levels(m.pageShift, m.paBits) + 1; level < 3; level++) pages += (bytes >> levelShift(m.pageShift, level)) + 2;
  return <u32>pages;
}

/** A stage-2 table of this machine's CPUs: kvm_pgtable_stage2_init. */
export function makeTable(m: Machine, options: u32, events: u32): i32 {
  setArgument(0, m.mmfr0);
  setArgument(1, m.mmfr1);
  return stage2Init(m.pageShift, m.paBits, options | GUARDED, events);
}
