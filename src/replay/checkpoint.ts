/**
 * Compares our page tables with a dump of the recorded host's memory: every word of every table page, which pages
 * there are, and the reference count of each.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Context } from "../_context.ts";
import type { Page, Regime, TableImage } from "../image/format.ts";
import { readImage } from "../image/read.ts";
import { takeAccessFlag } from "./access.ts";
import { hex } from "./addresses.ts";
import type { Driver, ReplayedTable } from "./driver.ts";
import type { Machine } from "./settings.ts";

/** What a dump was compared with, and how. */
export interface CheckpointResult {
  /** Tables of ours that the dump holds. 0: it shows none of them, or is not there. */
  readonly tables: number;
  readonly pages: number;
  readonly entries: number;
  /** Access flags that hardware had set. */
  readonly accessFlags: number;
  readonly differences: readonly string[];
}

/** Where the trace says that a dump was taken. */
const TAKEN = /^checkpoint-taken (\S+)$/;

/** Name of the dump that a mark tells of. */
export function checkpointName(mark: string): string | undefined {
  return TAKEN.exec(mark)?.[1];
}

/** The file of a dump beside the trace, if it is there. */
export function findDump(tracePath: string, name: string): string | undefined {
  const path = join(dirname(tracePath), `${name}.tables.json`);
  return [path, `${path}.gz`].find((candidate) => existsSync(candidate));
}

/** Compares all page tables of the dump that are alive now. */
export function compareCheckpoint(
  context: Context,
  driver: Driver,
  machine: Machine,
  path: string,
): CheckpointResult {
  const image = readImage(path);
  const total = { tables: 0, pages: 0, entries: 0, accessFlags: 0, differences: [] as string[] };
  for (const table of driver.tables.values()) {
    const regime = image.regimes.find(
      ({ stage, root }) => stage === 2 && root === table.recordedRoot,
    );
    if (regime === undefined) continue;
    const comparison = new TableComparison(context, driver, machine, table);
    comparison.run(image, regime);
    total.tables++;
    total.pages += comparison.pages;
    total.entries += comparison.entries;
    total.accessFlags += comparison.accessFlags;
    total.differences.push(...comparison.differences);
  }
  return total;
}

class TableComparison {
  pages = 0;
  entries = 0;
  accessFlags = 0;
  readonly differences: string[] = [];

  constructor(
    readonly context: Context,
    readonly driver: Driver,
    readonly machine: Machine,
    readonly table: ReplayedTable,
  ) {}

  run(image: TableImage, regime: Regime): void {
    const ours = this.#reachable();
    for (const page of image.pages) {
      const place = page.places.find(({ regime: name }) => name === regime.name);
      if (place === undefined) continue;
      if (ours.delete(page.pa)) this.#page(image, page, place.level);
      else this.differences.push(`table page ${hex(page.pa)} is only in the dump`);
    }
    for (const pa of ours) this.differences.push(`table page ${hex(pa)} is not in the dump`);
  }

  /** Recorded addresses of the table pages in our tree. */
  #reachable(): Set<number> {
    const { table, driver } = this;
    const { pageShift } = this.machine;
    const found = new Set<number>();
    const visit = (ours: number, level: number, bytes: number): void => {
      for (let at = 0; at < bytes; at += 2 ** pageShift) {
        found.add(driver.addresses.recorded(ours + at) ?? -(ours + at));
      }
      if (level === 3) return;
      const first = this.context.pointer(ours) / 8;
      for (const entry of this.context.u64.subarray(first, first + bytes / 8)) {
        if ((entry & 3n) === 3n) visit(Number(entry & TABLE_ADDRESS), level + 1, 2 ** pageShift);
      }
    };
    visit(table.root, table.startLevel, table.rootBytes);
    return found;
  }

  #page(image: TableImage, page: Page, level: number): void {
    const { addresses } = this.driver;
    const pointer = addresses.pointer(page.pa) as number;
    const words = new DataView(image.bytes.buffer, image.bytes.byteOffset + page.offset, page.size);
    const { u32 } = this.context;
    let references = 1;
    for (let at = 0; at < page.size; at += 8) {
      const recorded = words.getBigUint64(at, true);
      if (recorded !== 0n) references++;
      const here = (pointer + at) / 4;
      const ours = addresses.entry(u32[here + 1] as number, u32[here] as number, level);
      if (ours !== hexWord(recorded)) this.#entry(page.pa + at, pointer + at, ours, recorded);
    }
    const count = this.context.core.pool_references(pointer);
    if (count !== references)
      this.differences.push(`table page ${hex(page.pa)}: ${count} references, not ${references}`);
    this.pages++;
    this.entries += page.size / 8;
  }

  #entry(pa: number, pointer: number, ours: string, recorded: bigint): void {
    if (this.machine.ha && takeAccessFlag(this.context, pointer, recorded)) this.accessFlags++;
    else this.differences.push(`entry ${hex(pa)} is ${ours}, in the dump ${hexWord(recorded)}`);
  }
}

const TABLE_ADDRESS = 0x0000_ffff_ffff_f000n;

function hexWord(word: bigint): string {
  return `0x${word.toString(16)}`;
}
