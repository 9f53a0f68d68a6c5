/**
 * The page-table object that holds an imported regime. A stage 2 has the geometry that KVM gives every stage 2, so its
 * object is made the usual way and comes with its contiguous root; stage-1 shapes are not KVM's own, so theirs is put
 * over a root page that the import allocates.
 */
import { KIND_HYP } from "../_abi.ts";
import { granuleOf } from "../_options.ts";
import { TableCore, checkPointer } from "../_table.ts";
import type { Engine } from "../engine.ts";
import { inputError } from "../_input.ts";
import type { Stage2 } from "../stage2.ts";
import { rootEntries, type Regime, type TableImage } from "./format.ts";
import { addressOptions } from "./relocate.ts";

/** VTCR_EL2: PS in 18:16, VS in 19, HA in 21. */
const VTCR_PS = 16n;
const VTCR_VS = 1n << 19n;
const VTCR_HA = 1n << 21n;
/** ID_AA64MMFR2_EL1.FWB, bits 43:40: KVM uses forced write-back wherever the CPU has it. */
const MMFR2_FWB = 0xfn << 40n;

/** The object behind an imported regime. */
export interface TableObject {
  /** Listing and accounting, whatever the regime. */
  readonly table: TableCore;
  /** The facade, where the regime is a stage 2. */
  readonly stage2: Stage2 | undefined;
}

export function createObject(engine: Engine, image: TableImage, regime: Regime): TableObject {
  return regime.stage === 2 ? stage2Object(engine, image, regime) : shapedObject(engine, regime);
}

function stage2Object(engine: Engine, image: TableImage, regime: Regime): TableObject {
  const parange = Number((regime.control >> VTCR_PS) & 7n);
  const features = image.cpus[regime.cpu]?.get("ID_AA64MMFR2_EL1") ?? 0n;
  const fwb = (features & MMFR2_FWB) !== 0n;
  const stage2 = engine.stage2({
    ipaBits: regime.iaBits,
    granule: granuleOf(regime.pageShift),
    lpa2: regime.lpa2,
    pa52: parange === 6,
    fwb,
    ha: (regime.control & VTCR_HA) !== 0n,
    parange,
    vmidBits: (regime.control & VTCR_VS) === 0n ? 8 : 16,
  });
  if (stage2.startLevel === regime.startLevel) {
    return { table: new TableCore(engine.context, stage2.pointer, stage2.shape, false), stage2 };
  }
  stage2.dispose();
  const what = `${regime.name}: KVM starts ${regime.iaBits} bits at another level`;
  throw inputError(image.name, `${what} than ${regime.startLevel}`);
}

function shapedObject(engine: Engine, regime: Regime): TableObject {
  const { core, context } = engine;
  const { pageShift, iaBits, startLevel } = regime;
  const bits = addressOptions(regime);
  context.setArgument(0, 0n); // no VTCR: this is a stage 1
  const status = core.pgt_create(KIND_HYP, pageShift, iaBits, startLevel, bits, 1);
  const pointer = checkPointer(status, "import", { regime: regime.name });
  const place = { rootBytes: rootEntries(regime) * 8, rootPhysical: context.resultNumber(4) };
  const encoding = { kind: KIND_HYP, pageShift, bits } as const;
  const shape = { ...encoding, ...place, iaBits, startLevel, vtcr: 0n };
  return { table: new TableCore(context, pointer, shape, true), stage2: undefined };
}
