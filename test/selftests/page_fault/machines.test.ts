/** page_fault_test on other machines: CPUs that take other choices, other memory behind the slots, the build for one thread. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Configuration, configuration } from "../harness/configurations.ts";
import { type HostKind, Machine } from "../harness/machine.ts";
import { play } from "./play.ts";
import { ROWS, titleOf } from "./rows.ts";
import { FRAMES, optionsOf } from "./suite.ts";

const MIB = 2 ** 20;

it("page_fault_test has 65 rows", () => {
  expect(new Set(ROWS.map((row) => titleOf(row))).size).toBe(65);
  expect(ROWS).toHaveLength(65);
});

describe("rows on CPUs that take other choices", () => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await Machine.open(configuration("4K", 40), { frames: FRAMES });
  });
  afterAll(() => machine.close());

  describe.each([
    ["a fault on a table tells the direction of the walk", { s1ptwWrite: "walk" }],
    ["permission faults set the access flag", { afOnPermissionFault: true }],
    ["permission faults keep the TLB entry", { permissionFaultDropsEntry: false }],
    ["fetches need read permission", { execNeedsRead: true }],
    ["HPFAR_EL2 says nothing of permission faults", { hpfarOnPermission: "poison" }],
    ["one walk in three is for another address", { speculation: 3 }],
  ] as const)("%s", (_name, knobs) => {
    it.each(ROWS.map((row) => [titleOf(row), row] as const))("%s", (_title, row) =>
      play(machine, row, { cpu: { ...optionsOf(row).cpu, ...knobs } }),
    );
  });
});

describe("rows on the build for one thread", () => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await Machine.open(configuration("4K", 40), { frames: FRAMES, mode: "single" });
  });
  afterAll(() => machine.close());

  it.each(ROWS.map((row) => [titleOf(row), row] as const))("%s", (_title, row) =>
    play(machine, row, optionsOf(row)),
  );
});

/** Kinds of memory, and the bytes that they come in. */
const MEMORIES: readonly (readonly [
  name: string,
  one: Configuration,
  memory: HostKind,
  unit: number,
])[] = [
  ["a file", configuration("4K", 40), { kind: "file" }, 4096],
  ["a file, 64K", configuration("64K", 48, true, "no TLB"), { kind: "file" }, 65_536],
  ["transparent huge pages", configuration("4K", 40), { kind: "thp" }, 2 * MIB],
  [
    "hugetlb pages of 64 KiB",
    configuration("4K", 48),
    { kind: "hugetlb", pageSize: 65_536 },
    65_536,
  ],
  [
    "hugetlb pages of 2 MiB",
    configuration("4K", 52),
    { kind: "hugetlb", pageSize: 2 * MIB },
    2 * MIB,
  ],
  [
    "hugetlb pages of 2 MiB, 16K",
    configuration("16K", 44),
    { kind: "hugetlb", pageSize: 2 * MIB },
    2 * MIB,
  ],
];

describe.each(MEMORIES)("rows on %s", (_name, one, memory, unit) => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await Machine.open(one, { frames: FRAMES + (4 * (8 * MIB)) / one.page });
  });
  afterAll(() => machine.close());

  it.each(ROWS.map((row) => [titleOf(row), row] as const))("%s", (_title, row) =>
    play(machine, row, { ...optionsOf(row), memory: { ...memory, unit } }),
  );
});
