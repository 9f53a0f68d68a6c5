/** Traces for casemate: by its grammar, and right by its protocol; what is wrong in the events is wrong in the trace. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { casemateTrace } from "../../src/casemate/trace.ts";
import { Checker } from "../../src/checker/checker.ts";
import { Engine, type Event, Prot, type Stage2, type Stage2Options } from "../../src/index.ts";
import { type Recording, mutants, record, recordings } from "../checker/streams.ts";
import { errorOf } from "../support.ts";
import { judge } from "./judge.ts";
import { parse } from "./records.ts";

const ENGINE = { maxTablePages: 8192, eventCapacity: 2 ** 17 };
const PAGE = 2 ** 12;
const BLOCK = 2 ** 21;

/** Maps, splits, merges, moves, protects, ages, unmaps, and leaves something for the end. */
function session(table: Stage2): void {
  const at = { ipa: BLOCK, size: BLOCK };
  table.map({ ...at, pa: 2 ** 31, prot: Prot.RW });
  table.map({ ipa: BLOCK + PAGE, size: PAGE, pa: 2 ** 32, prot: Prot.RW });
  table.map({ ...at, pa: 2 ** 33, prot: Prot.RW });
  table.split(at);
  table.wrprotect(at);
  table.tlbFlushRange(at);
  table.testClearYoung(at);
  table.relaxPerms({ ipa: BLOCK, prot: Prot.RW });
  table.map({ ipa: 8 * BLOCK, size: 4 * PAGE, pa: 2 ** 30, prot: Prot.RW });
  table.setOwner({ ipa: 8 * BLOCK, size: PAGE, owner: 1 });
  table.unmap({ ipa: 8 * BLOCK, size: 4 * PAGE });
  table.unmap(at);
  table.map({ ...at, pa: 2 ** 31, prot: Prot.R });
}

const trace = (events: readonly Event[], options = {}): string[] => [
  ...casemateTrace(events, options),
];
const whole = ({ events, end }: Recording): Event[] => [...events, ...end];

async function recorded(options: Stage2Options, use = session): Promise<Recording> {
  const engine = await Engine.create(ENGINE);
  const recording = record(engine, options, use);
  engine.dispose();
  return recording;
}

describe("a session", () => {
  it.each([
    {},
    { tlbiRange: true },
    { ipaBits: 32 },
    { ipaBits: 39 },
    { ipaBits: 44 },
    { ipaBits: 48 },
  ])("keeps to the protocol with %o", async (options) => {
    const lines = trace(whole(await recorded(options)));
    expect(lines.length).toBeGreaterThan(1000);
    expect(judge(lines)).toBeUndefined();
    const counts = new Map<string, number>();
    for (const { name } of lines.map(parse)) counts.set(name, (counts.get(name) ?? 0) + 1);
    expect(counts.get("mem-free")).toBe((counts.get("mem-init") as number) - 1); // but for the idle guest's page
    expect(counts.get("lock")).toBe(counts.get("unlock"));
  });

  it("may hold several page tables, one after the other and at once", async () => {
    const engine = await Engine.create(ENGINE);
    const options = { events: Checker.EVENTS };
    const [first, second] = [engine.stage2(options), engine.stage2({ ...options, ipaBits: 48 })];
    for (const table of [first, second]) {
      table.map({ ipa: 0, size: PAGE, pa: 2 ** 31, prot: Prot.RW });
      table.map({ ipa: 0, size: PAGE, pa: 2 ** 32, prot: Prot.RW });
    }
    first.dispose();
    session(second);
    const third = engine.stage2(options);
    session(third);
    second.dispose();
    third.dispose();
    expect(judge(trace([...engine.events.drain()]))).toBeUndefined();
    engine.dispose();
  });

  it("may be cut short", async () => {
    const { events } = await recorded({});
    expect(judge(trace(events))).toBeUndefined();
    const open = trace(events).filter((line) => line.startsWith("(lock")).length;
    expect(trace(events).filter((line) => line.startsWith("(unlock"))).toHaveLength(open);
  });

  it("has the lock go from thread to thread", async () => {
    const { events } = await recorded({}, (table) => {
      for (let i = 0; i < 4; i++)
        table.map({ ipa: i * PAGE, size: PAGE, pa: 2 ** 30, prot: Prot.R });
    });
    let thread = 0;
    const shared = events.map((event) => {
      if (event.kind === "dsbIshst") thread = 1 - thread;
      return { ...event, thread } as Event;
    });
    const lines = trace(shared);
    expect(judge(lines)).toBeUndefined();
    expect(lines.filter((line) => line.startsWith("(unlock")).length).toBeGreaterThan(2);
    const unlocked = trace(shared, { locks: false });
    expect(unlocked.filter((line) => line.includes("lock (id"))).toEqual([]);
    expect(judge(unlocked)).toContain("a store without the lock");
  });
});

