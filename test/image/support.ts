/** What the image tests share: the recorded images, and a small one made by hand. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { TableImage } from "../../src/image/format.ts";

const IMAGES = fileURLToPath(new URL("./images/", import.meta.url));

/** Path of a recorded image, or of the expectations beside it. */
export function imagePath(name: string, ending = "tables.json.gz"): string {
  return `${IMAGES}${name}.${ending}`;
}

/** Names of all recorded images; `expected`: of those with expectations. */
export function imageNames(ending: "tables.json.gz" | "expect.jsonl.gz"): string[] {
  const files = readdirSync(IMAGES).filter((file) => file.endsWith(`.${ending}`));
  return files.map((file) => file.slice(0, -ending.length - 1)).sort();
}

/** The dumped page that stands at an address of a regime. */
export function dumpedPage(image: TableImage, regime: string, address: number): Uint8Array {
  const page = image.pages.find(({ places }) =>
    places.some((place) => place.regime === regime && place.address === address),
  );
  if (page === undefined) throw new Error(`no page at 0x${address.toString(16)}`);
  return image.bytes.subarray(page.offset, page.offset + page.size);
}

/** Copy of an image with one 64-bit word changed. */
export function withWord(
  image: TableImage,
  offset: number,
  change: (word: bigint) => bigint,
): TableImage {
  const bytes = image.bytes.slice();
  const view = new DataView(bytes.buffer);
  view.setBigUint64(offset, change(view.getBigUint64(offset, true)), true);
  return { ...image, bytes };
}

/**
 * A stage 2 of three 64 KiB tables with 42 bits: a page, a block, an annotation; 52-bit output addresses.
 *
 *   0x4_0000_0000 root  [0] table 0x4_0001_0000   [1] block 0x8000_0000
 *   0x4_0001_0000       [0] page 0xf_0000_0002_0000 …   [2] owner 3
 */
export function smallImage(): { json: SmallJson; bytes: Uint8Array<ArrayBuffer> } {
  const bytes = new Uint8Array(2 * 65536);
  const words = new BigUint64Array(bytes.buffer);
  words[0] = 0x4_0001_0003n;
  words[1] = 0x8000_07fdn;
  words[8192] = 0x0040_0000_0002_f7ffn;
  words[8194] = 3n << 2n;
  const place = (level: number) => ({ regime: "s2.cpu0", level, ia: "0x0" });
  const page = (pa: string, offset: number, level: number) => ({
    pa,
    size: 65536,
    offset,
    in: [place(level)],
  });
  const regime = {
    regime: "s2.cpu0",
    root: "0x400000000",
    ia_bits: 42,
    start_level: 2,
    granule: 65536,
    ds: 0,
    vtcr: "0x802e7556",
    leaves_by_level: { "2": 1, "3": 1 },
    table_pages: 2,
    nonzero_invalid: 1,
  };
  const pages = [page("0x400000000", 0, 2), page("0x400010000", 65536, 3)];
  return { json: { name: "small", bin_size: bytes.length, regimes: [regime], pages }, bytes };
}

/** The JSON of {@link smallImage}, loosely typed so that tests can break it. */
export interface SmallJson {
  name: unknown;
  bin_size: unknown;
  regimes: Record<string, unknown>[];
  pages: Record<string, unknown>[];
}
