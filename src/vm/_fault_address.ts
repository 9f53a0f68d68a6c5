/**
 * Where a guest's access failed. HPFAR_EL2 is UNKNOWN for a permission fault of stage 2 that is not on a stage-1 descriptor (Arm ARM
 * D24.2, HPFAR_EL2): then the address is found by walking the guest's stage 1 once more, as KVM does (`__translate_far_to_hpfar`).
 */
import { STATE } from "../_abi.ts";
import { Fault } from "../fault.ts";
import type { Vcpu } from "../vcpu.ts";
import type { GuestAbort } from "./outcome.ts";

const PAGE_SHIFT = 12n;
const HPFAR_SHIFT = 4n;
const PAR = STATE.PAR_EL1 / 8;

/** HPFAR_EL2 of an abort; undefined if the guest has changed its tables meanwhile: it is to try again. */
export function hpfarOf(pe: Vcpu, abort: GuestAbort): bigint | undefined {
  if (!(abort instanceof Fault) || abort.ipa !== undefined) return abort.hpfar;
  const { registers } = pe.cpu;
  const kept = registers[PAR] as bigint; // the guest may be about to read it
  const par = pe.at("S1E1R", abort.far);
  pe.cpu.registers[PAR] = kept;
  if (par instanceof Fault || par.pa === undefined) return undefined;
  return (BigInt(par.pa) >> PAGE_SHIFT) << HPFAR_SHIFT;
}
