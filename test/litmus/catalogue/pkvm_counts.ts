/** B6: one page in several guests, and blocks: how many leaves there are is counted, and a block is shared whole or not at all. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { PAGE_STATE } from "../../../src/pkvm/_abi.ts";
import { FAULT_WALK } from "./guests.ts";
import type { Part } from "./observe.ts";
import { type GuestVm, HYPERCALL, MEMORY, PkvmBed, ROOM, pfn } from "./pkvm_bed.ts";
import { recordsOf, wrongBooks } from "./pkvm_books.ts";
import { guestOf } from "./pkvm_maps.ts";
import { A, type Answers, BLOCK, PAGE, agent, calls, forbidden, isValid } from "./support.ts";

const both = ["V0", "V1"] as const;
const EPERM = -1;
/** Guest addresses in another 2 MiB than those of the block. */
const BESIDE = BLOCK / PAGE;
/** The page of the block that somebody else wants. */
const ONE = 5;

/** P6: two VMs have page A, or get it, and unmap it. */
function twoVms(suffix: string, mapped: boolean): Litmus {
  return litmus({
    name: `P6${suffix}`,
    title: `a page in two VMs, ${mapped ? "" : "shared and "}unshared by both at once: the host has it again when the last leaf went`,
    agents: both,
    mutants: ["shares-without-host-lock", "owned-at-first-unshare"],
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab);
      const vms = both.map((name) => guestOf(bed, [name]));
      if (mapped) for (const [n, vm] of vms.entries()) bed.maps(both[n] as string, vm, 0, 0);
      const entries = vms.map((vm) => bed.entryPointer(vm, 0));
      return { bed, vms, entries, caches: both.map((name) => bed.cache(name)) };
    },
    run({ bed, vms, entries, caches }, agents) {
      const answers: Answers = {};
      const program = (name: string, n: number) => {
        const { core } = agent(agents, name);
        const [{ pgt }, cache] = [vms[n] as GuestVm, caches[n] as number];
        const map = () => core.el1_map(pgt, 0, PAGE, A, Prot.RW, FAULT_WALK, cache);
        const unmap = { [`${name} unmaps`]: () => core.el1_unmap(pgt, 0, PAGE) };
        return calls(answers, mapped ? unmap : { [`${name} maps`]: map, ...unmap });
      };
      return {
        programs: { V0: program("V0", 0), V1: program("V1", 1) },
        // Whoever looks at a leaf finds the page shared.
        invariant() {
          const leaves = entries.filter((at) => isValid(bed.lab.read64(at))).length;
          const { host, count } = bed.record(0);
          const counted = host === PAGE_STATE.SHARED_OWNED && count >= leaves;
          if (leaves === 0 || counted) return undefined;
          return `there are ${leaves} leaves, the page's state is ${host}, its count ${count}`;
        },
        forbidden() {
          const failed = Object.values(answers).some((answer) => answer !== 0);
          return forbidden([failed, JSON.stringify(answers)]) ?? wrongBooks(bed, vms);
        },
      };
    },
  });
}

/** P8: V0 shares the block, V1 one page of it at another address: of another VM, or of the same. */
function blockAndPage(suffix: string, same: boolean, mutants: readonly string[]): Litmus {
  return litmus({
    name: `P8${suffix}`,
    title: `a block is shared beside a page of it at another address of ${same ? "the VM" : "another VM"}: both count`,
    agents: both,
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab);
      const first = guestOf(bed, same ? both : ["V0"], BESIDE + 8);
      const second = same ? first : guestOf(bed, ["V1"], BESIDE + 8);
      return { bed, first, second, caches: both.map((name) => bed.cache(name)) };
    },
    run({ bed, first, second, caches }, agents) {
      const answers: Answers = {};
      const [v0, v1] = [agent(agents, "V0").core, agent(agents, "V1").core];
      const [c0, c1] = caches as [number, number];
      const [at, pa] = [BESIDE * PAGE, MEMORY.pa + ONE * PAGE];
      return {
        programs: {
          V0: calls(answers, {
            block: () => v0.el1_map(first.pgt, 0, BLOCK, MEMORY.pa, Prot.RW, FAULT_WALK, c0),
          }),
          V1: calls(answers, {
            page: () => v1.el1_map(second.pgt, at, PAGE, pa, Prot.RW, FAULT_WALK, c1),
          }),
        },
        forbidden() {
          const { count } = bed.record(ONE);
          return (
            forbidden(
              [answers.block !== 0 || answers.page !== 0, JSON.stringify(answers)],
              [count !== 2, `two leaves map the page, and it counts ${count}`],
            ) ?? wrongBooks(bed, same ? [first] : [first, second])
          );
        },
      };
    },
  });
}

