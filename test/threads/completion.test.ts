/** When an operation that invalidates returns, no vCPU of another thread uses what was there: TLBI completion and grace periods. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../src/index.ts";
import { errorOf } from "../support.ts";
import { IPA, PAGE, RAM, crew, spin } from "./support.ts";

const RANGE = { ipa: IPA, size: PAGE };
const MAP = { ...RANGE, pa: RAM.pa, prot: Prot.RW };
const MARK = 0x5a;
/** How long the races run, in ms: at least, and at most where they have not met yet. */
const RACE = 500;
const LONGEST_RACE = 30_000;
/** Stores that must have met the mapped page before a race says anything. */
const ENOUGH = 20;

describe("a vCPU of another thread inside its bracket", () => {
  const here = crew({ patience: 60 });

  it("is waited for, then named; the operation is complete", async () => {
    const { engine, s2 } = here;
    s2.map(MAP);
    const one = await here.hire();
    await one.do("vcpu", "enter");
    expect(await one.do("vcpu", "translate", IPA, 2)).toBe(RAM.pa);
    const vcpu = await one.do("vcpu", "number");
    const error = errorOf(() => s2.unmap(RANGE));
    expect(error).toMatchObject({ code: "ETIMEDOUT", errno: 110 });
    expect(error.details).toEqual({
      ...RANGE,
      thread: one.number,
      vcpu,
      waitingFor: "bracket",
      patience: 60,
    });
    expect(error.message).toContain(
      `unmap: vCPU ${String(vcpu)} of thread ${one.number} did not poll or exit within 60 ms; the operation is complete`,
    );
    expect(s2.lookup(IPA)).toBeUndefined();
    expect(engine.threads()[1]).toMatchObject({ number: one.number, vcpu });
    expect(await one.do("vcpu", "poll")).toBeGreaterThan(0);
    expect(await one.do("vcpu", "translate", IPA, 2)).toBe("translation");
    s2.map(MAP);
    await one.do("vcpu", "exit");
    s2.unmap(RANGE);
  });

  it("is named beside what else went wrong", async () => {
    const { s2 } = here;
    const all = { ipa: IPA, size: 4 * PAGE, prot: Prot.RW };
    s2.map({ ...all, pa: RAM.pa });
    const one = await here.hire();
    await one.do("vcpu", "enter");
    const beyond = { ...all, size: 2 ** 22, forcePages: true, cache: null };
    const error = errorOf(() => s2.map({ ...beyond, pa: RAM.pa + 4 * PAGE }));
    expect(error).toMatchObject({ code: "ENOMEM", errno: 12 });
    expect(error.details).toMatchObject({ thread: one.number, waitingFor: "bracket" });
    expect(error.message).toContain("what it took away may still be in use there");
    await one.do("vcpu", "exit");
    const alone = errorOf(() => s2.map({ ...beyond, pa: RAM.pa + 4 * PAGE }));
    expect(alone).toMatchObject({ code: "ENOMEM" });
    expect(alone.details).not.toHaveProperty("thread");
  });

  it("is named with all others that did not answer, but not with who did", async () => {
    const { engine, s2 } = here;
    engine.patience = 500;
    s2.map({ ...MAP, size: 4 * PAGE });
    const [one, two, three] = [await here.hire(), await here.hire(), await here.hire()];
    for (const thread of [one, two, three]) await thread.do("vcpu", "enter");
    const answer = three.ask("loop", "later", "exit", 30);
    await here.running(1);
    const error = errorOf(() => s2.unmap({ ...RANGE, size: 4 * PAGE }));
    expect(here.count("COUNT")).toBe(1);
    expect(error.details).toMatchObject({
      thread: one.number,
      threads: [one.number, two.number],
      waitingFor: "bracket",
    });
    expect(error.message).toContain(
      `of thread ${one.number} did not poll or exit within 500 ms, nor did thread ${two.number}; the operation`,
    );
    expect(error.message).toContain(`threads [${one.number}, ${two.number}]`);
    expect((await answer).error).toBeUndefined();
    for (const thread of [one, two]) await thread.do("vcpu", "exit");
    s2.unmap(RANGE);
  });

  it.each(["poll", "exit"])("is waited for until it calls %s", async (call) => {
    const { engine, s2 } = here;
    engine.patience = 10_000;
    s2.map(MAP);
    const one = await here.hire();
    await one.do("vcpu", "enter");
    const answer = one.ask("loop", "later", call, 30);
    await here.running(1);
    s2.unmap(RANGE);
    expect(here.count("COUNT")).toBe(1); // it came before the end
    expect((await answer).error).toBeUndefined();
    await one.do("vcpu", "exit");
  });

  it("is waited for by invalidations of either kind", async () => {
    const { engine, s2 } = here;
    const mine = engine.vcpu(s2);
    const one = await here.hire();
    await one.do("vcpu", "enter");
    for (const tlbi of [
      () => engine.tlbi("VMALLS12E1", { vmid: s2.vmid }),
      () => mine.tlbi("VMALLE1"),
      () => s2.tlbFlushRange(RANGE),
    ]) {
      expect(errorOf(tlbi)).toMatchObject({ code: "ETIMEDOUT", details: { thread: one.number } });
    }
    mine.tlbi("VMALLE1", { local: true });
    s2.map(MAP); // nothing was there to invalidate
    await one.do("vcpu", "exit");
    engine.tlbi("VMALLS12E1", { vmid: s2.vmid });
    mine.dispose();
    s2.unmap(RANGE);
  });

  it("may be inside as long as it likes where it polls, and this thread is in the guest too", async () => {
    const { engine, s2 } = here;
    engine.patience = 10_000;
    const mine = engine.vcpu(s2);
    const one = await here.hire(10_000);
    const theirs = one.ask("loop", "broadcast");
    await here.running(1);
    mine.enter();
    for (let i = 0; i < 300; i++) mine.tlbi("VMALLE1"); // each of the two waits for the other
    mine.exit();
    here.stop();
    expect((await theirs).value).toBeGreaterThan(0);
    mine.dispose();
  });
});

