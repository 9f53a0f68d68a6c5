/** What the tests of accesses and exclusive monitors share: a guest with a few pages of memory, stage 1 off. */
import {
  type Engine,
  type EngineOptions,
  Prot,
  type Stage2,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { type Lab, SMALL } from "../support.ts";

export const PAGE = 0x1000;
/** Guest memory. */
export const RAM = { pa: 0x8000_0000, size: 0x1_0000 };
export const MACHINE: EngineOptions = { ...SMALL, guestRam: RAM };
/** Where guests see its first pages: one after the other, but not in order. */
export const BASE = 0x4000_0000;
/** Pages of guest memory behind the pages from BASE on: no two that adjoin do so in memory. */
export const ORDER = [0, 2, 1, 3];
/** Stage 1 off makes all memory Device, which takes no unaligned access: default cacheable (HCR_EL2.DC). */
const HCR_DC = 1n << 12n;

/** A page table with these pages, writable. */
export function table({ engine, keep }: Lab): Stage2 {
  const s2 = keep(engine.stage2());
  for (const [i, page] of ORDER.entries()) {
    s2.map({ ipa: BASE + i * PAGE, size: PAGE, pa: RAM.pa + page * PAGE, prot: Prot.RW });
  }
  return s2;
}

/** A vCPU that runs it, with stage 1 off. */
export function cpu({ engine, keep }: Lab, s2: Stage2, options: VcpuOptions = {}): Vcpu {
  const vcpu = keep(engine.vcpu(s2, options));
  vcpu.setRegisters({ hcrEl2: vcpu.registers.hcrEl2 | HCR_DC });
  return vcpu;
}

/** The bytes of guest memory behind an IPA of the table. */
export function bytes(engine: Engine, ipa: number, length: number): Uint8Array {
  const page = ORDER[Math.floor((ipa - BASE) / PAGE)] as number;
  return engine.memoryMap.bytes(RAM.pa + page * PAGE + (ipa % PAGE), length);
}

/** The 8 bytes there, as a number; stored to by no vCPU. */
export function word(engine: Engine, ipa: number): bigint {
  const { buffer, byteOffset } = bytes(engine, ipa, 8);
  return new DataView(buffer, byteOffset).getBigUint64(0, true);
}

/** Sizes of accesses. */
export const SIZES = [1, 2, 4, 8] as const;

export function mask(value: bigint, size: number): bigint {
  return BigInt.asUintN(size * 8, value);
}
