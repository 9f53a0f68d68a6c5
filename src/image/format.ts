/**
 * Table images: the page tables of a machine, as somebody dumped them from its memory.
 *
 *   NAME.tables.json   what was walked: the regimes (which root, which granule, how many levels), and for every page its
 *                      address, its place in the .bin, and where in which regime it stands
 *   NAME.tables.bin    the pages, back to back
 *
 * A regime is one translation: a guest's stage 2, the host's, a guest's or hypervisor's stage 1. Regimes may share
 * pages. The tables of a guest's stage 1 lie at guest physical addresses; `ipa` gives them beside the host's `pa`.
 */
import { levelShift } from "../decode.ts";
import { inputError } from "../_input.ts";
import { JsonNode } from "./json.ts";

/** What the file calls a regime of a guest's (or protected host's) stage 2. */
const STAGE_2 = /^s2\.cpu(\d+)$/;
/** Root tables are concatenated up to this many pages, at stage 2 only. */
const MAX_ROOT_PAGES = 16;

/** One translation regime. */
export interface Regime {
  /** `s2.cpu0`, `guest_ttbr1.cpu0`, `host_ttbr0_el2.cpu1`, … */
  readonly name: string;
  readonly stage: 1 | 2;
  /** CPU it was read from. */
  readonly cpu: number;
  /** Address of the first root entry. A small stage-1 root may lie inside its page. */
  readonly root: number;
  /** log2 of bytes in a page. */
  readonly pageShift: number;
  readonly iaBits: number;
  readonly startLevel: number;
  /** 52-bit descriptors for 4K and 16K pages (VTCR_EL2.DS, TCR.DS). */
  readonly lpa2: boolean;
  /** Added to input addresses: where the upper half (TTBR1) begins. */
  readonly iaBase: bigint;
  /** VTCR_EL2 (stage 2) or TCR_ELx. */
  readonly control: bigint;
  /** Leaves by level, as the dumper counted them. */
  readonly leaves: ReadonlyMap<number, number>;
  /** Table pages, root pages included, and entries that are neither zero nor valid. */
  readonly tables: number;
  readonly annotations: number;
}

/** Where a page stands in a regime. */
export interface Place {
  readonly regime: string;
  readonly level: number;
  /** Input address of its first entry; 0 for every root page. */
  readonly ia: number;
  /** Address of the page in this regime's own address space. */
  readonly address: number;
}

/** One dumped page. */
export interface Page {
  readonly pa: number;
  readonly size: number;
  /** Offset in {@link TableImage.bytes}. */
  readonly offset: number;
  readonly places: readonly Place[];
}

/** A dump: regimes, pages, and their bytes. */
export interface TableImage {
  readonly name: string;
  readonly regimes: readonly Regime[];
  readonly pages: readonly Page[];
  readonly bytes: Uint8Array;
  /** Registers of the CPUs, by name. */
  readonly cpus: readonly ReadonlyMap<string, bigint>[];
  /** CPUs that were stopped inside a guest. */
  readonly guestCpus: readonly number[];
}

/** Entries that the root of a regime has, all its pages together. */
export function rootEntries(regime: Regime): number {
  return 2 ** (regime.iaBits - levelShift(regime.pageShift, regime.startLevel));
}

/** The regime of this name. @throws Stage2Error `BAD_INPUT` */
export function regimeNamed({ name: image, regimes }: TableImage, name: string): Regime {
  const found = regimes.find((regime) => regime.name === name);
  if (found !== undefined) return found;
  const known = regimes.map((regime) => regime.name).join(", ");
  throw inputError(image, `no regime ${name} (it has ${known})`);
}

/** Checks a parsed `tables.json` and its `.bin`, and gives them shape. */
export function parseImage(path: string, json: unknown, bytes: Uint8Array): TableImage {
  const top = new JsonNode(path, json);
  const regimes = top.get("regimes").list().map(parseRegime);
  const names = new Set(regimes.map(({ name }) => name));
  if (names.size !== regimes.length) top.get("regimes").fail("has a name twice");
  const pages = top
    .get("pages")
    .list()
    .map((page) => parsePage(page, names));
  checkBytes(top, pages, bytes);
  const cpus = top.maybe("cpus")?.list().map(parseCpu) ?? [];
  const guestCpus =
    top
      .maybe("guest_cpus")
      ?.list()
      .map((cpu) => cpu.integer(0, 4095)) ?? [];
  return { name: top.get("name").text(), regimes, pages, bytes, cpus, guestCpus };
}