describe("after an unmap", () => {
  const here = crew({ patience: 10_000 });

  /** Maps and unmaps a page that two threads store to: how often it was hit while it was mapped, and after. */
  async function race(loop: string, done: (hit: number, late: number) => boolean) {
    const { engine, s2 } = here;
    const frame = engine.memoryMap.bytes(RAM.pa, PAGE);
    const threads = [await here.hire(), await here.hire()];
    const answers = threads.map((thread) => thread.ask("loop", loop, IPA, MARK));
    await here.running(2);
    const start = performance.now();
    const elapsed = (): number => performance.now() - start;
    let [hit, late] = [0, 0];
    while (elapsed() < RACE || (!done(hit, late) && elapsed() < LONGEST_RACE)) {
      s2.map(MAP);
      spin(20);
      s2.unmap(RANGE);
      if (frame[0] !== 0) hit++;
      frame[0] = 0; // the page is this thread's again
      spin(20);
      if (frame[0] !== 0) late++;
      frame[0] = 0;
    }
    here.stop();
    for (const { error } of await Promise.all(answers)) expect(error).toBeUndefined();
    return { hit, late };
  }

  it.each(["store", "bracket"])(
    "no store of another thread lands in the page (%s)",
    async (loop) => {
      const { hit, late } = await race(loop, (hits) => hits >= ENOUGH);
      expect(late).toBe(0);
      expect(hit).toBeGreaterThanOrEqual(ENOUGH);
    },
  );

  it("such a store would be seen: one by an address that was kept outside the bracket is", async () => {
    expect((await race("rogue", (_, late) => late > 0)).late).toBeGreaterThan(0);
  });
});

describe("table pages", () => {
  const here = crew({ patience: 10_000 });
  const PAGES = 64;

  it("are freed and used again while others walk them", async () => {
    const { engine, s2 } = here;
    const threads = [await here.hire(), await here.hire()];
    const answers = [
      threads[0]!.ask("loop", "walk", IPA, PAGES),
      threads[1]!.ask("loop", "churn", IPA + 2 ** 30, PAGES, RAM.pa),
    ];
    await here.running(2);
    const all = { ipa: IPA, size: PAGES * PAGE };
    const end = performance.now() + RACE;
    for (let round = 0; performance.now() < end; round++) {
      s2.mmuLock.write(() => s2.map({ ...all, pa: RAM.pa, prot: Prot.RW, forcePages: true }));
      expect(s2.lookup(IPA)).toBe(RAM.pa);
      s2.mmuLock.write(() => s2.unmap(all));
    }
    here.stop();
    for (const { value, error } of await Promise.all(answers)) {
      expect(error).toBeUndefined();
      expect(value).toBeTypeOf("number");
    }
    s2.unmap({ ipa: 0, size: 2 ** 40 });
    expect(engine.memoryUsage()).toMatchObject({ waiting: 0 });
  });

  it("wait while somebody is inside, which no operation waits for but quiesce", async () => {
    const { engine, s2 } = here;
    engine.patience = 30;
    s2.map(MAP);
    const { tablePages } = s2.memoryUsage();
    const one = await here.hire();
    const { used } = engine.memoryUsage();
    await one.do("lock", "acquireRead"); // a walk that does not end
    s2.unmap(RANGE);
    const freed = tablePages - s2.memoryUsage().tablePages;
    expect(freed).toBeGreaterThan(0);
    expect(engine.memoryUsage()).toMatchObject({ used, waiting: freed });
    const error = errorOf(() => engine.quiesce());
    expect(error).toMatchObject({ code: "ETIMEDOUT", errno: 110 });
    expect(error.details).toMatchObject({ thread: one.number, waitingFor: "walk section" });
    expect(error.message).toContain("its table pages go on waiting");
    expect(engine.memoryUsage()).toMatchObject({ used, waiting: freed });
    await one.do("lock", "releaseRead");
    engine.quiesce();
    expect(engine.memoryUsage()).toMatchObject({ used: used - freed, waiting: 0 });
  });

  it("of a table that is disposed while somebody is inside wait too", async () => {
    const { engine, s2 } = here;
    engine.patience = 30;
    const other = engine.stage2();
    other.map(MAP);
    const one = await here.hire();
    const { used } = engine.memoryUsage();
    await one.do("lock", "acquireRead"); // of s2: a walk is a walk
    other.dispose();
    expect(errorOf(() => other.lookup(IPA)).code).toBe("DISPOSED");
    expect(engine.memoryUsage().waiting).toBeGreaterThan(0);
    await one.do("lock", "releaseRead");
    engine.quiesce();
    expect(engine.memoryUsage().waiting).toBe(0);
    expect(engine.memoryUsage().used).toBeLessThan(used);
    s2.map(MAP);
  });
});
