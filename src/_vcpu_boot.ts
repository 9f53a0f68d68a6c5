/** The state that a vCPU starts in: ID registers of a large CPU, stage 2 from a page table, stage 1 off, EL1. */
import { OPTION, STATE } from "./_abi.ts";
import type { GuestTable } from "./_guest_table.ts";
import type { VcpuCore } from "./_vcpu_core.ts";
import type { Settings } from "./_vcpu_options.ts";
import { type Registers, writeRegisters } from "./_vcpu_registers.ts";
import { EMFILE, Stage2Error } from "./errors.ts";

const HCR_VM = 1n;
const HCR_RW = 1n << 31n;
const HCR_FWB = 1n << 46n;
const VTCR_VS = 1n << 19n;
const VTCR_HD = 1n << 22n;
const PSTATE_EL1 = 1n << 2n;
/** PARange of 52 bits; VTCR_EL2.PS has the same codes. */
const LARGEST_PARANGE = 6n;

/**
 * ID_AA64MMFR0_EL1 but for PARange: all granules at both stages, with 52-bit descriptors, 16-bit ASIDs.
 * TGran4_2 43:40, TGran64_2 39:36, TGran16_2 35:32, TGran4 31:28, TGran64 27:24, TGran16 23:20, ASIDBits 7:4.
 */
const MMFR0 = 0x323_1020_0020n;
/** ID_AA64MMFR1_EL1: VMIDBits 7:4 (16 bits), HPDS 15:12. Options add XNX 31:28 and HAFDBS 3:0. */
const MMFR1 = 0x2020n;
const MMFR1_XNX = 1n << 28n;
/** ID_AA64MMFR2_EL1: BBM 55:52 (level 2), TTL 51:48, FWB 43:40, ST 31:28, VARange 19:16 (52 bits). */
const MMFR2 = 0x21_0100_1001_0000n;

/** Writes registers and settings, and takes them over. */
export function boot(cpu: VcpuCore, settings: Settings, first: Partial<Registers>): void {
  const { words, registers } = cpu;
  writeRegisters(cpu, { ...first, ...settings.registers });
  registers[STATE.PSTATE / 8] = PSTATE_EL1;
  words[STATE.KNOBS / 4] = settings.knobs;
  words[STATE.EVENTS / 4] = settings.events;
  words[STATE.ERG_SHIFT / 4] = settings.granuleShift;
  words[STATE.SPURIOUS / 4] = settings.spurious;
  words[STATE.SEED / 4] = settings.seed;
  words[STATE.SPECULATE / 4] = settings.speculate;
  cpu.configure();
}

/**
 * Registers for the guest whose stage 2 this is; without one, what a CPU has on which stage 2 is off.
 * @throws Stage2Error `DISPOSED`; `EMFILE` if the table's VMID is too large for the VMIDs that it asks for.
 */
export function firstRegisters(
  table: GuestTable | undefined,
  settings: Settings,
): Partial<Registers> {
  const { hafdbs, hd, xnx } = settings;
  const idAa64mmfr1El1 = MMFR1 | BigInt(hafdbs) | (xnx ? MMFR1_XNX : 0n);
  const common = { idAa64mmfr1El1, idAa64mmfr2El1: MMFR2 };
  if (table === undefined) {
    return { ...common, idAa64mmfr0El1: MMFR0 | LARGEST_PARANGE, hcrEl2: HCR_RW };
  }
  const { vtcr } = table;
  return {
    ...common,
    idAa64mmfr0El1: MMFR0 | ((vtcr >> 16n) & 7n),
    hcrEl2: HCR_VM | HCR_RW | (forcesWriteBack(table) ? HCR_FWB : 0n),
    vtcrEl2: vtcr | (hd ? VTCR_HD : 0n),
    vttbrEl2: table.vttbr({ vmid: checkedVmid(table, vtcr) }),
  };
}

function forcesWriteBack({ shape: { bits } }: GuestTable): boolean {
  return (bits & (OPTION.FWB | OPTION.NOFWB)) === OPTION.FWB;
}

function checkedVmid({ vmid }: GuestTable, vtcr: bigint): number {
  if (vmid <= ((vtcr & VTCR_VS) === 0n ? 0xff : 0xffff)) return vmid;
  throw new Stage2Error("EMFILE", "more page tables than VMIDs of this size", { vmid }, EMFILE);
}
