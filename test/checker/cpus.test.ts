/** What vCPUs tell: stale use, conflicts, uneven groups. */
import { describe, expect, it } from "vitest";
import {
  A,
  B,
  IPA,
  LOCKED,
  MAPPED,
  type Observed,
  PAGE,
  SLOT,
  TABLE3,
  VMID,
  checked,
  ish,
  ishst,
  page,
  rules,
  store,
  storePage,
  tlbi,
} from "./lists.ts";

const VA = 0x7000_0000;
const LOGGED = { barriersLogged: true };
const fill = (cpu = 1, ipa = IPA, vmid = VMID): Observed => ({
  kind: "tlbFill",
  cpu,
  entry: "combined",
  level: 3,
  vmid,
  asid: 0,
  address: VA + (ipa - IPA),
  ipa,
});
const stale = (pa = A): Observed => ({
  kind: "tlbStale",
  cpu: 1,
  entry: "combined",
  address: VA + 4,
  pa,
  now: undefined,
});
const gone = store(3, 0n);
const flush: Observed = { kind: "tlbiIpa", ipa: IPA, level: 3 };
const after = ["use-after-tlbi"];
const missing = ["missing-tlbi"];

describe("use of what memory no longer says", () => {
  const rows: [string, Observed[], string[]][] = [
    ["right after the store", [fill(), gone, stale()], []],
    [
      "before the invalidation ends",
      [fill(), gone, ishst(), tlbi("IPAS2E1"), ish(), tlbi("VMALLE1"), stale()],
      [],
    ],
    [
      "after it",
      [fill(), gone, ishst(), tlbi("IPAS2E1"), ish(), tlbi("VMALLE1"), ish(), stale()],
      after,
    ],
    ["after KVM's flush", [fill(), gone, flush, stale()], after],
    ["of what was taken in after the flush", [gone, flush, fill(), stale()], []],
    ["of another page", [fill(), gone, flush, stale(A + PAGE)], []],
    ["by a CPU of another guest", [fill(1, IPA, VMID + 1), gone, flush, stale()], []],
    ["after the first barrier", [fill(), gone, ishst(), stale()], []],
    ["after a second barrier with no TLBI", [fill(), gone, ishst(), ish(), stale()], missing],
    [
      "after the TLBI of another page and a barrier",
      [fill(), gone, ishst(), tlbi("IPAS2E1", { address: 0 }), ish(), stale()],
      missing,
    ],
    ["after barriers of another thread", [fill(), gone, ishst(3), ish(3), stale()], []],
    [
      "of a right that was taken, with no flush",
      [fill(), store(3, page(A) & ~0x80n), ishst(), ish(), stale()],
      [],
    ],
    [
      "of a right that was taken, after the flush",
      [fill(), store(3, page(A) & ~0x80n), flush, stale()],
      after,
    ],
    ["twice", [fill(), gone, flush, stale(), stale()], after],
    [
      "of a page that another address of the guest gave, and that was taken from there",
      [
        storePage(1, page(A)),
        fill(),
        storePage(1, 0n),
        { ...flush, ipa: IPA + PAGE } as Observed,
        stale(),
      ],
      [],
    ],
    [
      "of what was taken in anew after the page came back",
      [fill(), gone, flush, store(3, page(A)), fill(), stale(B)],
      [],
    ],
    ["of a page that the guest's own stage 1 moved", [fill(), stale(B)], []],
  ];
  it.each(rows)("is judged %s", (_, events, found) => {
    expect(rules([...MAPPED, ...events], LOGGED)).toEqual(found);
  });

  it("ends an operation with its own barrier where flushes are one event", () => {
    expect(rules([...MAPPED, fill(), gone, ishst(), stale()])).toEqual(missing);
    expect(rules([...MAPPED, fill(), gone, stale(), flush, ishst()])).toEqual([]);
  });

  it("takes events that name no thread for those of the last one named", () => {
    const barrier: Observed = { kind: "dsbIshst" };
    const [left] = checked([...MAPPED, fill(), store(3, 0n, 2), barrier, stale()]).violations;
    expect(left).toMatchObject({ rule: "missing-tlbi", agents: ["thread 2", "vCPU 1"] });
    expect(
      rules([...MAPPED, fill(), store(3, 0n, 2), storePage(9, 0n, 1), barrier, stale()]),
    ).toEqual([]);
  });

  it("names who took it away or invalidated it, and the user", () => {
    const [left] = checked([...MAPPED, fill(), store(3, 0n, 2), ishst(2), stale()]).violations;
    expect(left).toMatchObject({ agents: ["thread 2", "vCPU 1"], slot: SLOT[3], address: IPA });
    const by3 = { ...flush, thread: 3 };
    const [used] = checked([...MAPPED, fill(), store(3, 0n, 2), by3, stale()]).violations;
    expect(used?.agents).toEqual(["thread 3", "vCPU 1"]);
  });

  it("names no vCPU that took in what came later", () => {
    const later = [...MAPPED, store(3, 0n, 2), ishst(2), fill(4), ish(2)];
    expect(checked(later, LOGGED).settle()).toMatchObject([{ agents: ["thread 2", "thread 2"] }]);
    const earlier = [...MAPPED, fill(4), store(3, 0n, 2)];
    expect(checked(earlier, LOGGED).settle()).toMatchObject([{ agents: ["thread 2", "vCPU 4"] }]);
  });

  it("names a vCPU that holds what is changed under it", () => {
    const [change] = checked([...MAPPED, fill(4), store(3, page(B), 2)]).violations;
    expect(change).toMatchObject({ rule: "break-before-make", agents: ["thread 2", "vCPU 4"] });
    const [make] = checked([
      ...MAPPED,
      fill(4),
      store(3, LOCKED, 2),
      store(3, page(B), 2),
    ]).violations;
    expect(make).toMatchObject({ rule: "early-make", agents: ["thread 2", "vCPU 4"] });
  });
});

