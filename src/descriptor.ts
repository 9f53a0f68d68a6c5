/**
 * Descriptors of both stages in plain fields, as hardware reads them (Arm ARM D8.3, VMSAv8-64 translation table format
 * descriptors). What page-table software means by an entry is {@link decodeEntry}'s to say.
 */
import { memAttrWords } from "./_memory_type.ts";
import { type Granule, pageShift } from "./_options.ts";
import { levelShift } from "./decode.ts";
import { descriptor } from "./entry.ts";
import { choiceOption, flagOption, integerOption, knownOptions } from "./range.ts";

/** Whose descriptor it is. */
export interface DescriptorOptions {
  stage: 1 | 2;
  /** Level of the table that holds it, -1 to 3. */
  level: number;
  /** Page size. Default 4K. */
  granule?: Granule;
  /** 52-bit addresses: DS with 4K and 16K pages, LPA with 64K pages. Default off. */
  ds?: boolean;
  /** Stage 2 with forced write-back (HCR_EL2.FWB). Default off. */
  fwb?: boolean;
  /** Stage 2 has separate execute bits for EL0 and EL1 (FEAT_XNX). Default on. */
  xnx?: boolean;
  /** Stage 1 of EL2 alone: one privilege level, one XN bit. Default off. */
  el2?: boolean;
}

/** An entry that ends a walk with a translation fault. */
export interface InvalidDescriptor {
  readonly kind: "invalid";
  readonly value: bigint;
  /** Bit 0 is set, but a block cannot be at this level. */
  readonly reserved: boolean;
}

/** A pointer to a table of the next level. */
export interface TableDescriptor {
  readonly kind: "table";
  readonly value: bigint;
  /** Address of the next table: an IPA at stage 1, a PA at stage 2. */
  readonly next: number;
  /** Access flag of the table; counts only with FEAT_HAFT. */
  readonly af: boolean;
  /** Stage 1: what the leaves below may at most. */
  readonly hierarchy: TableLimits | undefined;
}

/** Hierarchical permissions of a stage-1 table. */
export interface TableLimits {
  /** APTable[1]: no writes below. */
  readonly readOnly: boolean;
  /** APTable[0]: no access from EL0 below. */
  readonly noEl0: boolean;
  readonly uxn: boolean;
  readonly pxn: boolean;
}

/** What leaves of both stages have. */
interface LeafFields {
  readonly kind: "block" | "page";
  readonly value: bigint;
  /** First output address: an IPA at stage 1, a PA at stage 2. */
  readonly oa: number;
  /** Bytes that it maps. */
  readonly size: number;
  /** Access flag. */
  readonly af: boolean;
  /** Shareability; undefined with 52-bit addresses of 4K and 16K pages, which have it in the control register. */
  readonly sh: "non" | "reserved" | "outer" | "inner" | undefined;
  readonly contiguous: boolean;
  /** Dirty bit modifier: hardware may make a clean leaf writable. */
  readonly dbm: boolean;
  /** Block entries: bit 16, which announces a change of size (FEAT_BBM). */
  readonly nT: boolean;
  /** Bits 58:55, which hardware ignores. */
  readonly software: number;
  /** Bits 62:59. */
  readonly pbha: number;
}

/** A leaf of stage 1. */
export interface Stage1Leaf extends LeafFields {
  readonly stage: 1;
  /** Which byte of MAIR_ELx says the memory type. */
  readonly attrIndex: number;
  /** AP[2]: writes fault, unless hardware manages dirty state and {@link dbm} is set. */
  readonly readOnly: boolean;
  /** AP[1]: EL0 may. */
  readonly el0: boolean;
  /** Execute never: at EL0, at EL1. Of EL2's own stage 1 both are its one XN bit. */
  readonly uxn: boolean;
  readonly pxn: boolean;
  /** Not global: of one ASID. */
  readonly nG: boolean;
  /** Guarded page (BTI). */
  readonly gp: boolean;
}

/** A leaf of stage 2. */
export interface Stage2Leaf extends LeafFields {
  readonly stage: 2;
  readonly read: boolean;
  /** S2AP[1]. With {@link dbm} and hardware dirty state: the page is dirty. */
  readonly write: boolean;
  /** XN: who may execute. */
  readonly execute: { readonly el0: boolean; readonly el1: boolean };
  /** MemAttr[3:0], and in words. */
  readonly memAttr: number;
  readonly memory: string;
  readonly fnxs: boolean;
}

export type Descriptor = InvalidDescriptor | TableDescriptor | Stage1Leaf | Stage2Leaf;

const NAMES = ["stage", "level", "granule", "ds", "fwb", "xnx", "el2"];
const SHAREABILITY = ["non", "reserved", "outer", "inner"] as const;
const TABLE_OR_PAGE = 3n;
const LAST_LEVEL = 3;

interface Form {
  readonly level: number;
  readonly shift: number;
  readonly ds: boolean;
}

