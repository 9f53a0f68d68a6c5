/** A VM on a pKVM machine: what the machine decides for it. */
import { OPTION } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { Stage2Error } from "../errors.ts";
import { flagOption } from "../range.ts";
import { Pkvm } from "../pkvm/pkvm.ts";

/** The options that matter here. */
interface Given {
  pkvm?: Pkvm;
  protectedGuest?: boolean;
}

/** A machine, as one of its VMs is made. */
export interface OnMachine {
  /** Options that are the machine's to say. */
  readonly decided: Record<string, unknown>;
  /** The guest's memory is donated. */
  readonly isProtected: boolean;
  /** The core's pointer. @throws Stage2Error `FOREIGN`, `DISPOSED` */
  pointer(context: Context): number;
}

/** @throws Stage2Error `BAD_OPTION` for what the machine does not have, or has differently; `DISPOSED` */
export function onMachine(options: Given): OnMachine | undefined {
  const { pkvm } = options;
  const isProtected = flagOption("protectedGuest", options.protectedGuest ?? false);
  if (pkvm === undefined) {
    if (!isProtected) return undefined;
    throw new Stage2Error("BAD_OPTION", "protectedGuest needs a pkvm machine");
  }
  if (!(pkvm instanceof Pkvm)) {
    throw new Stage2Error("BAD_OPTION", "pkvm must be a machine of engine.pkvm", { pkvm });
  }
  if (isProtected && !pkvm.features.protectedGuests) {
    throw new Stage2Error("BAD_OPTION", "the machine has no protectedGuests");
  }
  const decided = decidedBy(pkvm);
  for (const [name, value] of Object.entries(decided)) {
    const wanted = (options as Record<string, unknown>)[name];
    if (wanted === undefined || wanted === value) continue;
    throw new Stage2Error("BAD_OPTION", `the pKVM machine decides ${name}`, { [name]: wanted });
  }
  return { decided, isProtected, pointer: (context) => pointerOf(pkvm, context) };
}

function decidedBy(pkvm: Pkvm): Record<string, unknown> {
  const { table } = pkvm.place;
  const has = (bit: number): boolean => (table & bit) !== 0;
  return {
    granule: pkvm.granule,
    hostIpaBits: pkvm.paBits,
    protected: true,
    lpa2: has(OPTION.LPA2),
    pa52: has(OPTION.PA52),
    tlbiRange: has(OPTION.TLBI_RANGE),
    fwb: has(OPTION.FWB),
    ha: !has(OPTION.NO_HA),
    dcache: !has(OPTION.NO_DCACHE),
    icache: !has(OPTION.NO_ICACHE),
    ...(pkvm.features.blocks ? {} : { pagesOnly: true }),
  };
}

function pointerOf({ place }: Pkvm, context: Context): number {
  if (place.context === context) return place.pointer;
  throw new Stage2Error("FOREIGN", "the pKVM machine belongs to another engine");
}
