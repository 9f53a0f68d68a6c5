/** Wrong versions of what threads do to each other: invalidation and its completion, grace periods, mmu_lock, dead threads. */
import type { Mutant } from "../mutants.ts";

const invalidation: readonly Mutant[] = [
  {
    name: "break-without-tlbi",
    what: "the break of a valid entry is told to no TLB",
    file: "replace.ts",
    find: "if (isValid(old) && !(walk.flags & SKIP_BBM_TLBI)) {",
    replace: "if (!MUTANT && isValid(old) && !(walk.flags & SKIP_BBM_TLBI)) {",
  },
  {
    name: "tlbi-without-ipas2",
    what: "TLBs keep what they hold of stage 2 alone",
    file: "maintenance.ts",
    find: "announce(IPAS2E1, level, pgt.vmid, 0, ipa, 1 << (pgt.pageShift - 12), threads);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "tlbi-without-vmalle1",
    what: "TLBs keep what they hold of both stages combined",
    file: "maintenance.ts",
    find: "announce(VMALLE1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, threads);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "tlbi-in-wrong-order",
    what: "combined entries go first, and are made again of what goes next",
    file: "maintenance.ts",
    find: "announce(IPAS2E1, level, pgt.vmid, 0, ipa, 1 << (pgt.pageShift - 12), threads);\n  announce(VMALLE1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, threads);",
    replace:
      "if (MUTANT) {\n    announce(VMALLE1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, threads);\n    announce(IPAS2E1, level, pgt.vmid, 0, ipa, 1 << (pgt.pageShift - 12), threads);\n  } else { ORIGINAL }",
  },
  {
    name: "tables-stay-cached",
    what: "an invalidation by IPA leaves cached tables where they are",
    file: "vcpu/invalidate.ts",
    find: "const tables = op == IPAS2E1 || op == RIPAS2E1;",
    replace: "const tables = !MUTANT && (op == IPAS2E1 || op == RIPAS2E1);",
  },
  {
    name: "deferred-flush-forgotten",
    what: "the one flush that stands for all leaves of an unmap does not come",
    file: "visit/unmap.ts",
    find: "if (visitor.deferred) flushRange(pgt, ia, size);",
    replace: "if (!MUTANT) { ORIGINAL }",
  },
  {
    name: "unmap-single-without-tlbi",
    what: "the short way of unmapping one page tells no TLB",
    file: "single.ts",
    find: "tlbiIpa(pgt, ia & ~((<u64>1 << pgt.pageShift) - 1), LAST_LEVEL);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "unmap-run-without-tlbi",
    what: "a stretch of pages is unmapped and no TLB is told",
    file: "visit/unmap.ts",
    find: "this.forget(<u64>((stop - first) >> 3) << this.pageShift);",
    replace: "if (!MUTANT) ORIGINAL",
  },
];

const completion: readonly Mutant[] = [
  {
    name: "dsb-waits-for-nobody",
    what: "an invalidation is complete when it has been sent",
    file: "sync/completion.ts",
    find: "const position = head();",
    replace: "if (MUTANT) return;\n  ORIGINAL",
  },
  {
    name: "dsb-overlooks-sections",
    what: "an invalidation does not wait for accesses that are under way",
    file: "sync/completion.ts",
    find: "const position = head();",
    replace:
      "if (MUTANT) {\n    const until = head();\n    const threads = load<u32>(header, H_SLOTS);\n    for (let other: u32 = 0; other < threads; other++) {\n      const slot = threadSlot(other);\n      if (slot != thread && !awaitBracket(slot, until)) blame(other, LATE_BRACKET);\n    }\n    return;\n  }\n  ORIGINAL",
  },
  {
    name: "dsb-overlooks-brackets",
    what: "an invalidation does not wait for vCPUs inside their brackets",
    file: "sync/completion.ts",
    find: "if (!isBehind(bracket, position)) return true;",
    replace: "if (MUTANT) return true;\n    ORIGINAL",
  },
  {
    name: "dsb-does-not-answer",
    what: "who waits for others in its own bracket does not answer those who wait for it",
    file: "sync/completion.ts",
    find: "keepUp();",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "bracket-unpublished",
    what: "a vCPU enters its bracket and nobody can see it",
    file: "vcpu/bracket.ts",
    find: "if (!other) publish(number, head());",
    replace: "if (!MUTANT && !other) publish(number, head());",
  },
  {
    name: "nothing-to-catch-up-with",
    what: "without TLBs nothing is logged, although a bracket is open",
    file: "maintenance.ts",
    find: "if (!recorded && othersInside())",
    replace: "if (!MUTANT && !recorded && othersInside())",
  },
  {
    name: "grace-overlooks-walks",
    what: "a grace period does not wait for software that walks",
    file: "sync/completion.ts",
    find: "staysOpen(slot + T_WALK, naps)",
    replace: "(!MUTANT && ORIGINAL)",
    also: [
      {
        file: "sync/completion.ts",
        find: "awaitSection(number, slot + T_WALK, LATE_WALK);",
        replace: "if (!MUTANT) ORIGINAL",
      },
    ],
  },
  {
    name: "grace-overlooks-hardware",
    what: "a grace period does not wait for hardware that walks",
    file: "sync/completion.ts",
    find: "staysOpen(slot + T_HARDWARE, naps)",
    replace: "(!MUTANT && ORIGINAL)",
    also: [
      {
        file: "sync/completion.ts",
        find: "awaitSection(number, slot + T_HARDWARE, LATE_HARDWARE);\n    awaitSection(number, slot + T_WALK, LATE_WALK);",
        replace:
          "if (MUTANT) awaitSection(number, slot + T_WALK, LATE_WALK);\n    else { ORIGINAL }",
      },
    ],
  },
  {
    name: "lockless-without-section",
    what: "what runs without the lock runs outside every section, too",
    file: "operation.ts",
    find: "if (side != WRITE_SIDE && enterWalk()) undo = LEAVE_WALK;",
    replace: "if (!MUTANT) { ORIGINAL }",
  },
];

