/** Worked walks over 4K pages and 40-bit IPAs: one leaf D, what an access gives, and what it leaves of D. */
import { Access, type VcpuOptions } from "../../src/index.ts";
import { VTCR } from "./machine.ts";

export interface Row {
  readonly id: string;
  /** The leaf, where it is not {@link PAGE}. */
  readonly d?: bigint;
  /** The entries on the way to it, where they are not tables. */
  readonly l1?: bigint;
  readonly l2?: bigint;
  /** The second entry of the root, where there are four levels. */
  readonly l0?: bigint;
  readonly vtcr?: bigint;
  readonly ipa?: number;
  readonly access: number;
  /** Given: only with these. Else both with HA and without. */
  readonly update?: keyof typeof UPDATES;
  /** PA, or what ESR and HPFAR say. */
  readonly gives: number | { ec?: number; fsc: number; wnr?: number; hpfar?: bigint };
  /** D as it is left; else as it was. */
  readonly after?: bigint;
  readonly options?: VcpuOptions;
}

export const UPDATES = { none: 0n, HA: VTCR.HA, "HA HD": VTCR.HA | VTCR.HD } as const;

/** 4K, T0SZ 24, SL0 1, PS 40 bits, 16-bit VMIDs, HA. */
export const VTCR_40 = 0x802a3558n;
/** 4K, T0SZ 16, SL0 2 (start at level 0), PS 48 bits. */
const VTCR_48 = 0x802d3590n;
export const IPA = 0x80_0000_1234;
export const PAGE = 0x00400000900007ffn;
const { Read, Write, Fetch } = Access;

// prettier-ignore
export const ROWS: readonly Row[] = [
  { id: "HV-1", access: Read, gives: 0x9000_0234 },
  { id: "HV-2", d: 0n, access: Read, gives: { fsc: 0x07 } },
  { id: "HV-3", d: 0x00400000900007fdn, access: Read, gives: { fsc: 0x07 } },
  { id: "HV-4", d: 0x004000009000077fn, access: Write, gives: { fsc: 0x0f, wnr: 1 } },
  { id: "HV-5", d: 0x00400000900003ffn, access: Read, update: "none", gives: { fsc: 0x0b } },
  { id: "HV-6", d: 0x00400000900003ffn, access: Read, update: "HA", gives: 0x9000_0234, after: 0x00400000900007ffn },
  { id: "HV-7", d: 0x004000009000037fn, access: Write, update: "HA", gives: { fsc: 0x0f, wnr: 1 } },
  { id: "HV-7, K-8", d: 0x004000009000037fn, access: Write, update: "HA", gives: { fsc: 0x0f, wnr: 1 },
    after: 0x004000009000077fn, options: { afOnPermissionFault: true } },
  { id: "HV-8", d: 0x004000009000037fn, access: Write, update: "none", gives: { fsc: 0x0b, wnr: 1 } },
  { id: "HV-9", access: Fetch, gives: { ec: 0x20, fsc: 0x0f } },
  { id: "HV-10", d: 0x004800009000037fn, access: Write, update: "HA HD", gives: 0x9000_0234, after: 0x00480000900007ffn },
  { id: "HV-11", d: 0x004800009000077fn, access: Read, update: "HA HD", gives: 0x9000_0234 },
  { id: "HV-12", d: 0x004800009000077fn, access: Write, update: "HA", gives: { fsc: 0x0f, wnr: 1 } },
  { id: "HV-13", d: 0x00400100900007ffn, access: Read, gives: { fsc: 0x03 } },
  { id: "HV-14", l2: 0x00400000a00007fdn, access: Read, gives: 0xa000_1234 },
  { id: "HV-15", l2: 0x0000010080003003n, access: Read, gives: { fsc: 0x02 } },
  { id: "HV-16", l1: 0n, access: Read, gives: { fsc: 0x05 } },
  { id: "HV-17", ipa: 0x100_0000_0000, access: Read, gives: { fsc: 0x04, hpfar: 0x1_0000_0000n } },
  { id: "HV-18", vtcr: VTCR_48, l0: 0x00400000000007fdn, access: Read, gives: { fsc: 0x04 } },
  { id: "HV-19", l1: 0x00400080000007fdn, access: Read, gives: 0x80_0000_1234 },
];
