/**
 * Export: the pages of an imported regime as they would lie in the dumped machine. Table pointers go back to the
 * addresses they had, so an untouched table gives the dumped pages again, bit for bit; one that was edited gives the
 * same machine with the edits in it.
 */
import { Stage2Error } from "../errors.ts";
import type { ImportedTable, Origin } from "./table.ts";

/**
 * The pages, by their address in the regime's own address space. A page that holds a small stage-1 root keeps its other
 * bytes. A page that stands in several places of the regime must read the same in all of them.
 *
 * @throws Stage2Error `FOREIGN` if the table has pages that were not imported (it was edited since)
 */
export function exportPages(table: ImportedTable): Map<number, Uint8Array> {
  const pages = new Map<number, Uint8Array>();
  for (const [pointer, origin] of table.origins) {
    const { page, address } = origin;
    if (page === undefined) continue;
    const bytes = table.image.bytes.slice(page.offset, page.offset + page.size);
    bytes.set(exportTable(table, pointer, origin), origin.within);
    pages.set(address, bytes);
  }
  return pages;
}

function exportTable(table: ImportedTable, pointer: number, origin: Origin): Uint8Array {
  const { descriptors } = table;
  const copy = table.memory.slice(pointer, pointer + origin.bytes);
  const words = new BigUint64Array(copy.buffer);
  words.forEach((entry, i) => {
    if (!descriptors.isTable(entry, origin.level)) return;
    const physical = descriptors.address(entry);
    const original = table.originalAddress(physical) ?? madeSince(physical);
    words[i] = descriptors.relocate(entry, original);
  });
  return copy;
}

function madeSince(table: number): never {
  throw new Stage2Error("FOREIGN", "a table was made after the import", { table });
}
