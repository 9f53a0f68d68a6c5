/** What a host's EL2 mappings are made with, checked. */
import { type HypLayout, type HypLayoutOptions, LAYOUT_OPTIONS } from "./_hyp_layout.ts";
import type { Hypercall } from "./_hyp_shares.ts";
import { TABLE_OPTIONS } from "./_options.ts";
import type { TableCache } from "./cache.ts";
import { Stage2Error } from "./errors.ts";
import type { HypOptions } from "./hyp.ts";
import { flagOption, knownOptions } from "./range.ts";

/** What mappings are made with: a layout, and the table's options. `lpa2` is on by default where 52 bits need it. */
export interface HypMappingsOptions
  extends Omit<HypOptions, "vaBits" | "granule">, HypLayoutOptions {
  /** The kernel itself runs at EL2: there is no table, and nothing to map. Default off. */
  vhe?: boolean;
  /** pKVM: the host maps until {@link HypMappings.handOver}, then it asks the hypervisor. Default off. */
  protected?: boolean;
  /** The hypervisor that pages are shared with. Needed with `protected`, and only then. */
  hypercall?: Hypercall;
  /** The stock for new tables; `null` is no page at all. Default: the engine's pool. */
  cache?: TableCache | null | undefined;
}

const OWN_OPTIONS = [...LAYOUT_OPTIONS, "vhe", "protected", "hypercall", "cache"];
const HYP_OPTIONS: readonly string[] = [...TABLE_OPTIONS, "hvhe", "bti", "pageCount", "parity"];

/** Refuses options that do not exist, or not together. The layout checks its own. @throws Stage2Error `BAD_OPTION`. */
export function checkOptions(options: HypMappingsOptions): void {
  knownOptions("hyp mappings", options, [...OWN_OPTIONS, ...HYP_OPTIONS]);
  const isVhe = flagOption("vhe", options.vhe ?? false);
  const isProtected = flagOption("protected", options.protected ?? false);
  if (isVhe && isProtected) {
    throw new Stage2Error("BAD_OPTION", "a protected hypervisor is none of a VHE host", {});
  }
  if (typeof options.hypercall === (isProtected ? "function" : "undefined")) return;
  const message = "hypercall must be a function with protected, and left out without";
  throw new Stage2Error("BAD_OPTION", message, { hypercall: options.hypercall });
}

/** The options of the table itself. */
export function tableOptions(options: HypMappingsOptions, layout: HypLayout): HypOptions {
  const given = Object.entries(options).filter(
    ([name, value]) => HYP_OPTIONS.includes(name) && value !== undefined,
  );
  const lpa2 = layout.hypVaBits > 48 && layout.granule !== "64K" ? { lpa2: true } : {};
  return { ...lpa2, ...Object.fromEntries(given), vaBits: layout.hypVaBits };
}
