/** kvm_page_table_test with vCPUs in threads: all stages on the same range at the same time; the end of each is known. */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag, type VmVcpu } from "../../../src/index.ts";
import { machineOf } from "../harness/slot/machines.ts";
import { SLOT } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";
import { type Crew, crews } from "../harness/threads/crew.ts";
import { type Backing, backings } from "./backings.ts";
import { sceneOf } from "./scenes.ts";

const MIB = 2 ** 20;
const machine = machineOf("4K");
const roles = [Access.Write, Access.Read];
const role = (id: VmVcpu["id"]) => roles[id % 2] as number;

/** A pass of all vCPUs over pages of the slot, each from its first to its last. */
async function pass(crew: Crew, access: (id: number) => number, step = 1, first = 0, end?: number) {
  const last = end ?? crew.scene.pages;
  const results = await crew.run("touch", (id) => ({ first, end: last, step, access: access(id) }));
  for (const { conflicts } of results) expect(conflicts).toBe(0);
  return results.reduce((sum, { counts }) => sum + counts.dirtied, 0);
}

async function update(crew: Crew, backing: Backing): Promise<number> {
  const each = backing.leaf / crew.scene.page;
  if (each === 1) return pass(crew, () => Access.Write);
  let dirtied = 0;
  for (let first = 0; first < crew.scene.pages; first += each) {
    dirtied += await pass(crew, () => Access.Write, 1, first, first + 1);
    await pass(crew, () => Access.Read, 1, first + each / 2, first + each);
  }
  return dirtied;
}

async function stages(crew: Crew, backing: Backing, eager: boolean): Promise<void> {
  const { scene } = crew;
  const { vm, pages } = scene;
  const leaf = `L${backing.level}`;
  const leaves = backing.size / backing.leaf;
  const each = backing.leaf / scene.page;
  await pass(crew, role, each);
  expect(shapeOf(vm.stage2)).toEqual({ [`${leaf} rw-`]: leaves });

  scene.setSlot(MemslotFlag.LOG_DIRTY_PAGES);
  expect(shapeOf(vm.stage2)).toEqual(eager ? { "L3 r--": pages } : { [`${leaf} r--`]: leaves });

  expect(await update(crew, backing), "pages new in the log").toBe(leaves);
  const read = eager ? pages - leaves : (pages / 2) * Math.sign(each - 1);
  expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": leaves, ...(read > 0 ? { "L3 r--": read } : {}) });
  expect([...vm.getDirtyLog(SLOT)]).toEqual(Array.from({ length: leaves }, (_, n) => n * each));

  scene.setSlot(0);
  await pass(crew, () => Access.Read);
  if (eager) await pass(crew, () => Access.Write, each, 1);
  expect(shapeOf(vm.stage2)).toEqual({ [`${leaf} rw-`]: leaves });
  scene.engine.quiesce();
  const roots = vm.stage2.rootBytes / scene.page;
  expect(vm.stage2.memoryUsage().tablePages).toBe(vm.stage2.counters().tables + roots);
}

describe("kvm_page_table_test in threads", () => {
  const withCrew = crews();
  const cases = backings(machine, 4 * MIB).filter(({ level }) => level > 1);

  it.each(cases.map((backing) => [backing.name, backing] as const))(
    "%s",
    async (_name, backing) => {
      const options = { ...sceneOf(backing, { machine }), threads: 4 };
      await withCrew(options, (crew) => stages(crew, backing, false));
    },
  );

  it("transparent huge pages, split eagerly", async () => {
    const backing = cases.find(({ kind }) => kind === "thp") as Backing;
    const prepare = (vm: { eagerSplitChunk: number }) => void (vm.eagerSplitChunk = 2 * MIB);
    await withCrew({ ...sceneOf(backing, { machine, prepare }), threads: 3 }, (crew) =>
      stages(crew, backing, true),
    );
  });
});
