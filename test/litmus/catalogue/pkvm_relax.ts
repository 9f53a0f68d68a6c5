/** B6: permissions that are relaxed under no lock of the kernel, beside pages that come and go. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { FAULT_WALK } from "./guests.ts";
import type { Part } from "./observe.ts";
import { type Generation, HYPERCALL, PkvmBed, ROOM, pfn } from "./pkvm_bed.ts";
import { wrongBooks } from "./pkvm_books.ts";
import { HELD, HOLDERS, guestOf } from "./pkvm_maps.ts";
import {
  A,
  type Answers,
  B,
  EAGAIN,
  PAGE,
  agent,
  calls,
  forbidden,
  isValid,
  isWritable,
  outputOf,
  say,
} from "./support.ts";
import { fine } from "./vm_bed.ts";

const both = ["V0", "V1"] as const;
/** The first of the pages that a VM by bare hypercalls is made of. */
const BARE = 300;

/** What relax may have met, and what the page may be then, by what relax answered. */
const LEGAL: Readonly<Record<string, readonly boolean[]>> = {
  0: [false, true], // before the page went, or on the page that came
  [EAGAIN]: [false], // when none was there
};

const PAGES: readonly number[] = [A, B];

/** What is wrong with how page 0 ended: the calls of `answers` are unmap, map, relax. */
function wrongRelax({ unmap, map, relax }: Answers, end: bigint): string | undefined {
  const legal = LEGAL[relax as number];
  return forbidden(
    [unmap !== 0 || map !== 0, `unmapping answered ${unmap}, mapping ${map}`],
    [legal === undefined, `relaxing answered ${relax}`],
    [outputOf(end) !== B, `in the end the page is ${say(end)}`],
    [legal?.includes(isWritable(end)) === false, `relaxing met no page, and it is ${say(end)}`],
  );
}

/** Page 0 is only ever A, nothing, or B: nobody who relaxes puts another there. */
function isStray(entry: bigint): boolean {
  return isValid(entry) && !PAGES.includes(outputOf(entry) ?? 0);
}

/** P5: relax_perms takes no lock of the kernel; meanwhile the page goes and another comes, for reading. Bare hypercalls. */
const relaxed = litmus({
  name: "P5",
  title:
    "relax_perms beside the end of a page and another that comes: some order of them explains the end",
  agents: both,
  mutants: ["relax-by-plain-store"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    const handle = bed.bareVm(bed.maker, BARE, 0, both.length);
    for (const [n, name] of both.entries())
      fine("VCPU_LOAD", bed.now(agent(agents, name), HYPERCALL.VCPU_LOAD, handle, n));
    const list = [0, 1, 2].map((n) => pfn(BARE + 20 + n));
    const share = (pages: readonly number[], ...words: number[]): number =>
      fine("SHARE_GUEST", bed.giveNow(bed.maker, HYPERCALL.SHARE_GUEST, pages, ...words));
    share(list, pfn(HELD), HOLDERS, 1, Prot.RW);
    share([], pfn(0), 0, 1, Prot.R);
    return { bed, handle, at: lab.entry(bed.tableOf(handle), 0) };
  },
  run({ bed, handle, at }, agents) {
    const answers: Answers = {};
    const [v0, v1] = [agent(agents, "V0"), agent(agents, "V1")];
    function* replaces(): Part {
      answers.unmap = yield* bed.calls(v0, HYPERCALL.UNSHARE_GUEST, handle, 0, 1);
      const words = [pfn(1), 0, 1, Prot.R];
      answers.map = yield* bed.gives(v0, HYPERCALL.SHARE_GUEST, [], ...words);
    }
    function* relaxes(): Part {
      answers.relax = yield* bed.calls(v1, HYPERCALL.RELAX_PERMS_GUEST, 0, Prot.RW);
    }
    return {
      programs: { V0: replaces(), V1: relaxes() },
      invariant: () => (isStray(bed.lab.read64(at)) ? say(bed.lab.read64(at)) : undefined),
      forbidden: () =>
        wrongRelax(answers, bed.lab.read64(at)) ?? wrongBooks(bed, [], { bare: [handle] }),
    };
  },
});

/** P5/kernel: the same as the host's kernel does it. */
function relaxedByKernel(suffix: string, generation: Generation): Litmus {
  return litmus({
    name: `P5/kernel${suffix}`,
    title: "relax_perms beside an unmap and a map of another page: some order explains the end",
    agents: both,
    mutants: ["relax-by-plain-store"],
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab, generation);
      const vm = guestOf(bed, both);
      bed.maps("V0", vm, 0, 0, Prot.R);
      return { bed, vm, cache: bed.cache("V0"), at: bed.entryPointer(vm, 0) };
    },
    run({ bed, vm, cache, at }, agents) {
      const answers: Answers = {};
      const [v0, v1] = [agent(agents, "V0").core, agent(agents, "V1").core];
      return {
        programs: {
          V0: calls(answers, {
            unmap: () => v0.el1_unmap(vm.pgt, 0, PAGE),
            map: () => v0.el1_map(vm.pgt, 0, PAGE, B, Prot.R, FAULT_WALK, cache),
          }),
          V1: calls(answers, { relax: () => v1.el1_relax_perms(vm.pgt, 0, Prot.RW) }),
        },
        invariant: () => (isStray(bed.lab.read64(at)) ? say(bed.lab.read64(at)) : undefined),
        forbidden: () => wrongRelax(answers, bed.lab.read64(at)) ?? wrongBooks(bed, [vm]),
      };
    },
  });
}

export const relaxing: readonly Litmus[] = [
  relaxed,
  relaxedByKernel("", "default"),
  relaxedByKernel("/seed", "seed"),
];