/** P8/taken: V1 gives one page of the block to the hypervisor. Either the block is shared, or the page is given. */
const takenPage = litmus({
  name: "P8/taken",
  title: "a block is shared beside the donation of a page of it: one of the two, and never a part",
  agents: both,
  mutants: ["shares-without-host-lock", "transitions-without-locks"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    return { bed, vm: guestOf(bed, ["V0"], BESIDE + 8), cache: bed.cache("V0") };
  },
  run({ bed, vm, cache }, agents) {
    const answers: Answers = {};
    const [v0, v1] = [agent(agents, "V0"), agent(agents, "V1")];
    function* donates(): Part {
      answers.given = yield* bed.calls(v1, HYPERCALL.DONATE_HYP, pfn(ONE), 1);
    }
    return {
      programs: {
        V0: calls(answers, {
          shared: () => v0.core.el1_map(vm.pgt, 0, BLOCK, MEMORY.pa, Prot.RW, FAULT_WALK, cache),
        }),
        V1: donates(),
      },
      forbidden() {
        const told = [answers.shared, answers.given].join();
        const last = bed.record(MEMORY.pages - 1).count;
        return (
          forbidden(
            [told !== `0,${EPERM}` && told !== `${EPERM},0`, `sharing, giving answered ${told}`],
            [answers.shared !== 0 && last !== 0, "a part of the block is shared"],
          ) ?? wrongBooks(bed, [vm])
        );
      },
    };
  },
});

/** P9: V0 unmaps one page of a block, V1 maps a page of it for itself. */
function insideBlock(suffix: string, page: number, mutants: readonly string[]): Litmus {
  return litmus({
    name: `P9${suffix}`,
    title: "a page inside a block is unmapped beside a map of a page there: the block goes whole",
    agents: both,
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab);
      const vm = guestOf(bed, both, BESIDE + 8);
      bed.spares("V0", vm, 2);
      bed.mapsBlock("V0", vm);
      return { bed, vm, cache: bed.cache("V1") };
    },
    run({ bed, vm, cache }, agents) {
      const answers: Answers = {};
      const [v0, v1] = [agent(agents, "V0").core, agent(agents, "V1").core];
      const [at, pa] = [page * PAGE, MEMORY.pa + page * PAGE];
      return {
        programs: {
          V0: calls(answers, { unmap: () => v0.el1_unmap(vm.pgt, ONE * PAGE, PAGE) }),
          V1: calls(answers, {
            map: () => v1.el1_map(vm.pgt, at, PAGE, pa, Prot.RW, FAULT_WALK, cache),
          }),
        },
        forbidden() {
          const inBlock = recordsOf(bed, vm).filter(({ ipa }) => ipa < BLOCK);
          const left = page === ONE ? inBlock.length <= 1 : inBlock.length === 1;
          return (
            forbidden(
              [answers.unmap !== 0 || answers.map !== 0, JSON.stringify(answers)],
              [
                !left || inBlock.some(({ size }) => size !== PAGE),
                "the block is still written down",
              ],
            ) ?? wrongBooks(bed, [vm])
          );
        },
      };
    },
  });
}

/** P9/two: two vCPUs store into two pages of a block that is to go page by page. */
const twoPages = litmus({
  name: "P9/two",
  title:
    "two vCPUs map two pages of a block, each alone: the block goes once, both pages are there",
  agents: both,
  mutants: ["map-overlooks-blocks"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    const vm = guestOf(bed, both, BESIDE + 8);
    bed.spares("V0", vm, 2);
    bed.mapsBlock("V0", vm, Prot.R);
    return { bed, vm, caches: both.map((name) => bed.cache(name)) };
  },
  run({ bed, vm, caches }, agents) {
    const answers: Answers = {};
    const program = (name: string, n: number) => {
      const { core } = agent(agents, name);
      const [cache, at, pa] = [caches[n] as number, n * PAGE, MEMORY.pa + n * PAGE];
      return calls(answers, {
        [name]: () => core.el1_map(vm.pgt, at, PAGE, pa, Prot.RW, FAULT_WALK, cache),
      });
    };
    return {
      programs: { V0: program("V0", 0), V1: program("V1", 1) },
      forbidden() {
        const pages = recordsOf(bed, vm).filter(({ ipa }) => ipa < BLOCK);
        const wrong = pages.length !== 2 || pages.some(({ size }) => size !== PAGE);
        return (
          forbidden(
            [answers.V0 !== 0 || answers.V1 !== 0, JSON.stringify(answers)],
            [wrong, `${pages.length} mappings are where the block was`],
          ) ?? wrongBooks(bed, [vm])
        );
      },
    };
  },
});

export const counts: readonly Litmus[] = [
  twoVms("", true),
  twoVms("/shared", false),
  blockAndPage("", false, ["shares-without-host-lock"]),
  blockAndPage("/same", true, ["faults-under-read-side"]),
  takenPage,
  insideBlock("", ONE, ["map-overlooks-blocks", "block-count-off-by-one"]),
  insideBlock("/beside", ONE + 1, ["map-overlooks-blocks", "block-count-off-by-one"]),
  twoPages,
];
