/** Shapes of the page tables that a pKVM machine makes by itself: they follow from its address size and its CPU's features. */
import { KIND_HYP, KIND_STAGE2, OPTION } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { idRegisters } from "../_options.ts";
import { type Shape, TableCore } from "../_table.ts";

/** Of the CPU, and of what its tables are made with. */
export interface Machine {
  readonly pageShift: number;
  readonly paBits: number;
  /** OPTION bits that the machine was made with. */
  readonly table: number;
}

/** The host's stage 2: identity, without forced write-back, by code at EL2. */
const HOST = OPTION.NOFWB | OPTION.IDMAP | OPTION.NVHE;
/** Of the hypervisor's stage 1. */
const HYP = OPTION.LPA2 | OPTION.PA52;
const LEVELS = 4;

/** A look at the host's stage 2. */
export function hostTable(context: Context, pointer: number, machine: Machine): TableCore {
  return stage2Table(context, pointer, machine, machine.table | HOST);
}

/** A look at a guest's stage 2. */
export function guestTable(context: Context, pointer: number, machine: Machine): TableCore {
  return stage2Table(context, pointer, machine, machine.table | OPTION.NVHE);
}

/** A look at the hypervisor's stage 1. */
export function hypTable(context: Context, pointer: number, machine: Machine): TableCore {
  const { pageShift, paBits, table } = machine;
  const levels = Math.ceil((paBits - pageShift) / (pageShift - 3));
  const shape: Shape = {
    kind: KIND_HYP,
    pageShift,
    bits: (table & HYP) | OPTION.NVHE,
    iaBits: paBits,
    startLevel: LEVELS - levels,
    rootBytes: 2 ** pageShift,
    rootPhysical: rootOf(context, pointer),
    vtcr: 0n,
  };
  return new TableCore(context, pointer, shape, false);
}

function stage2Table(context: Context, pointer: number, machine: Machine, bits: number): TableCore {
  const { pageShift, paBits } = machine;
  const [mmfr0, mmfr1] = idRegisters(paBits, { ha: (bits & OPTION.NO_HA) === 0 });
  context.setArgument(0, mmfr0);
  context.setArgument(1, mmfr1);
  context.core.pure_vtcr(pageShift, paBits, bits);
  const shape: Shape = {
    kind: KIND_STAGE2,
    pageShift,
    bits,
    iaBits: paBits,
    vtcr: context.result(0),
    rootBytes: context.resultNumber(1),
    startLevel: context.resultLevel(3),
    rootPhysical: rootOf(context, pointer),
  };
  return new TableCore(context, pointer, shape, false);
}

function rootOf(context: Context, pointer: number): number {
  return context.physical(context.core.pgt_root(pointer) >>> 0);
}
