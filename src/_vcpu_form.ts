/** Forms of descriptors that registers ask for (Arm ARM D24.2: VTCR_EL2, TCR_EL1, TCR_EL2, ID_AA64MMFRn_EL1). */
import type { Granule } from "./_options.ts";
import type { Registers } from "./_vcpu_registers.ts";
import type { DescriptorOptions } from "./descriptor.ts";

type Form = Omit<DescriptorOptions, "stage" | "level">;

const TG0: readonly Granule[] = ["4K", "64K", "16K", "4K"];
const TG1: readonly Granule[] = ["4K", "16K", "4K", "64K"];

function field(register: bigint, low: bigint, width: bigint): number {
  return Number((register >> low) & ((1n << width) - 1n));
}

/** Stage 2. */
export function stage2Form(registers: Registers): Form {
  const { vtcrEl2, hcrEl2, idAa64mmfr0El1, idAa64mmfr1El1, idAa64mmfr2El1 } = registers;
  const granule = TG0[field(vtcrEl2, 14n, 2n)] as Granule;
  return {
    granule,
    ds: isWide(granule, idAa64mmfr0El1, field(vtcrEl2, 32n, 1n) === 1, true),
    fwb: field(hcrEl2, 46n, 1n) === 1 && field(idAa64mmfr2El1, 40n, 4n) !== 0,
    xnx: field(idAa64mmfr1El1, 28n, 4n) !== 0,
  };
}

/** Stage 1: EL2's own, or of EL1&0 the half of low or of high addresses. */
export function stage1Form(registers: Registers, el2: boolean, high: boolean): Form {
  const { tcrEl1, tcrEl2, idAa64mmfr0El1 } = registers;
  const tcr = el2 ? tcrEl2 : tcrEl1;
  const granule = (el2 || !high ? TG0[field(tcr, 14n, 2n)] : TG1[field(tcr, 30n, 2n)]) as Granule;
  const ds = field(tcr, el2 ? 32n : 59n, 1n) === 1;
  return { granule, ds: isWide(granule, idAa64mmfr0El1, ds, false), el2 };
}

/** Whether descriptors hold 52-bit addresses: 64K with that PARange, others with DS where the CPU has it. */
function isWide(granule: Granule, mmfr0: bigint, ds: boolean, stage2: boolean): boolean {
  if (granule === "64K") return field(mmfr0, 0n, 4n) === 6;
  const [first, own, code] = granule === "4K" ? [28n, 40n, 1] : [20n, 32n, 2];
  const second = stage2 ? field(mmfr0, own as bigint, 4n) : 0;
  return ds && (second === 0 ? field(mmfr0, first as bigint, 4n) === code : second === 3);
}