function parseRegime(node: JsonNode): Regime {
  const name = node.get("regime").text();
  const stage = STAGE_2.test(name) ? 2 : 1;
  const granule = node.get("granule");
  const pageShift = Math.log2(granule.integer(4096, 65536));
  if (![12, 14, 16].includes(pageShift)) granule.fail("is not 4096, 16384 or 65536");
  const regime: Regime = {
    name,
    stage,
    cpu: Number(/\.cpu(\d+)$/.exec(name)?.[1] ?? node.get("regime").fail("names no CPU")),
    root: node.get("root").address(),
    pageShift,
    iaBits: node.get("ia_bits").integer(pageShift + 1, 52),
    startLevel: node.get("start_level").integer(-1, 3),
    lpa2: node.get("ds").flag() && pageShift < 16,
    iaBase: node.maybe("ia_base")?.word() ?? 0n,
    control: node.get(stage === 2 ? "vtcr" : "tcr").word(),
    leaves: new Map(
      node
        .get("leaves_by_level")
        .members()
        .map(([level, count]) => [Number(level), count.integer(0, 2 ** 32)]),
    ),
    tables: node.get("table_pages").integer(1, 2 ** 20),
    annotations: node.get("nonzero_invalid").integer(0, 2 ** 32),
  };
  checkGeometry(node, regime);
  return regime;
}

/** A root must have at least one entry, and fit where the architecture lets it be. */
function checkGeometry(node: JsonNode, regime: Regime): void {
  const bytes = rootEntries(regime) * 8;
  const most = (regime.stage === 2 ? MAX_ROOT_PAGES : 1) * 2 ** regime.pageShift;
  if (bytes < 16 || bytes > most) node.fail("has a start level that does not suit its size");
  if (regime.root % Math.min(bytes, most) !== 0)
    node.get("root").fail("is not aligned to its size");
}

function parsePage(node: JsonNode, regimes: ReadonlySet<string>): Page {
  const pa = node.get("pa").address();
  const size = node.get("size").integer(4096, 65536);
  if (pa % size !== 0) node.get("pa").fail("is not aligned to its size");
  const places = node
    .get("in")
    .list()
    .map((place) => parsePlace(place, pa));
  for (const { regime } of places) {
    if (!regimes.has(regime)) node.fail(`stands in ${JSON.stringify(regime)}, which is no regime`);
  }
  return { pa, size, offset: node.get("offset").integer(0, 2 ** 32), places };
}

function parsePlace(node: JsonNode, pa: number): Place {
  return {
    regime: node.get("regime").text(),
    level: node.get("level").integer(-1, 3),
    ia: node.get("ia").address(),
    address: node.maybe("ipa")?.address() ?? pa,
  };
}

/** The pages must lie back to back and fill the .bin. */
function checkBytes(top: JsonNode, pages: readonly Page[], bytes: Uint8Array): void {
  const size = top.get("bin_size").integer(0, 2 ** 32);
  if (bytes.length !== size)
    top.fail(`bin_size is ${size}, but the .bin has ${bytes.length} bytes`);
  let end = 0;
  for (const page of [...pages].sort((a, b) => a.offset - b.offset)) {
    if (page.offset !== end) top.get("pages").fail(`do not lie back to back at offset ${end}`);
    end += page.size;
  }
  if (end !== size) top.get("pages").fail(`end at ${end}, but bin_size is ${size}`);
}

/** Registers that are 64-bit words; wider ones say nothing about tables. */
function parseCpu(node: JsonNode): ReadonlyMap<string, bigint> {
  const words = node.members().filter(([, value]) => value.isWord());
  return new Map(words.map(([name, value]) => [name, value.word()]));
}
