/** Random hypercalls against the model, in each generation; and that what is wrong is found, made small, and can be made again. */
import { describe, expect, it } from "vitest";
import { HYPERCALL } from "../../src/pkvm/_abi.ts";
import { PROTECTED_CALLS, RULES, type CallName } from "./model/model.ts";
import { PLANTS, type PlantName, planted } from "./plants.ts";
import { type Plant, type Report, replay, run } from "./run.ts";
import { parseScript, scriptText } from "./script.ts";
import { shrink } from "./shrink.ts";
import { GENERATIONS, smallWorld } from "./world.ts";

const CALLS = 50_000;
const MINUTES = 180_000;
const NAMES = Object.keys(HYPERCALL) as CallName[];

const reaches = ({ reached }: Report, what: string): boolean => (reached[what] ?? 0) > 0;

describe.each(GENERATIONS)("random hypercalls (%s)", (generation) => {
  it("leave the machine as the model says, whatever they are", { timeout: MINUTES }, async () => {
    const worlds = [smallWorld(generation)];
    const report = await run({ calls: CALLS, seed: 7, worlds });
    expect(report.findings.map(({ difference }) => difference)).toEqual([]);
    expect(report.calls).toBe(CALLS);
    const total = Object.values(report.refused).reduce((sum, times) => sum + times, 0);
    expect(report.accepted + total).toBe(CALLS);
    // every call works now and then; those of other generations are refused as unknown
    const isKnown = (name: CallName) => generation === "newest" || !PROTECTED_CALLS.has(name);
    expect(
      NAMES.filter((name) => !reaches(report, `${name} ${isKnown(name) ? "ok" : "NOT_SUPPORTED"}`)),
    ).toEqual([]);
    expect(reaches(report, "unknown NOT_SUPPORTED")).toBe(true);
  });
});

describe("random hypercalls", () => {
  it("come to the refusals that matter", { timeout: MINUTES }, async () => {
    const report = await run({ calls: CALLS, seed: 3, worlds: [smallWorld("newest")] });
    const wanted = [
      "UNSHARE_HYP EBUSY",
      "HYP_DONATE_HOST EBUSY",
      "SHARE_GUEST ENOMEM",
      "SHARE_GUEST ERANGE",
      "UNSHARE_GUEST ENOENT",
      "UNSHARE_GUEST E2BIG",
      "RELAX_PERMS_GUEST EAGAIN",
      "TEARDOWN_VM EBUSY",
      "TEARDOWN_VM ENOENT",
      "INIT_VM ENOMEM",
      "INIT_VM EPERM",
      "DONATE_GUEST ENOMEM",
      "GUEST_SHARE_HOST EHWPOISON",
      "FORCE_RECLAIM EAGAIN",
      "FORCE_RECLAIM EFAULT",
      "HOST_ABORT EPERM",
      "HOST_MAP EEXIST",
    ];
    expect(wanted.filter((what) => !reaches(report, what))).toEqual([]);
  });

  it("are the same for the same seed, and others for another", async () => {
    const plan = { calls: 2000, worlds: [smallWorld("newest")] };
    const [first, again, other] = [
      await run({ ...plan, seed: 5 }),
      await run({ ...plan, seed: 5 }),
      await run({ ...plan, seed: 6 }),
    ];
    expect(again).toEqual(first);
    expect(other.reached).not.toEqual(first.reached);
  });
});

describe("what is wrong", () => {
  it.each(Object.keys(PLANTS) as PlantName[])(
    "is found: %s",
    { timeout: MINUTES },
    async (name) => {
      const options = planted(name);
      const report = await run({
        calls: 20_000,
        seed: 1,
        worlds: [smallWorld("default")],
        ...options,
      });
      expect(report.findings.length).toBeGreaterThan(0);
    },
  );

  it.each(["row", "errno"] as const)(
    "is made small, and comes again from its script: %s",
    { timeout: MINUTES },
    async (name) => {
      const options = planted(name);
      const worlds = [smallWorld("default")];
      const report = await run({ calls: 20_000, seed: 1, worlds, ...options });
      const [found] = report.findings;
      if (found === undefined) throw new Error("nothing was found");
      const small = await shrink(found, options);
      expect(small.steps.length).toBeLessThanOrEqual(Math.min(8, found.steps.length));
      const { generation, steps } = parseScript(scriptText(small));
      expect(generation).toBe("default");
      expect(await replay(smallWorld(generation), steps, options)).toEqual({
        difference: small.difference,
        calls: steps.length,
      });
      expect(await replay(smallWorld(generation), steps)).toBeUndefined();
    },
  );

  it("is found where a core traps", async () => {
    const plant: Plant = (_, index) => {
      if (index === 10) throw new WebAssembly.RuntimeError("unreachable");
    };
    const { findings } = await run({ calls: 100, seed: 1, worlds: [smallWorld("seed")], plant });
    expect(findings[0]?.difference).toContain("unreachable");
  });

  it("is found where a table page is left at the end", async () => {
    const plant: Plant = ({ machine }, index) => {
      if (index === 10) machine.cpus[0]?.core.pool_alloc(12);
    };
    const { findings } = await run({ calls: 100, seed: 1, worlds: [smallWorld("seed")], plant });
    expect(findings[0]?.difference).toContain("1 table pages are left");
  });

  it.each(["host", "hyp"] as const)("is found in the %s's table alone", async (table) => {
    const plant: Plant = ({ machine, state }, index) => {
      if (index !== 50) return;
      const offset = table === "hyp" ? state.world.hypOffset : 0;
      const slot = machine.slot(machine[table], (state.memory.pages[0]?.pfn ?? 0) * 4096 - offset);
      const words = machine.cpus[0]?.u64 as BigUint64Array;
      words[slot / 8] = table === "hyp" ? 0x8000_0703n : 0x8000_0004n; // a leaf; an owner
    };
    const { findings } = await run({
      calls: 1000,
      seed: 1,
      worlds: [smallWorld("default")],
      plant,
    });
    expect(findings.length).toBeGreaterThan(0);
  });
});

describe("the model", () => {
  it("has a rule for every call of the interface", () => {
    expect(Object.keys(RULES).sort()).toEqual([...NAMES].sort());
  });
});
