/** One guest memory, used by several threads at the same time. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../../../src/engine.ts";
import { Areas } from "../../../../src/vm/memory/_areas.ts";
import { HEADER, HEADER_WORDS, State } from "../../../../src/vm/memory/_layout.ts";
import { Locks } from "../../../../src/vm/memory/_lock.ts";
import { type AreaKind, GuestMemory } from "../../../../src/vm/memory/guest_memory.ts";
import { errorOf } from "../../../support.ts";
import { request } from "../request.ts";
import { Crew } from "./crew.ts";
import { HVA, IPA, PAGE, PAGES, SIZE, WORKERS } from "./messages.ts";

const BANK = { pa: 0x8000_0000, size: 4 * SIZE };

describe("threads over one guest memory", () => {
  let crew: Crew;
  let engine: Engine;
  let ram: GuestMemory;

  beforeAll(async () => {
    crew = await Crew.build();
  });
  afterAll(() => crew.remove());
  beforeEach(async () => {
    const patience = 20_000; // on a loaded machine a thread may be off its core for long
    engine = await Engine.create({
      maxTablePages: 1024,
      guestRam: BANK,
      mode: "threads",
      patience,
    });
    ram = GuestMemory.create(engine, BANK);
  });
  afterEach(() => {
    ram.release();
    expect(ram.counters.framesUsed).toBe(0);
    engine.dispose();
  });

  it.each<[AreaKind, object]>([
    ["anonymous", { blocks: 0, pages: PAGES }],
    ["thp", { blocks: 2, pages: 0 }],
    ["file", { blocks: 0, pages: PAGES }],
  ])("get one frame for each page that they write first together (%s)", async (kind, counters) => {
    ram.map({ hva: HVA, size: SIZE, kind });
    const results = await crew.run(engine, ram, "storm");
    const [first, ...others] = results.map(({ frames }) => frames as number[]);
    for (const other of others) expect(other).toEqual(first);
    expect(new Set(first).size).toBe(PAGES);
    expect(ram.counters).toMatchObject({ framesUsed: PAGES, faults: WORKERS * PAGES, ...counters });
  });

  it("lose no frame, and give none out twice, while areas and pages come and go", async () => {
    ram.map({ hva: HVA, size: SIZE, kind: "thp" });
    const results = await crew.run(engine, ram, "churn");
    for (const { done } of results) expect(done).toBeGreaterThan(0);
    const owners = new Map<number, number>();
    for (let hva = HVA; hva < HVA + SIZE; hva += PAGE) {
      const { state, pa } = ram.state(hva);
      if (pa === undefined || state === "zero") continue;
      expect(owners.has(pa)).toBe(false);
      owners.set(pa, hva);
    }
    expect(ram.counters.framesUsed).toBe(owners.size);
  });

  it("ask a hook once for each page, and find it filled (DP2)", async () => {
    ram.map({ hva: HVA, size: SIZE });
    const results = await crew.run(engine, ram, "fill");
    expect(results.map(({ wrong }) => wrong)).toEqual(results.map(() => 0));
    const asked = results.reduce((sum, result) => sum + (result.asked as number), 0);
    expect(asked).toBe(PAGES);
    expect(ram.counters).toMatchObject({ missing: PAGES, filled: PAGES, exists: 0 });
  });

  it("wait for each other's hooks that answer with promises", async () => {
    ram.map({ hva: HVA, size: SIZE });
    const results = await crew.run(engine, ram, "slowFill");
    expect(results.map(({ right }) => right)).toEqual(results.map(() => 32));
    expect(ram.counters).toMatchObject({ missing: 32, filled: 32, framesUsed: 32 });
  });

  it.each<AreaKind>(["anonymous", "thp"])(
    "find their bytes wherever pages move (%s)",
    async (kind) => {
      ram.map({ hva: HVA, size: SIZE, kind });
      const results = await crew.run(engine, ram, "letters");
      expect(results.map(({ wrong }) => wrong)).toEqual(results.map(() => 0));
      for (const { changes } of results) expect(changes).toBeGreaterThan(0);
    },
  );

  it.each<AreaKind>(["anonymous", "thp"])(
    "run guests that find their words wherever pages move (%s)",
    async (kind) => {
      const vm = engine.vm({ memory: ram });
      ram.addVm(vm);
      ram.map({ hva: HVA, size: SIZE, kind });
      vm.setMemslot({ slot: 0, ipa: IPA, size: SIZE, hva: HVA });
      const results = await crew.run(engine, ram, "guests", vm);
      expect(results.map(({ wrong }) => wrong)).toEqual(results.map(() => 0));
      expect(vm.state).toMatchObject({ inProgress: 0, active: 0 });
      ram.release();
      vm.dispose();
      engine.quiesce();
      expect(engine.memoryUsage()).toMatchObject({ used: 0, waiting: 0 });
    },
  );

  it("have hooks of their own: one without is told so", async () => {
    ram.map({ hva: HVA, size: SIZE });
    const registration = ram.onMissing({ hva: HVA, size: SIZE }, () => "zero");
    const twin = GuestMemory.attach(engine, ram.handle); // what another thread would have
    expect(errorOf(() => twin.resolve(request(HVA))).code).toBe("ENOENT");
    registration.dispose();
    expect(twin.resolve(request(HVA))).toMatchObject({ writable: false });
  });

  describe("that were ended in the middle of a change", () => {
    const DEAD = 5;
    const LEFT = (DEAD + 1) << 1; // a lock of that thread

    it("are named, and others go on after they were reclaimed", () => {
      const state = State.over(ram.handle.state) as State;
      ram.map({ hva: HVA, size: SIZE, kind: "thp" });
      ram.resolve(request(HVA));
      engine.patience = 20;
      for (const lock of [state.locks, HEADER.AREA_LOCK]) {
        state.store(lock, LEFT);
        const { code, details } = errorOf(() => ram.unmap({ hva: HVA, size: SIZE }));
        const named = { thread: DEAD, waitingFor: "guest memory" };
        expect({ code, ...details }).toEqual({ code: "ETIMEDOUT", ...named });
        ram.reclaimThread(DEAD);
      }
      expect(ram.resolve(request(HVA))).toMatchObject({ hostSize: PAGE }); // a block may be half of one
      ram.unmap({ hva: HVA, size: SIZE });
      expect(ram.resolve(request(HVA))).toBe("unmapped");
    });

    it("leave no area that is half gone", () => {
      const state = State.over(ram.handle.state) as State;
      const areas = new Areas(
        state,
        new Locks(state.words, { thread: DEAD, patience: 20, blocks: true }),
      );
      ram.map({ hva: HVA, size: SIZE });
      ram.populate({ hva: HVA, size: SIZE, write: true });
      areas.edit((all) => all.map((area) => ({ ...area, dying: DEAD + 1 })));
      expect(ram.resolve(request(HVA))).toBe("unmapped");
      expect(ram.counters.framesUsed).toBe(PAGES);
      ram.reclaimThread(DEAD);
      expect(ram.counters.framesUsed).toBe(0);
    });

    it("leave the areas as they were if they were writing new ones", () => {
      const state = State.over(ram.handle.state) as State;
      ram.map({ hva: HVA, size: SIZE });
      const other = HEADER_WORDS + ((state.load(HEADER.AREA_SEQUENCE) + 1) & 1) * state.tableWords;
      for (let word = 0; word < 20; word++) state.store(other + word, -1);
      state.store(HEADER.AREA_LOCK, LEFT);
      ram.reclaimThread(DEAD);
      ram.map({ hva: HVA + SIZE, size: PAGE });
      expect(ram.mapped(0, 2 ** 52)).toEqual([
        { hva: HVA, size: SIZE },
        { hva: HVA + SIZE, size: PAGE },
      ]);
    });

    it("leave nobody waiting for a hook", async () => {
      ram.map({ hva: HVA, size: PAGE });
      const never = ram.onMissing({ hva: HVA, size: PAGE }, () => new Promise(() => {}));
      const asked = Promise.resolve(ram.resolve(request(HVA))); // as if it were asked in that thread
      asked.catch(() => {}); // refused when the engine ends
      expect(ram.state(HVA).state).toBe("filling");
      ram.reclaimThread(DEAD);
      expect(ram.state(HVA).state).toBe("absent");
      never.dispose();
      expect(ram.resolve(request(HVA, true))).toMatchObject({ writable: true });
    });

    it("are not the one that asks", () => {
      expect(errorOf(() => ram.reclaimThread(engine.thread)).code).toBe("BAD_OPTION");
      expect(errorOf(() => ram.reclaimThread(-1)).code).toBe("BAD_OPTION");
    });
  });
});