it("takes events that name no thread for those of the last one named", async () => {
  const recording = await recorded({});
  const elsewhere = whole(recording).map((event) => {
    const { thread: _, ...anybody } = { thread: 0, ...event };
    return (event.kind === "write" ? { ...event, thread: 3 } : anybody) as Event;
  });
  const lines = trace(elsewhere);
  expect(judge(lines)).toBeUndefined();
  expect(new Set(lines.map((line) => parse(line).thread)).size).toBe(2); // the root was made before anybody was named
});

describe("what casemate knows in other words", () => {
  it("a root of several tables hangs below one that is made up", async () => {
    const lines = trace(whole(await recorded({ ipaBits: 40 }))).map(parse);
    const top = lines
      .find(({ fields }) => fields.get("sysreg") === "vttbr_el2")
      ?.fields.get("value");
    const address = BigInt(top as string) & 0xffff_ffff_ffffn;
    const entries = lines.filter(
      ({ name, fields }) =>
        name === "mem-write" && BigInt(fields.get("address") as string) >> 12n === address >> 12n,
    );
    expect(entries.map(({ fields }) => BigInt(fields.get("value") as string) & 3n)).toEqual([
      3n,
      3n,
    ]);
  });

  it("a flush of KVM's is its instructions", async () => {
    const { events } = await recorded({}, (table) => {
      table.map({ ipa: 3 * PAGE, size: PAGE, pa: 2 ** 30, prot: Prot.RW });
      table.map({ ipa: 3 * PAGE, size: PAGE, pa: 2 ** 31, prot: Prot.RW });
    });
    const flush = events.findIndex(({ kind }) => kind === "tlbiIpa");
    const lines = trace(events).filter((line) => line.endsWith(`"stage2:${flush}"))`));
    expect(
      lines.map((line) => line.replace(/^\(\S+ \(id \d+\) \(tid 0\) (.*) \(src.*$/, "$1")),
    ).toEqual([
      "dsb (kind ishst)",
      "ipas2e1is (value 0x700000000003)",
      "dsb (kind ish)",
      "vmalle1is",
      "dsb (kind ish)",
      "isb",
    ]);
  });

  it("a range covers all of a table with leaves, or does not clean it", async () => {
    const merged = await recorded({ tlbiRange: true }, (table) => {
      table.map({ ipa: 0, size: PAGE, pa: 2 ** 30, prot: Prot.RW });
      table.map({ ipa: 0, size: BLOCK, pa: 2 ** 31, prot: Prot.RW });
    });
    const shorter = (event: Event): Event =>
      event.kind === "tlbiRange" ? { ...event, pages: 511 } : event;
    expect(judge(trace(whole(merged)))).toBeUndefined();
    expect(judge(trace(whole(merged).map(shorter)))).toContain("unclean to valid");
  });

  it("a range cleans what was broken in it, and only that", async () => {
    const { events } = await recorded({ fwb: true, tlbiRange: true }, (table) => {
      table.map({ ipa: 0, size: 8 * PAGE, pa: 2 ** 30, prot: Prot.RW });
      table.unmap({ ipa: PAGE, size: 6 * PAGE });
      table.map({ ipa: 0, size: 8 * PAGE, pa: 2 ** 31, prot: Prot.RW });
    });
    const at = events.findIndex(({ kind }) => kind === "tlbiRange");
    const range = events[at] as Event & { kind: "tlbiRange" };
    expect(range).toMatchObject({ ipa: PAGE, pages: 6 });
    const first = { kind: "tlbiIpa", ipa: PAGE, level: 3, thread: 0, vmid: 1 } as const;
    const pieces = (pages: number): Event[] =>
      events.toSpliced(at, 1, first, { ...range, ipa: 0, pages });
    expect(judge(trace(events))).toBeUndefined();
    expect(judge(trace(pieces(7)))).toBeUndefined();
    expect(judge(trace(pieces(6)))).toContain("unclean to valid");
  });

  it("changes of rights are left out unless asked for: casemate wants them broken", async () => {
    const events = whole(
      await recorded({}, (table) => {
        table.map({ ipa: 0, size: PAGE, pa: 2 ** 30, prot: Prot.RW });
        table.wrprotect({ ipa: 0, size: PAGE });
        table.map({ ipa: 0, size: PAGE, pa: 2 ** 31, prot: Prot.RW });
      }),
    );
    expect(judge(trace(events))).toBeUndefined();
    expect(judge(trace(events, { rights: true }))).toContain("valid to valid");
  });

  it("a table that a deferred unmap takes out goes before its leaves are invalidated: casemate refuses that", async () => {
    const deferred = { fwb: true, tlbiRange: true };
    const part = await recorded(deferred, (table) => {
      table.map({ ipa: 0, size: 8 * PAGE, pa: 2 ** 30, prot: Prot.RW });
      table.unmap({ ipa: 0, size: 4 * PAGE });
    });
    expect(judge(trace(whole(part)))).toBeUndefined();
    const all = await recorded(deferred, (table) => {
      table.map({ ipa: 0, size: 8 * PAGE, pa: 2 ** 30, prot: Prot.RW });
      table.unmap({ ipa: 0, size: 8 * PAGE });
    });
    expect(judge(trace(whole(all)))).toContain("a table goes with unclean entries");
  });
});

describe("what is wrong in the events", () => {
  it("is wrong in the trace", async () => {
    const engine = await Engine.create({ ...ENGINE, eventCapacity: 2 ** 18 });
    let planted = 0;
    fc.assert(
      fc.property(recordings(engine, "4K", [false]), fc.nat(), (recording, seed) => {
        expect(judge(trace(whole(recording)))).toBeUndefined();
        const wrong = mutants(recording);
        for (let i = 0; i < Math.min(2, wrong.length); i++) {
          const { name, events } = wrong[(seed + i * 7919) % wrong.length]!;
          planted++;
          expect(judge(trace([...events(), ...recording.end])), name).toBeDefined();
        }
      }),
      { numRuns: 40 },
    );
    expect(planted).toBeGreaterThan(5);
    engine.dispose();
  });
});

describe("unusable input", () => {
  const entry = { kind: "write", level: 3, slot: 0x4000_0000, pte: 0n, ipa: 0, thread: 0 } as const;
  const rows: [string, Event[], string][] = [
    ["an entry in no page", [entry], "in no page"],
    [
      "an entry in no tree",
      [{ kind: "alloc", pa: entry.slot, thread: 0 }, entry],
      "in no page table",
    ],
    ["lost events", [{ kind: "lost", count: 2 }], "lost"],
    [
      "a root above level 0",
      [
        { kind: "allocExact", pa: entry.slot, pages: 2, thread: 0 },
        { ...entry, level: 0 },
      ],
      "no words",
    ],
  ];
  it.each(rows)("is refused: %s", (_, events, message) => {
    const error = errorOf(() => trace(events));
    expect(error.code).toBe("BAD_INPUT");
    expect(error.message).toContain(message);
  });

  it("is refused: options that it does not have", () => {
    expect(errorOf(() => trace([], { lock: true })).code).toBe("BAD_OPTION");
    expect(errorOf(() => trace([], { locks: 1 })).code).toBe("BAD_OPTION");
  });
});
