/**
 * Descriptor bits: every mask, and the pure functions on one 64-bit value (Arm ARM D8.3; kvm_pgtable.h).
 *
 *   58..55  54  53  52      51   49|47..12  16..12  11  10  9..8      7..6   5..2     1     0
 *  +-------+---+---+-------+----+---------+-------+---+---+---------+------+--------+-----+------+
 *  | SW    | XN|   | contig| DBM| OA      | OA    |   | AF| SH | OA | S2AP | MemAttr| type| valid|
 *  +-------+---+---+-------+----+---------+-------+---+---+---------+------+--------+-----+------+
 *
 * The output address has three shapes: bits 47:12 (48-bit), 49:12 with PA[51:50] in 9:8 (LPA2, which leaves
 * no room for SH), and 47:16 with PA[51:48] in 15:12 (64 KiB pages with 52-bit addresses).
 * Invalid entries: 0; an owner annotation in 9:2; the locked marker, bit 10 alone ("somebody is changing this").
 */

// @ts-ignore: decorator
@inline export const VALID: u64 = 1 << 0;
// @ts-ignore: decorator
@inline export const TYPE: u64 = 1 << 1; // table above the last level, page at it
// @ts-ignore: decorator
@inline export const MEM_ATTR: u64 = 0b1111 << 2;
// @ts-ignore: decorator
@inline export const S2AP_R: u64 = 1 << 6;
// @ts-ignore: decorator
@inline export const S2AP_W: u64 = 1 << 7;
// @ts-ignore: decorator
@inline export const S2AP: u64 = S2AP_R | S2AP_W;
// @ts-ignore: decorator
@inline export const SH_INNER: u64 = 0b11 << 8;
// @ts-ignore: decorator
@inline export const AF: u64 = 1 << 10;
// @ts-ignore: decorator
@inline export const GP: u64 = <u64>1 << 50; // guarded page, stage 1
/** Hardware may set S2AP[1] (dirty bit modifier); in a prot it says the same. */
// @ts-ignore: decorator
@inline export const DBM: u64 = <u64>1 << 51;
// @ts-ignore: decorator
@inline export const XN: u64 = <u64>1 << 54;
// @ts-ignore: decorator
@inline export const SW: u64 = <u64>0b1111 << 55;

/** What a late map may differ in without being worth a break-before-make (the prejudgement). */
// @ts-ignore: decorator
@inline export const PERMISSIONS: u64 = S2AP | XN;

// Stage-2 MemAttr values, with and without forced write-back (HCR_EL2.FWB).
// @ts-ignore: decorator
@inline export const S2_NORMAL: u64 = 0b1111 << 2;
// @ts-ignore: decorator
@inline export const S2_NORMAL_FWB: u64 = 0b0110 << 2;
// @ts-ignore: decorator
@inline export const S2_NORMAL_NC: u64 = 0b0101 << 2;
// @ts-ignore: decorator
@inline export const S2_DEVICE: u64 = 0b0001 << 2;

// Hypervisor stage-1 attributes: MAIR index in 4:2, AP in 7:6.
// @ts-ignore: decorator
@inline export const S1_ATTR_IDX: u64 = 0b111 << 2;
// @ts-ignore: decorator
@inline export const S1_DEVICE: u64 = 4 << 2;
// @ts-ignore: decorator
@inline export const S1_AP: u64 = 0b11 << 6;
// @ts-ignore: decorator
@inline export const S1_AP_RW: u64 = 1 << 6;
// @ts-ignore: decorator
@inline export const S1_AP_RO: u64 = 3 << 6;
// @ts-ignore: decorator
@inline export const S1_AP_RW_HVHE: u64 = 0 << 6;
// @ts-ignore: decorator
@inline export const S1_AP_RO_HVHE: u64 = 2 << 6;

/** KVM_INVALID_PTE_LOCKED: not valid, not counted, and the very bit that would be AF in a valid entry. */
// @ts-ignore: decorator
@inline export const LOCKED: u64 = AF;
/** Owner annotation of an invalid entry. */
// @ts-ignore: decorator
@inline export const OWNER: u64 = 0xff << 2;

/** Address of a table page: pool and host tables lie below 2^48 in every descriptor format. */
// @ts-ignore: decorator
@inline export const TABLE_ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/** enum kvm_pgtable_prot. */
// @ts-ignore: decorator
@inline export const PROT_X: u64 = 1 << 0;
// @ts-ignore: decorator
@inline export const PROT_W: u64 = 1 << 1;
// @ts-ignore: decorator
@inline export const PROT_R: u64 = 1 << 2;
// @ts-ignore: decorator
@inline export const PROT_DEVICE: u64 = 1 << 3;
// @ts-ignore: decorator
@inline export const PROT_NORMAL_NC: u64 = 1 << 4;
// @ts-ignore: decorator
@inline export const PROT_RW: u64 = PROT_R | PROT_W;
// @ts-ignore: decorator
@inline export const PROT_RWX: u64 = PROT_RW | PROT_X;

/** The last level: its leaves are pages. */
// @ts-ignore: decorator
@inline export const LAST_LEVEL: i32 = 3;

// @ts-ignore: decorator
@inline export function isValid(pte: u64): bool { return (pte & VALID) != 0; }

// @ts-ignore: decorator
@inline export function isTable(pte: u64, level: i32): bool {
  return level != LAST_LEVEL && (pte & (VALID | TYPE)) == (VALID | TYPE);
}

/** Whether the entry holds a reference on its table page: annotations do, the locked marker does not. */
// @ts-ignore: decorator
@inline export function isCounted(pte: u64): bool { return pte != 0 && pte != LOCKED; }

// @ts-ignore: decorator
@inline export function isExecutable(pte: u64): bool { return (pte & XN) == 0; }

/** Field 9:2 of an invalid entry. */
// @ts-ignore: decorator
@inline export function annotation(owner: u32): u64 { return (<u64>owner << 2) & OWNER; }

/** Places an output address. Bits that the format has no room for are dropped. */
export function addressField(pa: u64, pageShift: u32, lpa2: bool): u64 {
  const pages = ~((<u64>1 << pageShift) - 1);
  if (lpa2) return (pa & 0x0003_ffff_ffff_f000 & pages) | ((pa >> 50 & 0b11) << 8);
  const low = pa & 0x0000_ffff_ffff_f000 & pages;
  return pageShift == 16 ? low | (pa >> 48 & 0b1111) << 12 : low;
}

/** The inverse: the output address that an entry holds. */
export function outputAddress(pte: u64, pageShift: u32, lpa2: bool): u64 {
  const pages = ~((<u64>1 << pageShift) - 1);
  if (lpa2) return (pte & 0x0003_ffff_ffff_f000 & pages) | (pte >> 8 & 0b11) << 50;
  const low = pte & 0x0000_ffff_ffff_f000 & pages;
  return pageShift == 16 ? low | (pte >> 12 & 0b1111) << 48 : low;
}

/** A leaf: `attributes` hold everything but address and type. */
// @ts-ignore: decorator
@inline export function leafEntry(address: u64, attributes: u64, level: i32): u64 {
  return address | attributes | VALID | (level == LAST_LEVEL ? TYPE : 0);
}

// @ts-ignore: decorator
@inline export function tableEntry(pa: u64): u64 { return pa | VALID | TYPE; }
