/**
 * Names for the attribute bits of descriptors that other software wrote. The engine's own tables need only what KVM
 * writes; a dumped table may hold anything the architecture allows (Arm ARM D8.3).
 *
 *   stage 2   58..55   54..53  52      51       11    10  9..8  7..6   5..2
 *            | SW    | XN    | contig| DBM |  | FnXS| AF| SH  | S2AP | MemAttr |
 *   stage 1   58..55   54   53   52      51   50   11   10  9..8  7    6     4..2
 *            | SW    | UXN| PXN| contig| DBM| GP|  nG | AF| SH  | RO | EL0 | AttrIndx |
 *
 * What the tables above a leaf take away (APTable, XNTable) and what registers add (PAN, WXN) is not counted in.
 */
import type { Regime } from "./format.ts";

/** One field: how its value reads; "" if it says nothing. */
interface Field {
  readonly mask: bigint;
  readonly read: (value: number) => string;
}

/** A field that is a word when set, and another or none when clear. */
function flag(bit: number, set: string, clear = ""): Field {
  return { mask: 1n << BigInt(bit), read: (value) => (value === 0 ? clear : set) };
}

const SOFTWARE: Field = {
  mask: 0xfn << 55n,
  read: (value) => (value === 0 ? "" : `sw=${value.toString(2).padStart(4, "0")}`),
};
const SHAREABILITY: Field = {
  mask: 0b11n << 8n,
  read: (value) => ["", "sh=01", "outer", "inner"][value] as string,
};
const COMMON = [flag(10, "af", "old"), flag(51, "dbm"), flag(52, "contiguous"), SOFTWARE];

/** MemAttr without and with forced write-back; KVM's values have names. */
const MEMORY: Field = {
  mask: 0b1111n << 2n,
  read: (value) =>
    ({ 1: "device", 5: "non-cacheable", 6: "normal", 15: "normal" })[value] ?? `memattr=${value}`,
};

const FIELDS = {
  2: [MEMORY, SHAREABILITY, ...COMMON, flag(11, "fnxs")],
  1: [
    { mask: 0b111n << 2n, read: (value: number) => `attr${value}` },
    SHAREABILITY,
    ...COMMON,
    flag(11, "ng"),
    flag(50, "gp"),
  ],
} satisfies Record<1 | 2, Field[]>;

// Permission bits.
const S2_READ = 1n << 6n;
const S2_WRITE = 1n << 7n;
const S2_XN = 0b11n << 53n;
const S1_EL0 = 1n << 6n;
const S1_READ_ONLY = 1n << 7n;
const S1_PXN = 1n << 53n;
const S1_XN = 1n << 54n;

/** The attributes of a leaf in words: permissions first (stage 1: privileged/user), then what else is set. */
export function describeAttributes(regime: Regime, attributes: bigint): string {
  const fields = FIELDS[regime.stage].filter((field) => !(regime.lpa2 && field === SHAREABILITY));
  const words = fields.map(({ mask, read }) => read(Number((attributes & mask) / (mask & -mask))));
  return [permissions(regime, attributes), ...words.filter((word) => word !== "")].join(" ");
}

/** An invalid entry that is not zero: KVM's marks at stage 2, anything at all elsewhere. */
export function describeInvalid(regime: Regime, entry: bigint): string {
  const owner = (entry >> 2n) & 0xffn;
  if (regime.stage === 2 && entry === owner << 2n) return `owner ${owner}`;
  if (regime.stage === 2 && entry === 1n << 10n) return "locked";
  return `invalid 0x${entry.toString(16)}`;
}

function permissions(regime: Regime, attributes: bigint): string {
  const has = (bit: bigint): boolean => (attributes & bit) !== 0n;
  if (regime.stage === 2) return triple(has(S2_READ), has(S2_WRITE), (attributes & S2_XN) === 0n);
  const writable = !has(S1_READ_ONLY);
  // The EL2 of an nVHE hypervisor has one privilege level, and one execute-never bit.
  if (regime.name.startsWith("hyp_")) return triple(true, writable, !has(S1_XN));
  const user = has(S1_EL0);
  return `${triple(true, writable, !has(S1_PXN))}/${triple(user, user && writable, !has(S1_XN))}`;
}

function triple(read: boolean, write: boolean, execute: boolean): string {
  return `${read ? "r" : "-"}${write ? "w" : "-"}${execute ? "x" : "-"}`;
}
