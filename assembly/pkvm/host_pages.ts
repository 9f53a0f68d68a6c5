/**
 * The host's kernel hands out pages for the hypervisor from a stretch of its memory: a byte a page says whether it is taken. This is the
 * host's own book: the hypervisor trusts none of it, and looks at each page that comes out of it.
 */
import { EINVAL, ENOMEM } from "../errno";
import { freePrivate, privatePages, unitsFor } from "../private";
import { acquire, release } from "./locks";
import { LIST_LOCK, Machine } from "./machine";
import { findPages } from "./page";

export function initHostPages(m: Machine, base: u64, bytes: u64): i32 {
  if ((base | bytes) & (m.pageSize - 1)) return -EINVAL;
  const pages = bytes >> m.pageShift;
  if (!pages) return 0;
  if (findPages(m, base >> m.pageShift, pages) != 0) return -EINVAL;
  m.listUnits = unitsFor(pages);
  m.list = privatePages(m.listUnits);
  if (!m.list) return -ENOMEM;
  m.listBase = base >> m.pageShift;
  m.listPages = <u32>pages;
  m.listFree = <u32>pages;
  return 0;
}

export function freeHostPages(m: Machine): void {
  if (m.list) freePrivate(m.list, m.listUnits);
}

/** The first of `count` contiguous pages, or -1. */
export function takeHostPages(m: Machine, count: u32): i64 {
  if (acquire(m.word(LIST_LOCK)) != 0) return -1;
  const pfn = takeRun(m, count);
  release(m.word(LIST_LOCK));
  return pfn;
}

/** From where the last search ended, then from the start. */
function takeRun(m: Machine, count: u32): i64 {
  let run: u32 = 0;
  for (let looked: u32 = 0; looked < m.listPages + count && m.listFree >= count; looked++) {
    if (m.listHint >= m.listPages) {
      m.listHint = 0;
      run = 0;
    }
    run = load<u8>(m.list + m.listHint) ? 0 : run + 1;
    m.listHint++;
    if (run < count) continue;
    memory.fill(m.list + m.listHint - count, 1, count);
    m.listFree -= count;
    return m.listBase + m.listHint - count;
  }
  return -1;
}

/** A page comes back; one that is not from here is somebody else's business. */
export function returnHostPage(m: Machine, pfn: u64): void {
  const index = pfn - m.listBase;
  if (index >= m.listPages) return;
  if (acquire(m.word(LIST_LOCK)) != 0) return; // the page is lost to the list, as the list is
  if (load<u8>(m.list + <usize>index)) {
    store<u8>(m.list + <usize>index, 0);
    m.listFree++;
  }
  release(m.word(LIST_LOCK));
}
