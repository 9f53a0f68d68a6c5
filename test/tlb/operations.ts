/** What happens between the accesses of the random tests. Each sends the invalidations that it owes; what was done, in words. */
import { Prot } from "../../src/index.ts";
import { type Stretch, WINDOW, pick } from "./subject.ts";
import { RAM, S2, TABLES } from "./support.ts";
import type { Twins } from "./twins.ts";

export type Operation = (twins: Twins) => string;

/** The engine's, on the guest that runs. */
export const ENGINE: Readonly<Record<string, Operation>> = {
  map({ subject, random }) {
    const block = random(4) === 0;
    const ipa = block ? subject.blockAt(random) : subject.ipa(random);
    const size = block ? subject.block : (1 + random(6)) * subject.page;
    const pa = 2 ** 36 + random(4) * 2 ** 33 + ipa - WINDOW;
    const prot = subject.prot(random);
    const result = subject.guest.s2.map({ ipa, size, pa, prot });
    return `${show({ ipa, size })} to ${pa.toString(16)}, prot ${prot}: ${result}`;
  },
  unmap({ subject, random, world }) {
    const range = subject.range(random, world.odd ?? false);
    subject.guest.s2.unmap(range);
    return show(range);
  },
  wrprotect({ subject, random, world }) {
    const range = subject.range(random, world.odd ?? false);
    subject.guest.s2.wrprotect(range);
    subject.guest.s2.tlbFlushRange(range); // the caller's duty
    return show(range);
  },
  relaxPerms({ subject, random }) {
    const ipa = subject.ipa(random);
    const prot = subject.prot(random);
    return `${ipa.toString(16)} ${prot} ${subject.guest.s2.relaxPerms({ ipa, prot })}`;
  },
  testClearYoung({ subject, random }) {
    const { aged, all } = subject;
    const { s2 } = subject.guest;
    const range = subject.range(random, false);
    for (const { ipa, accessed } of s2.leaves(range)) if (accessed) aged.add(ipa);
    const young = s2.testClearYoung(range);
    if (random(2) === 0) return `${show(range)} ${young}`;
    s2.tlbFlushRange(all);
    aged.clear();
    return `${show(range)} ${young}, flushed`;
  },
  mkyoung({ subject, random }) {
    const ipa = subject.ipa(random);
    return `${ipa.toString(16)} ${subject.guest.s2.mkyoung(ipa)}`;
  },
  split({ subject, random }) {
    const ipa = subject.blockAt(random);
    return `${ipa.toString(16)} ${subject.guest.s2.split({ ipa, size: subject.block })}`;
  },
  setOwner({ subject, random }) {
    const range = { ipa: subject.ipa(random), size: subject.page };
    subject.guest.s2.setOwner({ ...range, owner: 1 });
    return show(range);
  },
  trackDirty({ subject, random, world }) {
    const ipa = subject.ipa(random);
    const leaf = subject.leaf(ipa);
    if (!world.hd || leaf === undefined) return "nothing";
    leaf.value |= S2.DBM;
    subject.guest.s2.tlbFlushRange({ ipa, size: subject.page });
    return ipa.toString(16);
  },
};

/** The vCPU's: what runs. */
export const CONTEXT: typeof ENGINE = {
  enter(twins) {
    const guest = twins.random(twins.guests);
    const asid = 1 + twins.random(3);
    twins.enter(guest, asid);
    return `guest ${guest}, ASID ${asid}`;
  },
  level({ random, vcpus }) {
    const el = random(3) === 0 ? 0 : 1;
    const pan = random(8) === 0;
    for (const vcpu of vcpus) {
      vcpu.el = el;
      vcpu.pan = pan;
    }
    return `EL${el}, PAN ${pan}`;
  },
};

/** The guest's, on its stage 1. */
export const STAGE1: typeof ENGINE = {
  changePage({ subject, random, tlb }) {
    const va = pick(random, subject.vas);
    subject.point(random, va);
    const all = random(3) === 0;
    if (all) tlb.tlbi("VMALLE1");
    else tlb.tlbi(random(2) === 0 ? "VAALE1" : "VAAE1", { address: va });
    return `${va.toString(16)}${all ? ", all" : ""}`;
  },
  /** Another last table, with what the old one held, which leads nowhere then. */
  changeTable({ subject, random, tlb }) {
    const va = pick(random, subject.vas);
    const { guest } = subject;
    const { memoryMap } = guest.engine;
    const parent = guest.slot1(va, 2);
    const size = 2 ** guest.shift;
    const old = memoryMap.bytes(guest.paOf(Number(parent.value & 0xffff_ffff_f000n)), size);
    const table = guest.newTable(guest.shift);
    memoryMap.bytes(guest.paOf(table), size).set(old);
    old.fill(0xff);
    parent.value = BigInt(table) | 3n;
    const covered = size * (size / 8);
    const address = Math.floor(va / covered) * covered;
    tlb.tlbi("RVAAE1", { address, pages: covered / 4096 });
    return va.toString(16);
  },
  /** The memory of the guest's own tables goes and comes back: faults on descriptors meanwhile. */
  loseTables(twins) {
    const { s2 } = twins.subject.guest;
    const range = { ipa: TABLES, size: RAM.size };
    s2.unmap(range);
    for (let i = 0; i < 2; i++) twins.access();
    s2.map({ ...range, pa: RAM.pa, prot: Prot.RW, forcePages: twins.random(4) === 0 });
    return "and found";
  },
};

function show({ ipa, size }: Stretch): string {
  return `[${ipa.toString(16)} +${size.toString(16)}]`;
}
