/** vCPUs beside the engine's operations: nothing is reported of what is right, and what is planted is, with both agents. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Checker } from "../../src/checker/checker.ts";
import {
  Access,
  Engine,
  Fault,
  Prot,
  type Stage2,
  type Stage2Options,
  type Vcpu,
  WalkFlag,
} from "../../src/index.ts";
import { commands } from "../model/commands.ts";
import { PlainStage2 } from "../model/plain.ts";
import { MODES } from "../support.ts";

const PAGE = 2 ** 12;
const BLOCK = 2 ** 21;
const MIDDLE = 2 ** 39; // where commands work
const A = 2 ** 31;
const B = 2 ** 32;
const WATCHFUL = { checker: true, events: ["walks", "updates", "tlb"] } as const;

interface Scene {
  readonly engine: Engine;
  readonly table: Stage2;
  readonly checker: Checker;
  readonly vcpus: readonly Vcpu[];
}

/** A guest of two vCPUs that are watched, and its page table. */
async function scene(
  options: Stage2Options & { mode?: "threads" | "single" },
  use: (scene: Scene) => void,
) {
  const { mode = "threads", ...tableOptions } = options;
  const engine = await Engine.create({ mode, maxTablePages: 8192, eventCapacity: 2 ** 17 });
  const table = engine.stage2({ ...tableOptions, events: Checker.EVENTS });
  const vcpus = [engine.vcpu(table, WATCHFUL), engine.vcpu(table, WATCHFUL)];
  const checker = new Checker();
  checker.watch(table);
  use({ engine, table, checker, vcpus });
  for (const vcpu of vcpus) vcpu.dispose();
  table.dispose();
  engine.dispose();
}

const rules = (checker: Checker): string[] => checker.violations.map(({ rule }) => rule);

describe.each(MODES)("random operations and walks (%s)", (mode) => {
  it("break no rule", async () => {
    const engine = await Engine.create({ mode, maxTablePages: 8192, eventCapacity: 2 ** 17 });
    let fills = 0;
    const pages = fc.array(fc.nat(2 * 512), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        commands({ page: PAGE, block: BLOCK }),
        pages,
        fc.boolean(),
        (steps, touched, fwb) => {
          const table = engine.stage2({ fwb, tlbiRange: fwb, events: Checker.EVENTS });
          const vcpus = [
            engine.vcpu(table, WATCHFUL),
            engine.vcpu(table, { ...WATCHFUL, hd: true }),
          ];
          const checker = new Checker();
          checker.watch(table);
          const model = new PlainStage2(PAGE, BLOCK);
          for (const step of steps) {
            step.check(model);
            stepQuietly(step, model, table);
            for (const page of touched) {
              for (const vcpu of vcpus) vcpu.translate(MIDDLE - BLOCK + page * PAGE, Access.Write);
            }
            for (const event of engine.events.drain()) {
              if (event.kind === "tlbFill") fills++;
              checker.observe(event);
            }
            checker.settle();
          }
          for (const vcpu of vcpus) vcpu.dispose();
          table.dispose();
          checker.drain(engine);
          expect(checker.violations.map(String)).toEqual([]);
        },
      ),
      { numRuns: 100 },
    );
    expect(fills).toBeGreaterThan(100);
    engine.dispose();
  });
});

/** vCPUs set access flags that the model does not know of: only what the checker says counts here. */
function stepQuietly(
  step: { run(model: PlainStage2, table: Stage2): void },
  model: PlainStage2,
  table: Stage2,
): void {
  try {
    step.run(model, table);
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "AssertionError") throw error;
  }
}

describe("planted", () => {
  it("a map without its invalidation is found when it is made, and when a vCPU goes on with the old page", async () => {
    await scene({}, ({ engine, table, checker, vcpus }) => {
      table.map({ ipa: 0, size: PAGE, pa: A, prot: Prot.RW });
      expect(vcpus[1]!.translate(4, Access.Read)).toBe(A + 4);
      table.map({ ipa: 0, size: PAGE, pa: B, prot: Prot.RW, flags: WalkFlag.SKIP_BBM_TLBI });
      const [made] = checker.drain(engine);
      expect(made).toMatchObject({ rule: "early-make", address: 0 });
      expect(made?.agents).toEqual(["thread 0", expect.stringMatching(/^vCPU \d+$/)]);
      expect(vcpus[1]!.translate(4, Access.Read)).toBe(A + 4);
      expect(vcpus[1]!.statistics.tlb.stale).toBe(1);
      const stale = [...engine.events.drain()].filter(({ kind }) => kind === "tlbStale");
      expect(stale).toMatchObject([{ pa: A + 4, now: B + 4, address: 4 }]);
    });
  });

  it("an unmap without its invalidation is found by the use of the old page", async () => {
    await scene({}, ({ engine, table, checker, vcpus }) => {
      table.map({ ipa: 0, size: PAGE, pa: A, prot: Prot.RW });
      vcpus[0]!.translate(8, Access.Read);
      table.unmap({ ipa: 0, size: PAGE });
      table.map({ ipa: 2 ** 33, size: PAGE, pa: A, prot: Prot.R }); // ends with a barrier
      const events = [...engine.events.drain()];
      const forgetful = events.filter(({ kind }) => !kind.startsWith("tlbi"));
      const [fill] = events.filter((event) => event.kind === "tlbFill");
      const { cpu, entry } = fill!;
      const stale = {
        kind: "tlbStale",
        cpu,
        entry,
        address: 8,
        pa: A + 8,
        now: undefined,
      } as const;
      for (const event of [...forgetful, stale]) checker.observe(event);
      const found = checker.violations.find(({ rule }) => rule === "missing-tlbi");
      expect(found).toMatchObject({ agents: ["thread 0", `vCPU ${cpu}`], address: 0 });
    });
  });

  it("two leaves in one TLB for one address are a conflict", async () => {
    await scene({}, ({ engine, table, checker, vcpus }) => {
      table.map({ ipa: 0, size: BLOCK, pa: A, prot: Prot.RW });
      vcpus[0]!.translate(0, Access.Read);
      table.map({ ipa: PAGE, size: PAGE, pa: B, prot: Prot.RW, flags: WalkFlag.SKIP_BBM_TLBI });
      vcpus[0]!.translate(PAGE, Access.Read);
      checker.drain(engine);
      expect(rules(checker).slice(0, 2)).toEqual(["early-make", "tlb-conflict"]);
      expect(checker.violations[1]).toMatchObject({
        agents: ["thread 0", expect.stringMatching(/^vCPU/)],
        address: PAGE,
      });
    });
  });

  it("a walk through a table that was freed is found: its walk cache still led there", async () => {
    await scene({}, ({ engine, table, checker, vcpus }) => {
      table.map({ ipa: 0, size: PAGE, pa: A, prot: Prot.RW });
      vcpus[0]!.translate(0, Access.Read);
      table.map({ ipa: 0, size: BLOCK, pa: B, prot: Prot.RW, flags: WalkFlag.SKIP_BBM_TLBI });
      checker.drain(engine);
      expect(rules(checker)).toEqual(["early-make"]);
      expect(vcpus[0]!.translate(PAGE, Access.Read)).toBeInstanceOf(Fault);
      expect(checker.drain(engine)).toMatchObject([
        {
          rule: "early-reuse",
          what: "a walk reads a table page that was freed",
          agents: ["thread 0", expect.stringMatching(/^vCPU/)],
        },
      ]);
    });
  });
});
