/**
 * How guests access memory in the self-tests: eight operations, each of instructions that tell the hypervisor what they do
 * (ISV = 1) or do not. Each checks what it sees, as the guest's own code would.
 */
import { expect } from "vitest";
import type { Guest } from "./guest.ts";

export type OperationName =
  "read64" | "ld_preidx" | "at" | "exec" | "write64" | "st_preidx" | "cas" | "dc_zva";

/** What stores leave. */
export const DATA = 0x0123_4567_89ab_cdefn;
/** Where in the page code lies, and what it returns. */
export const CODE_OFFSET = 8;
export const CODE_RESULT = 0x77;
/** Bytes that DC ZVA zeroes: DCZID_EL0.BS of common cores. */
const ZVA_BLOCK = 64;

/** Operations at address T. `ipa`: what stage 1 makes of it. */
export const OPERATIONS: Readonly<
  Record<OperationName, (guest: Guest, t: number, ipa: number) => void>
> = {
  /** LDR. */
  read64(guest, t) {
    expect(guest.load(t), "what is read").toBe(0n);
  },

  /** LDR X0, [X1, #8]!: the base before it is where nothing is mapped; it must not be written back until the load is done. */
  ld_preidx(guest, t) {
    let base = t - 8;
    const value = guest.execute({
      access(cpu) {
        const loaded = cpu.read64(base + 8);
        if (typeof loaded === "bigint") base += 8;
        return loaded;
      },
    });
    expect([value, base], "what is read, and the base").toEqual([0n, t]);
  },

  /** AT S1E1R: asks for stage 1 alone, and touches no page of the address. */
  at(guest, t, ipa) {
    const par = guest.execute({ access: (cpu) => cpu.at("S1E1R", t) });
    expect(par, "PAR_EL1").toMatchObject({ ok: true, pa: ipa });
  },

  /** BLR to code in the page. */
  exec(guest, t) {
    expect(guest.call(t + CODE_OFFSET), "what the code returns").toBe(BigInt(CODE_RESULT));
  },

  /** STR. */
  write64(guest, t) {
    guest.store(t, DATA);
    expect(guest.load(t), "what was stored").toBe(DATA);
  },

  /** STR X0, [X1, #8]!. */
  st_preidx(guest, t) {
    let base = t - 8;
    guest.execute({
      access(cpu) {
        const fault = cpu.write64(base + 8, DATA);
        if (fault === undefined) base += 8;
        return fault;
      },
    });
    expect(base, "the base").toBe(t);
    expect(guest.load(t), "what was stored").toBe(DATA);
  },

  /** CASAL. */
  cas(guest, t) {
    const old = guest.execute({ access: (cpu) => cpu.compareAndSwap(t, 8, 0n, DATA) });
    expect(old, "what was there").toBe(0n);
    expect(guest.load(t), "what was stored").toBe(DATA);
  },

  /** DC ZVA: a store of a block of zeros. */
  dc_zva(guest, t) {
    guest.execute({
      access(cpu) {
        for (let at = t; at < t + ZVA_BLOCK; at += 8) {
          const fault = cpu.write64(at, 0n);
          if (fault !== undefined) return fault;
        }
        return undefined;
      },
    });
    expect(guest.load(t), "the first word of the block").toBe(0n);
    expect(guest.load(t + CODE_OFFSET), "the second word of the block").toBe(0n);
  },
};
