/** Making the tables of a machine, and its end. */
import { createLasting, destroy as destroyCache } from "../cache";
import { hypInit } from "../engine";
import { EBUSY, EINVAL, EMFILE } from "../errno";
import { argument, setResult } from "../layout";
import * as operate from "../operate";
import { GUARDED, IDMAP, LPA2, NOFWB, NVHE, PA52, PAGES_ONLY, Pgt, releaseSlot } from "../pgt";
import { freePrivate, STATE_PAGE } from "../private";
import { freeHostPages, initHostPages } from "./host_pages";
import { Machine, makeTable, MAX_VMS, regionAt, tablesFor } from "./machine";
import { freeMemcaches } from "./memcache";
import { entryOf, HANDLE_OFFSET, RESERVED } from "./vms";

/** Memory for everything page by page, some more, and a gigabyte of devices at the worst. */
function quotaOf(m: Machine): u32 {
  let pages = tablesFor(m, 1 << 30) + 16;
  for (let i: u32 = 0; i < m.regions; i++) pages += tablesFor(m, regionAt(m, i).bytes);
  return pages;
}

/** Both page tables. Nobody is mapped yet: the host maps lazily. */
export function initMachine(m: Machine, table: u32, events: u32): i32 {
  const listBase = argument(0);
  const listBytes = argument(1);
  const offset = argument(2);
  if (m.host || !m.regions || offset > regionAt(m, 0).base || offset & (m.pageSize - 1)) return -EINVAL;
  const wide = table & (LPA2 | PA52);
  m.mmfr0 = argument(3);
  m.mmfr1 = argument(4);
  const host = makeTable(m, table | NOFWB | IDMAP | NVHE, events);
  if (host < 0 && host >= -4095) return host;
  const hyp = hypInit(m.pageShift, m.paBits, wide | NVHE | PAGES_ONLY | GUARDED, events); // a page comes back by itself, whatever came with it
  m.host = <usize>host;
  m.hostTable.vmid = 0;
  m.hyp = hyp < 0 && hyp >= -4095 ? 0 : <usize>hyp;
  m.cache = m.hyp ? createLasting(m.pageShift) : 0;
  const result = !m.hyp ? hyp : !m.cache ? -EMFILE : initHostPages(m, listBase, listBytes);
  if (result != 0) {
    endTables(m);
    return result;
  }
  m.quota = quotaOf(m);
  m.table = table;
  m.events = events;
  m.offset = offset;
  return 0;
}

function endTables(m: Machine): void {
  if (m.host) end(m.hostTable);
  if (m.hyp) end(m.hypTable);
  if (m.cache) destroyCache(m.cache);
  m.host = 0;
  m.hyp = 0;
  m.cache = 0;
}

function end(pgt: Pgt): void {
  operate.destroy(pgt);
  operate.release(pgt);
}

/** The machine, without VMs: nobody of another thread is in the middle of a hypercall. */
export function destroyMachine(m: Machine): i32 {
  for (let index: u32 = 0; index < MAX_VMS; index++) {
    if (atomic.load<u32>(entryOf(m, index)) <= RESERVED) continue;
    setResult(0, HANDLE_OFFSET + index);
    return -EBUSY;
  }
  endTables(m);
  freeMemcaches(m);
  freeHostPages(m);
  for (let i: u32 = 0; i < m.regions; i++) freePrivate(regionAt(m, i).records, regionAt(m, i).units);
  const slot = m.slot;
  atomic.store<u32>(slot, 0, STATE_PAGE);
  freePrivate(changetype<usize>(m), 1);
  releaseSlot(slot);
  return 0;
}
