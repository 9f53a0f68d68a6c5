/** Tables with the option `locking`: each operation takes the side of the lock that KVM's callers hold for it. */
import { describe, expect, it } from "vitest";
import { Prot, type Stage2, WalkFlag, setReadonly, testAndClearYoung } from "../../src/index.ts";
import { errorOf } from "../support.ts";
import { IPA, PAGE, RAM, crew } from "./support.ts";

const RANGE = { ipa: IPA, size: PAGE };
const MAP = { ...RANGE, pa: RAM.pa, prot: Prot.RW };
const SHARED = { ...MAP, flags: WalkFlag.SHARED };

/** Under the read side, beside other readers. */
const READ: [string, (s2: Stage2) => unknown][] = [
  ["map, SHARED", (s2) => s2.map(SHARED)],
  ["relaxPerms", (s2) => s2.relaxPerms({ ipa: IPA, prot: Prot.X })],
  ["mkyoung", (s2) => s2.mkyoung(IPA)],
];
/** Alone. */
const WRITE: [string, (s2: Stage2) => unknown][] = [
  ["map", (s2) => s2.map(MAP)],
  ["unmap", (s2) => s2.unmap(RANGE)],
  ["wrprotect", (s2) => s2.wrprotect(RANGE)],
  ["setOwner", (s2) => s2.setOwner({ ...RANGE, owner: 1 })],
  ["split", (s2) => s2.split(RANGE)],
  ["testClearYoung", (s2) => s2.testClearYoung(RANGE)],
];
const NONE: [string, (s2: Stage2) => unknown][] = [
  ["lookup", (s2) => s2.lookup(IPA)],
  ["getLeaf", (s2) => s2.getLeaf(IPA)],
  ["leaves", (s2) => [...s2.leaves()]],
  ["counters", (s2) => s2.counters()],
];

describe("a table that locks", () => {
  const here = crew({ table: { locking: true }, patience: 30 });

  it.each(READ)("%s: beside a reader, not beside a writer", async (_name, operation) => {
    const one = await here.hire();
    await one.do("lock", "acquireRead");
    expect(operation(here.s2)).not.toBeInstanceOf(Error);
    await one.do("lock", "releaseRead");
    await one.do("lock", "acquireWrite");
    const error = errorOf(() => operation(here.s2));
    expect(error).toMatchObject({ code: "ETIMEDOUT" });
    expect(error.details).toMatchObject({ thread: one.number, waitingFor: "write side" });
    await one.do("lock", "releaseWrite");
  });

  it.each(WRITE)("%s: beside nobody", async (_name, operation) => {
    const one = await here.hire();
    here.s2.map(MAP);
    const before = here.s2.dump();
    for (const [side, waitingFor] of [
      ["Read", "read side"],
      ["Write", "write side"],
    ] as const) {
      await one.do("lock", `acquire${side}`);
      const error = errorOf(() => operation(here.s2));
      expect(error).toMatchObject({ code: "ETIMEDOUT" });
      expect(error.details).toMatchObject({ thread: one.number, waitingFor });
      expect(error.message).toContain("nothing was done");
      await one.do("lock", `release${side}`);
    }
    expect(here.s2.dump()).toBe(before);
    operation(here.s2);
  });

  it.each(NONE)("%s: beside everybody", async (_name, operation) => {
    const one = await here.hire();
    await one.do("lock", "acquireWrite");
    operation(here.s2);
    await one.do("lock", "releaseWrite");
  });

  it("takes nothing again that this thread holds on a side that suffices", () => {
    const { engine, s2 } = here;
    void engine.handle; // an engine of one thread takes no locks
    s2.mmuLock.write(() => {
      for (const [, operation] of [...WRITE, ...READ]) operation(s2);
      expect(s2.mmuLock.holder).toBe("write");
    });
    s2.map(MAP);
    s2.mmuLock.read(() => {
      for (const [, operation] of READ) operation(s2);
      for (const [name, operation] of WRITE) {
        expect(
          errorOf(() => operation(s2)),
          name,
        ).toMatchObject({ code: "EDEADLK" });
      }
      expect(s2.mmuLock.holder).toBe("read");
    });
    expect(s2.mmuLock.holder).toBeUndefined();
  });

  it("holds nothing after an operation that failed", () => {
    const { s2 } = here;
    expect(errorOf(() => s2.map({ ...MAP, cache: null })).code).toBe("ENOMEM");
    expect(errorOf(() => s2.unmap({ ipa: 2 ** 40, size: PAGE })).code).toBe("ERANGE");
    expect(errorOf(() => s2.setOwner({ ...RANGE, owner: 2 })).code).toBe("EINVAL");
    expect(here.engine.threads()).toMatchObject([{ lock: undefined, section: undefined }]);
    s2.mmuLock.write(() => {});
  });

  it("lets no operation on one table of a lock wait for another's", () => {
    const other = here.engine.stage2({ locking: true });
    void here.engine.handle;
    here.s2.mmuLock.read(() => {
      expect(errorOf(() => other.map(MAP))).toMatchObject({ code: "EDEADLK" });
      expect(other.lookup(IPA)).toBeUndefined();
    });
    other.dispose();
  });
});

describe("lockless aging", () => {
  const here = crew({ table: { locking: true, locklessAging: true }, patience: 30 });

  it("needs no lock", async () => {
    const one = await here.hire();
    here.s2.map(MAP);
    await one.do("lock", "acquireWrite");
    expect(here.s2.testClearYoung(RANGE)).toBe(true);
    expect(here.s2.testClearYoung(RANGE, { clear: false })).toBe(false);
    await one.do("lock", "releaseWrite");
  });

  it("is an option of tables that lock", () => {
    const error = errorOf(() => here.engine.stage2({ locklessAging: true }));
    expect(error.code).toBe("BAD_OPTION");
    expect(error.message).toContain("locklessAging needs locking");
    expect(errorOf(() => here.engine.stage2({ locking: 1 as never })).code).toBe("BAD_OPTION");
  });
});

describe("a table that does not lock", () => {
  const here = crew({ patience: 30 });

  it("leaves it to its callers", async () => {
    const one = await here.hire();
    await one.do("lock", "acquireWrite");
    for (const [, operation] of [...WRITE, ...READ]) operation(here.s2);
    here.s2.map(MAP);
    expect(testAndClearYoung(here.s2, IPA)).toBe(true);
    setReadonly(here.s2, IPA);
    await one.do("lock", "releaseWrite");
  });
});
