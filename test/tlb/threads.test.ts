/**
 * Two instances on one memory, each with a thread slot of its own, as two workers have: broadcast invalidations reach both,
 * local ones stay. One thread runs them by turns, so every order here is a decided one.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Access, Engine, Prot, type Stage2, type Vcpu } from "../../src/index.ts";
import { MODES, errorOf, lab } from "../support.ts";
import { DATA, Guest, MACHINE, OUT, PAGE, S1, S2, type Slot } from "./support.ts";

const VA = 0x60_0000;
const MOVED = 0x10_0000;

describe.each(MODES)("two threads (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let other: Engine;
  let guest: Guest;
  let s2: Stage2;
  /** The same page table, as the other thread has it. */
  let theirs: Stage2;
  let mine: Vcpu;
  let their: Vcpu;
  let slot: Slot;
  const read = (vcpu: Vcpu) => vcpu.translate(VA, Access.Read);
  const write = (vcpu: Vcpu) => vcpu.translate(VA, Access.Write);

  beforeEach(async () => {
    guest = new Guest(here);
    s2 = guest.s2;
    s2.map({ ipa: DATA, size: PAGE, pa: OUT, prot: Prot.R });
    s2.map({ ipa: DATA + MOVED, size: PAGE, pa: OUT + MOVED, prot: Prot.R });
    guest.map(VA, DATA, S1.NOT_GLOBAL);
    slot = guest.slot2(DATA);
    other = await Engine.attach(here.engine.handle);
    theirs = other.attachStage2(s2.handle);
    mine = here.keep(here.engine.vcpu(s2));
    their = other.vcpu(theirs);
    for (const vcpu of [mine, their]) {
      vcpu.setRegisters(guest.registers(1));
      expect([read(vcpu), read(vcpu)]).toEqual([OUT, OUT]);
    }
  });

  afterEach(() => {
    their.dispose();
    theirs.dispose();
    other.dispose();
  });

  it("a broadcast of either is for both", () => {
    for (const [issuer, step] of [
      [mine, 1],
      [their, 2],
    ] as const) {
      guest.slot1(VA).retarget(DATA + (step % 2) * MOVED);
      expect([read(mine), read(their)]).toEqual(Array(2).fill(OUT + ((step + 1) % 2) * MOVED));
      issuer.tlbi("VAE1", { address: VA, asid: 1 });
      expect([read(mine), read(their)]).toEqual(Array(2).fill(OUT + (step % 2) * MOVED));
    }
    guest.slot1(VA).retarget(DATA + MOVED);
    other.tlbi("VMALLE1", { vmid: s2.vmid });
    expect([read(mine), read(their)]).toEqual([OUT + MOVED, OUT + MOVED]);
  });

  it("a local one of either is its own", () => {
    guest.slot1(VA).retarget(DATA + MOVED);
    mine.tlbi("VAE1", { address: VA, asid: 1, local: true });
    expect([read(mine), read(their)]).toEqual([OUT + MOVED, OUT]);
    their.tlbi("VMALLE1", { local: true });
    expect([read(mine), read(their)]).toEqual([OUT + MOVED, OUT + MOVED]);
  });

  it("a local one is for every vCPU of its thread", () => {
    const second = here.keep(here.engine.vcpu(s2));
    second.setRegisters(guest.registers(1));
    expect(read(second)).toBe(OUT);
    guest.slot1(VA).retarget(DATA + MOVED);
    mine.tlbi("VAE1", { address: VA, asid: 1, local: true });
    expect([read(second), read(their)]).toEqual([OUT + MOVED, OUT]);
  });

  it("unmapped by one, it is gone for both", () => {
    theirs.unmap({ ipa: DATA, size: PAGE });
    const gone = { type: "translation", stage: 2, ipa: DATA };
    expect(read(mine)).toMatchObject(gone);
    expect(read(their)).toMatchObject(gone);
    s2.map({ ipa: DATA, size: PAGE, pa: OUT + MOVED, prot: Prot.R });
    theirs.map({ ipa: DATA, size: PAGE, pa: OUT + 2 * MOVED, prot: Prot.R });
    expect([read(mine), read(their)]).toEqual([OUT + 2 * MOVED, OUT + 2 * MOVED]);
  });

  it("relaxed by one, it faults for the other once more at most, never twice (L24)", () => {
    expect(theirs.relaxPerms({ ipa: DATA, prot: Prot.W })).toBe("ok");
    expect(write(their)).toBe(OUT); // who handled the fault sees what it did
    expect(write(mine)).toMatchObject({ type: "permission", stage: 2, fromTlb: true });
    expect(write(mine)).toBe(OUT);
    expect(mine.statistics.tlb.spuriousFaults).toBe(1);
    expect(their.statistics.tlb.spuriousFaults).toBe(0);
  });

  it("relaxed by one, the other's reads go on from its entry", () => {
    theirs.relaxPerms({ ipa: DATA, prot: Prot.W });
    const { hits } = mine.statistics.tlb;
    expect(read(mine)).toBe(OUT);
    expect(mine.statistics.tlb.hits).toBe(hits + 1);
  });

  it("write-protected and flushed by one, neither writes", () => {
    s2.relaxPerms({ ipa: DATA, prot: Prot.W });
    for (const vcpu of [mine, their]) {
      write(vcpu);
      expect(write(vcpu)).toBe(OUT);
    }
    theirs.wrprotect({ ipa: DATA, size: PAGE });
    expect([write(mine), write(their)]).toEqual([OUT, OUT]);
    theirs.tlbFlushRange({ ipa: DATA, size: PAGE });
    for (const vcpu of [mine, their]) expect(write(vcpu)).toMatchObject({ type: "permission" });
  });

  it("aged by one, the other's hot entry sets no flag until the flush (L7)", () => {
    expect(theirs.testClearYoung({ ipa: DATA, size: PAGE })).toBe(true);
    read(mine);
    expect(slot.value & S2.AF).toBe(0n);
    theirs.tlbFlushRange({ ipa: DATA, size: PAGE });
    read(mine);
    expect(slot.value & S2.AF).toBe(S2.AF);
  });

  it("a whole log of one's invalidations overtakes the other, who then holds nothing", () => {
    slot.value += BigInt(MOVED);
    their.tlbi("VMALLS12E1");
    for (let i = 0; i < 3000; i++) other.tlbi("VAE1", { vmid: 999, address: 0 });
    expect([read(mine), read(their)]).toEqual([OUT + MOVED, OUT + MOVED]);
    slot.value -= BigInt(MOVED);
    for (let i = 0; i < 1025; i++) their.tlbi("VMALLS12E1", { local: true });
    // None of these was for this thread: it may keep what it has, or drop it.
    expect([OUT, OUT + MOVED]).toContain(read(mine));
    mine.tlbi("VMALLS12E1");
    expect([read(mine), read(their)]).toEqual([OUT, OUT]);
  });

  it("vCPUs of either keep tables watched", () => {
    mine.dispose();
    slot.value += BigInt(MOVED);
    expect(read(their)).toBe(OUT);
    s2.unmap({ ipa: DATA, size: PAGE });
    expect(read(their)).toMatchObject({ type: "translation" });
  });

  it("the log says who: enter and poll count what is for the own thread", () => {
    mine.enter();
    other.patience = 10; // this one thread cannot poll and wait
    const details = { thread: here.engine.thread, vcpu: mine.number, waitingFor: "bracket" };
    const late = { code: "ETIMEDOUT", details };
    expect(errorOf(() => their.tlbi("VAE1", { address: VA, asid: 1 }))).toMatchObject(late);
    their.tlbi("VAE1", { address: VA, asid: 1, local: true });
    expect(errorOf(() => other.tlbi("VMALLE1", { vmid: s2.vmid }))).toMatchObject(late);
    expect(mine.poll()).toBe(2);
    expect(their.poll()).toBe(3);
    expect([mine.poll(), their.poll()]).toEqual([0, 0]);
    mine.exit();
  });

  it("what one thread's guest changes, hardware of the other sees by the same tables", () => {
    slot.value &= ~S2.AF;
    mine.tlbi("VMALLS12E1");
    expect(read(their)).toBe(OUT);
    expect(slot.value & S2.AF).toBe(S2.AF);
    expect(their.statistics.accessFlagUpdates.stage2).toBe(1);
    expect(read(mine)).toBe(OUT);
    expect(mine.statistics.accessFlagUpdates.stage2).toBe(0);
  });
});