const locks: readonly Mutant[] = [
  {
    name: "reader-ignores-writer",
    what: "a reader enters whoever writes",
    file: "sync/lock.ts",
    find: "if (writerOf(lock) == 0) return true;",
    replace: "if (MUTANT) return true;\n  ORIGINAL",
  },
  {
    name: "reader-looks-then-enters",
    what: "a reader looks for a writer first, and then says that it is there",
    file: "sync/lock.ts",
    find: "hold(lock | READS);\n  section.enterRead();\n  if (writerOf(lock) == 0) return true;",
    replace:
      "if (MUTANT) {\n    if (writerOf(lock) != 0) return false;\n    hold(lock | READS);\n    section.enterRead();\n    return true;\n  }\n  ORIGINAL",
  },
  {
    name: "readers-not-seen",
    what: "a writer does not find the readers in their slots",
    file: "sync/lock.ts",
    find: "if (atomic.load<u32>(slot, T_HOLDS) == <u32>(lock | READS)) return number;",
    replace: "if (!MUTANT) { ORIGINAL }",
  },
  {
    name: "writers-take-any-turn",
    what: "a writer takes the lock although readers that waited are next",
    file: "sync/lock.ts",
    find: "function claim(lock: usize): bool {",
    replace:
      "ORIGINAL\n  if (MUTANT && atomic.cmpxchg<u32>(lock, TURN, thisThread() + 1, WRITER) == TURN) {\n    hold(lock | CLAIMS);\n    return true;\n  }",
  },
  {
    name: "release-unchecked",
    what: "a lock is released whoever holds it",
    file: "sync/lock.ts",
    find: "if (!holdsRead(lock)) return -EPERM;",
    replace: "if (!MUTANT) { ORIGINAL }",
    also: [
      {
        file: "sync/lock.ts",
        find: "if (!holdsWrite(lock)) return -EPERM;",
        replace: "if (!MUTANT) { ORIGINAL }",
      },
    ],
  },
  {
    name: "recursion-let-in",
    what: "a thread may take a lock that it has",
    file: "sync/lock.ts",
    find: "return held() != 0 || load<u64>(thread, T_BRACKET) != 0;",
    replace: "if (MUTANT) return false;\n  ORIGINAL",
  },
  {
    name: "reclaim-leaves-sections",
    what: "the sections and the bracket of a dead thread stay open",
    file: "reclaim.ts",
    find: "endSections(number);",
    replace: "if (!MUTANT) ORIGINAL",
    also: [
      {
        file: "sync/thread.ts",
        find: "export function giveThread(slot: usize): void {",
        replace: "ORIGINAL\n  if (MUTANT) { atomic.store<u32>(slot, FREE, T_STATE); return; }",
      },
    ],
  },
  {
    name: "reclaim-leaves-lock",
    what: "the write side stays with the dead thread",
    file: "reclaim.ts",
    find: "takeFromDead(changetype<Pgt>(slot).lock, number)",
    replace: "!MUTANT && ORIGINAL",
  },
];

export const syncMutants: readonly Mutant[] = [...invalidation, ...completion, ...locks];
