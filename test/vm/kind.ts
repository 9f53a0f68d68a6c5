/**
 * Whose the page tables of the VMs under test are. Suites make their VMs here and nowhere else, so that the same suite runs over both
 * kinds: with tables of the host's own, which is the usual one, and with tables that a hypervisor keeps (test/pkvm/vm).
 */
import type { Engine, Vm, VmOptions } from "../../src/index.ts";

/** Physical memory that a VM's pages are of. */
export interface Frames {
  readonly pa: number;
  readonly size: number;
}

/** Makes a VM, of whichever kind; it ends with everything that was made for it. */
export type MakeVm = (engine: Engine, options: VmOptions, frames: Frames) => Vm;

let make: MakeVm = (engine, options) => engine.vm(options);

/** A VM of the kind that this run is over. */
export function makeVm(engine: Engine, options: VmOptions, frames: Frames): Vm {
  return make(engine, options, frames);
}

/** From here on VMs are of another kind: for a file that then imports suites. Test files have nothing in common, so it is over with the file. */
export function runOver(kind: MakeVm): void {
  make = kind;
}
