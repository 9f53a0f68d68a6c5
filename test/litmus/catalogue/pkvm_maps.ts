/** B6: two threads of the host's kernel in one guest's map: what it has written down is what the hypervisor has mapped. */
import type { Core } from "../../../src/_abi.ts";
import { type Agent, type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { FAULT_WALK } from "./guests.ts";
import type { Part } from "./observe.ts";
import { type Generation, type GuestVm, MEMORY, PkvmBed, ROOM } from "./pkvm_bed.ts";
import { wrongBooks } from "./pkvm_books.ts";
import {
  type Answers,
  B,
  EAGAIN,
  PAGE,
  agent,
  calls,
  forbidden,
  isWritable,
  isYoung,
  outputOf,
  say,
} from "./support.ts";

/** Addresses that stay mapped, so that the table of the others does: one for each agent, whose vCPU is loaded by it. */
export const HOLDERS = 500;
export const HELD = 100;

/** A VM whose agents have all that a map needs. */
export function guestOf(bed: PkvmBed, names: readonly string[], holders = HOLDERS) {
  const vm = bed.vm();
  for (const [n, name] of names.entries()) bed.maps(name, vm, holders + n, HELD + n);
  bed.mapsForAWhile(names[0] as string, vm, holders + names.length, HELD); // records have spare nodes then
  return vm;
}

const both = ["V0", "V1"] as const;

/** A fault of this agent on a page: memory page `n` is to be there. */
function faultOn(vm: GuestVm, gfn: number, n: number, cache: number) {
  return ({ core }: Agent): number =>
    core.el1_map(vm.pgt, gfn * PAGE, PAGE, MEMORY.pa + n * PAGE, Prot.RW, FAULT_WALK, cache);
}

/** P1: both map page 0, each another page; who comes late is told so, and goes on to a page of its own. */
function twoMaps(suffix: string, generation: Generation, mutants: readonly string[]): Litmus {
  return litmus({
    name: `P1${suffix}`,
    title: "two vCPUs fault on one page: one maps it, the other is told to try again",
    agents: both,
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab, generation);
      const vm = guestOf(bed, both);
      return { bed, vm, caches: both.map((name) => bed.cache(name)) };
    },
    run({ bed, vm, caches }, agents) {
      const answers: Answers = {};
      function* faults(name: string, index: number): Part {
        const on = agent(agents, name);
        const cache = caches[index] as number;
        const own = yield () => faultOn(vm, 0, index, cache)(on);
        answers[name] = own;
        if (own !== EAGAIN) return;
        answers.next = yield () => faultOn(vm, 1, 2, cache)(on); // with the room that it has left
      }
      return {
        programs: { V0: faults("V0", 0), V1: faults("V1", 1) },
        forbidden() {
          const told = [answers.V0, answers.V1].sort().join();
          const first = answers.V0 === 0 ? MEMORY.pa : B;
          return (
            forbidden(
              [told !== `${EAGAIN},0`, `mapping answered ${told}`],
              [answers.next !== 0, `mapping the next page answered ${answers.next}`],
              [outputOf(bed.entry(vm, 0)) !== first, `there is ${say(bed.entry(vm, 0))}`],
            ) ?? wrongBooks(bed, [vm])
          );
        },
      };
    },
  });
}

/** P2: one maps page 0, the other unmaps it, and maps page 1. */
function mapAndUnmap(
  suffix: string,
  generation: Generation,
  mapped: boolean,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `P2${suffix}`,
    title: `a map beside an unmap of the page${mapped ? "" : " that is not there"}: a record is a leaf`,
    agents: both,
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab, generation);
      const vm = guestOf(bed, both);
      if (mapped) bed.maps("V0", vm, 0, 0);
      return { bed, vm, caches: both.map((name) => bed.cache(name)) };
    },
    run({ bed, vm, caches }, agents) {
      const answers: Answers = {};
      const [v0, v1] = [agent(agents, "V0"), agent(agents, "V1")];
      const [c0, c1] = caches as [number, number];
      return {
        programs: {
          V0: calls(answers, { map: () => faultOn(vm, 0, 1, c0)(v0) }),
          V1: calls(answers, {
            unmap: () => v1.core.el1_unmap(vm.pgt, 0, PAGE),
            next: () => faultOn(vm, 1, 2, c1)(v1),
          }),
        },
        forbidden() {
          const end = outputOf(bed.entry(vm, 0));
          const { map, unmap, next } = answers;
          return (
            forbidden(
              [unmap !== 0 || next !== 0, JSON.stringify(answers)],
              [map !== 0 && !(mapped && map === EAGAIN), `mapping answered ${map}`],
              [map === EAGAIN && end !== undefined, "both have given way to each other"],
              [mapped && map === 0 && end !== B, `mapped in the end: ${end}`],
            ) ?? wrongBooks(bed, [vm])
          );
        },
      };
    },
  });
}