describe("conflicts", () => {
  it("are reported with who made the older of the two entries", () => {
    const conflict: Observed = {
      kind: "tlbConflict",
      cpu: 1,
      entry: "combined",
      address: VA,
      pa: B,
      other: A,
    };
    const [, found] = checked([...MAPPED, store(3, page(B), 2), conflict]).violations;
    expect(found).toMatchObject({
      rule: "tlb-conflict",
      agents: ["thread 2", "vCPU 1"],
      slot: SLOT[3],
    });
    const stranger = checked([...MAPPED, { ...conflict, pa: 1, other: 1 }]).violations;
    expect(stranger).toMatchObject([{ agents: ["vCPU 1", "vCPU 1"] }]);
    const written = checked([...MAPPED, { ...conflict, pa: A + 8, other: 1 }]).violations;
    expect(written).toMatchObject([{ agents: ["thread 0", "vCPU 1"], slot: SLOT[3] }]);
  });
});

describe("contiguous groups", () => {
  const HINT = 1n << 52n;
  const member = (i: number, change = 0n): Observed =>
    storePage(i, (page(A + i * PAGE) | HINT) ^ change, 2);
  const group = Array.from({ length: 16 }, (_, i) => member(i));
  const base = [...MAPPED.slice(0, 7), ...group];
  const read = (i: number): Observed => ({
    kind: "hwRead",
    cpu: 1,
    stage: 2,
    level: 3,
    slot: TABLE3 + 8 * i,
    pte: page(A + i * PAGE) | HINT,
    address: IPA + i * PAGE,
  });
  const uneven = ["contiguous-group"];
  const update = (pte: bigint): Observed =>
    ({ ...read(3), kind: "hwUpdate", pte, accessFlag: true, dirty: false }) as Observed;
  const rows: [string, Observed[], string[]][] = [
    ["all agree", [read(0), read(15)], []],
    [
      "one has no hint",
      [{ ...member(3, HINT), kind: "writeUnlinked", index: 3 } as Observed, read(0)],
      uneven,
    ],
    ["one has another right", [member(3, 0x80n), read(5)], []],
    ["one has another right to execute", [member(3, 1n << 54n), read(5)], uneven],
    ["one has no access flag", [member(3, 0x400n), read(5)], []],
    [
      "hardware updates one, and software goes on from there",
      [member(3, 0x400n), update(page(A + 3 * PAGE) | HINT), read(3)],
      [],
    ],
    [
      "an update of hardware is told late",
      [storePage(3, 0n), update(page(A + 3 * PAGE) | HINT), { kind: "tlbiVmid" }, read(0)],
      uneven,
    ],
    [
      "a guest's own table is walked",
      [storePage(9, 0n), { kind: "tlbiVmid" }, { ...read(0), stage: 1 } as Observed],
      [],
    ],
    ["one has software bits", [member(3, 1n << 55n), read(5)], []],
    [
      "one is gone, and the others are used",
      [storePage(9, 0n), { kind: "tlbiVmid" }, read(0)],
      uneven,
    ],
    [
      "the core says so",
      [
        {
          kind: "contiguous",
          cpu: 1,
          stage: 2,
          level: 3,
          slot: TABLE3 + 24,
          pte: 1n,
          member: 0n,
        },
      ],
      uneven,
    ],
    [
      "the core says so, and the walk too",
      [
        storePage(9, 0n),
        { kind: "tlbiVmid" },
        read(0),
        {
          kind: "contiguous",
          cpu: 1,
          stage: 2,
          level: 3,
          slot: TABLE3 + 24,
          pte: 1n,
          member: 0n,
        },
      ],
      uneven,
    ],
  ];
  it.each(rows)("are judged when %s", (_, events, found) => {
    expect(rules([...base, ...events])).toEqual(found);
  });

  it("are not judged by members that nobody told of", () => {
    expect(rules([member(0), read(0)])).toEqual([]);
    expect(rules([...group.slice(0, 15), read(0)])).toEqual([]);
    expect(rules([...group, read(0)])).toEqual([]);
  });

  it("name who wrote the member that differs, and are reported anew when one changes", () => {
    const checker = checked([...base, storePage(9, 0n, 5), { kind: "tlbiVmid" }, read(0), read(0)]);
    expect(checker.violations).toMatchObject([{ agents: ["thread 5", "vCPU 1"], slot: TABLE3 }]);
    for (const event of [storePage(8, 0n, 6), { kind: "tlbiVmid" } as const, read(0)])
      checker.observe(event);
    expect(checker.violations).toHaveLength(2);
  });
});