/** A descriptor in plain fields. @throws Stage2Error `BAD_OPTION` */
export function decodeDescriptor(value: bigint, options: DescriptorOptions): Descriptor {
  knownOptions("decodeDescriptor", options, NAMES);
  const pte = descriptor(value);
  const stage = choiceOption<1 | 2>("stage", options.stage, [1, 2]);
  const level = integerOption("level", options.level, -1, LAST_LEVEL);
  const form = { level, shift: pageShift(options.granule), ds: flag("ds", options.ds, false) };
  const fwb = flag("fwb", options.fwb, false);
  const xnx = flag("xnx", options.xnx, true);
  const el2 = flag("el2", options.el2, false);
  const low = Number(pte & TABLE_OR_PAGE);
  if ((low & 1) === 0) return { kind: "invalid", value: pte, reserved: false };
  if (low === 1 && (level === LAST_LEVEL || level < firstBlockLevel(form))) {
    return { kind: "invalid", value: pte, reserved: true };
  }
  if (low === 3 && level < LAST_LEVEL) return table(pte, stage, form, el2);
  const fields = leaf(pte, form);
  return stage === 1 ? stage1Leaf(pte, fields, el2) : stage2Leaf(pte, fields, fwb, xnx);
}

function flag(name: string, value: unknown, byDefault: boolean): boolean {
  return flagOption(name, value ?? byDefault);
}

/** Level of the largest blocks (Arm ARM D8.3.1): one higher with 52-bit addresses. */
function firstBlockLevel({ shift, ds }: Form): number {
  return (shift === 12 ? 1 : 2) - Number(ds);
}

function isSet(pte: bigint, at: bigint): boolean {
  return ((pte >> at) & 1n) === 1n;
}

/** Address bits from `low` on. With 52 bits: the top ones are at 9:8 (4K, 16K) or 15:12 (64K). */
function outputAddress(pte: bigint, low: number, { shift, ds }: Form): number {
  const wide = ds && shift !== 16;
  const top = wide ? 50n : 48n;
  let address = pte & ((1n << top) - 1n) & ~((1n << BigInt(low)) - 1n);
  if (wide) address |= ((pte >> 8n) & 3n) << 50n;
  else if (ds) address |= ((pte >> 12n) & 15n) << 48n;
  return Number(address);
}

function table(pte: bigint, stage: 1 | 2, form: Form, el2: boolean): TableDescriptor {
  const next = outputAddress(pte, form.shift, form);
  const uxn = isSet(pte, 60n);
  const limits = {
    readOnly: isSet(pte, 62n),
    noEl0: !el2 && isSet(pte, 61n),
    uxn,
    pxn: el2 ? uxn : isSet(pte, 59n),
  };
  const hierarchy = stage === 1 ? limits : undefined;
  return { kind: "table", value: pte, next, af: isSet(pte, 10n), hierarchy };
}

function leaf(pte: bigint, form: Form): LeafFields {
  const bits = levelShift(form.shift, form.level);
  const isPage = form.level === LAST_LEVEL;
  const wide = form.ds && form.shift !== 16;
  return {
    kind: isPage ? "page" : "block",
    value: pte,
    oa: outputAddress(pte, bits, form),
    size: 2 ** bits,
    af: isSet(pte, 10n),
    sh: wide ? undefined : SHAREABILITY[Number((pte >> 8n) & 3n)],
    contiguous: isSet(pte, 52n),
    dbm: isSet(pte, 51n),
    nT: !isPage && isSet(pte, 16n),
    software: Number((pte >> 55n) & 15n),
    pbha: Number((pte >> 59n) & 15n),
  };
}

function stage1Leaf(pte: bigint, fields: LeafFields, el2: boolean): Stage1Leaf {
  const uxn = isSet(pte, 54n);
  return {
    stage: 1,
    ...fields,
    attrIndex: Number((pte >> 2n) & 7n),
    readOnly: isSet(pte, 7n),
    el0: !el2 && isSet(pte, 6n),
    uxn,
    pxn: el2 ? uxn : isSet(pte, 53n),
    nG: isSet(pte, 11n),
    gp: isSet(pte, 50n),
  };
}

/** XN[1:0]: 00 both, 01 EL0 only, 10 none, 11 EL1 only; without FEAT_XNX the upper bit alone, for both. */
function stage2Leaf(pte: bigint, fields: LeafFields, fwb: boolean, xnx: boolean): Stage2Leaf {
  const never = isSet(pte, 54n);
  const other = xnx && isSet(pte, 53n);
  const memAttr = Number((pte >> 2n) & 15n);
  return {
    stage: 2,
    ...fields,
    read: isSet(pte, 6n),
    write: isSet(pte, 7n),
    execute: { el0: !never, el1: never === other },
    memAttr,
    memory: memAttrWords(memAttr, fwb),
    fnxs: isSet(pte, 11n),
  };
}