/** Calls over pages 0 to 3, what each answers, and whether a page shows that it was there. */
const RANGE = {
  age: (core: Core, pgt: number) => core.el1_test_clear_young(pgt, 0, 4 * PAGE, 1),
  protect: (core: Core, pgt: number) => core.el1_wrprotect(pgt, 0, 4 * PAGE),
} as const;
const ANSWER = { age: 1, protect: 0 } as const;
const VISITED = {
  age: (entry: bigint) => !isYoung(entry),
  protect: (entry: bigint) => !isWritable(entry),
} as const;
type RangeCall = keyof typeof RANGE;

/** P3: a call over pages 0 to 3 beside one that takes page 0 away and puts page 1 there: pages 2 and 3 are there all the time. */
function rangeAndChanges(
  suffix: string,
  generation: Generation,
  call: RangeCall,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `P3${suffix}`,
    title: `"${call}" over a range beside pages of it that come and go: the others are all visited`,
    agents: both,
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab, generation);
      const vm = guestOf(bed, both);
      for (const gfn of [0, 2, 3]) bed.maps("V0", vm, gfn, gfn);
      return { bed, vm, cache: bed.cache("V0") };
    },
    run({ bed, vm, cache }, agents) {
      const answers: Answers = {};
      const [v0, v1] = [agent(agents, "V0"), agent(agents, "V1")];
      return {
        programs: {
          V0: calls(answers, {
            unmap: () => v0.core.el1_unmap(vm.pgt, 0, PAGE),
            map: () => faultOn(vm, 1, 1, cache)(v0),
          }),
          V1: calls(answers, { range: () => RANGE[call](v1.core, vm.pgt) }),
        },
        forbidden() {
          const left = [2, 3].find((gfn) => !VISITED[call](bed.entry(vm, gfn)));
          return (
            forbidden(
              [answers.unmap !== 0 || answers.map !== 0, JSON.stringify(answers)],
              [answers.range !== ANSWER[call], `the range answered ${answers.range}`],
              [left !== undefined, `page ${left} is ${say(bed.entry(vm, left ?? 0))}`],
            ) ?? wrongBooks(bed, [vm])
          );
        },
      };
    },
  });
}

/** P3/look: a look at page 2 while page 0 comes in front of it. */
function looksBesideMap(
  suffix: string,
  generation: Generation,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `P3/look${suffix}`,
    title: "a look at a mapping beside a map in front of it: it is what it always was",
    agents: both,
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab, generation);
      const vm = guestOf(bed, both);
      bed.maps("V0", vm, 2, 1);
      return { bed, vm, cache: bed.cache("V0") };
    },
    run({ bed, vm, cache }, agents) {
      const answers: Answers = {};
      const [v0, v1] = [agent(agents, "V0"), agent(agents, "V1")];
      let seen = "";
      function* looks(): Part {
        answers.look = yield () => v1.core.el1_mapping(vm.pgt, 2 * PAGE);
        seen = [0, 1, 2].map((n) => bed.result(v1, n)).join();
      }
      return {
        programs: {
          V0: calls(answers, { map: () => faultOn(vm, 0, 0, cache)(v0) }),
          V1: looks(),
        },
        forbidden: () =>
          forbidden(
            [answers.map !== 0 || answers.look !== 1, JSON.stringify(answers)],
            [seen !== [2 * PAGE, B, PAGE].join(), `a mapping was seen that is none: ${seen}`],
          ) ?? wrongBooks(bed, [vm]),
      };
    },
  });
}

/** P4: two vCPUs fault on pages of their own: nothing but the lock keeps their records apart. */
const seedLock = litmus({
  name: "P4",
  title: "two vCPUs fault on two pages, under the lock of mappings alone: both are written down",
  agents: both,
  mutants: ["mappings-lock-removed"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab, "seed");
    const vm = guestOf(bed, both);
    return { bed, vm, caches: both.map((name) => bed.cache(name)) };
  },
  run({ bed, vm, caches }, agents) {
    const answers: Answers = {};
    const program = (name: string, n: number) => {
      const on = agent(agents, name);
      return calls(answers, { [name]: () => faultOn(vm, n, n, caches[n] as number)(on) });
    };
    return {
      programs: { V0: program("V0", 0), V1: program("V1", 1) },
      forbidden: () =>
        forbidden([answers.V0 !== 0 || answers.V1 !== 0, JSON.stringify(answers)]) ??
        wrongBooks(bed, [vm]),
    };
  },
});

const SEED = ["mappings-lock-removed"] as const;
const DEFAULT = ["faults-under-read-side"] as const;

export const guestMaps: readonly Litmus[] = [
  twoMaps("", "default", DEFAULT),
  twoMaps("/seed", "seed", SEED),
  mapAndUnmap("", "default", true, DEFAULT),
  mapAndUnmap("/empty", "default", false, DEFAULT),
  mapAndUnmap("/seed", "seed", true, SEED),
  mapAndUnmap("/seed/empty", "seed", false, SEED),
  rangeAndChanges("", "default", "age", ["ages-without-mmu-lock"]),
  rangeAndChanges("/protect", "default", "protect", ["protects-without-mmu-lock"]),
  rangeAndChanges("/seed", "seed", "age", ["ages-under-no-lock"]),
  looksBesideMap("", "default", ["looks-without-lock"]),
  looksBesideMap("/seed", "seed", SEED),
  seedLock,
];
