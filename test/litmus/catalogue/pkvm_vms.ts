/** B6: what is done once although two ask for it: a vCPU is loaded or made, a page is taken for tables. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import type { Part } from "./observe.ts";
import { PARTS, TABLES, bedWithVm, leftOver, oneVm } from "./pkvm_bare.ts";
import { HYPERCALL, PkvmBed, ROOM, pfn } from "./pkvm_bed.ts";
import { isHosts, wrongBooks } from "./pkvm_books.ts";
import { type Answers, agent, forbidden } from "./support.ts";
import { fine } from "./vm_bed.ts";

const ENOMEM = -12;
const EINVAL = -22;
const H = HYPERCALL;

/** P13: one vCPU on two CPUs. */
const loadedTwice = litmus({
  name: "P13",
  title: "two CPUs load one vCPU: one has it",
  agents: ["L0", "L1"],
  mutants: ["load-without-lock"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    return bedWithVm(agents, lab);
  },
  run({ bed, before, handle }, agents) {
    const answers: Answers = {};
    function* loads(name: string): Part {
      answers[name] = yield* bed.calls(agent(agents, name), H.VCPU_LOAD, handle, 0);
    }
    return {
      programs: { L0: loads("L0"), L1: loads("L1") },
      forbidden() {
        const told = [answers.L0, answers.L1].sort().join();
        bed.maker.core.pkvm_vm(bed.machine, handle);
        const references = bed.result(bed.maker, 3);
        const puts = ["L0", "L1"].map((name) => bed.now(agent(agents, name), H.VCPU_PUT));
        return (
          forbidden(
            [told !== `${EINVAL},0`, `loading answered ${told}`],
            [references !== 1, `the VM has ${references} references`],
            [puts.sort().join() !== `${EINVAL},0`, `putting answered ${puts.join()}`],
          ) ?? leftOver(bed, handle, before)
        );
      },
    };
  },
});

/** P14: two CPUs refill the memcaches of two VMs out of lists that name the same page. */
const refilledTwice = litmus({
  name: "P14",
  title: "two memcaches are filled with one page: one of them has it",
  agents: ["V0", "V1"],
  mutants: ["transitions-without-locks"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    const handles = [oneVm(bed), oneVm(bed, PARTS + 50, TABLES + 50)];
    for (const [n, name] of ["V0", "V1"].entries())
      fine("VCPU_LOAD", bed.now(agent(agents, name), H.VCPU_LOAD, handles[n] as number, 0));
    const cached = handles.map((handle) => bed.maker.core.pkvm_vcpu(bed.machine, handle, 0));
    return { bed, handles, cached };
  },
  run({ bed, handles, cached }, agents) {
    const answers: Answers = {};
    function* shares(name: string, n: number): Part {
      const list = Array.from({ length: (cached[n] as number) + 1 }, () => pfn(1));
      const words = [pfn(2 + n), 0, 1, Prot.RW];
      answers[name] = yield* bed.gives(agent(agents, name), H.SHARE_GUEST, list, ...words);
    }
    return {
      programs: { V0: shares("V0", 0), V1: shares("V1", 1) },
      forbidden() {
        const { core } = bed.maker;
        const now = handles.map((handle) => core.pkvm_vcpu(bed.machine, handle, 0));
        const more = now.reduce((sum, count, n) => sum + count - (cached[n] as number), 0);
        const told = [answers.V0, answers.V1].sort().join();
        return (
          forbidden(
            [told !== `${ENOMEM},0`, `sharing answered ${told}`],
            [more !== 1, `one page was to be had, and ${more} were taken`],
            [bed.record(1).references !== 1, "the page is not in use once"],
          ) ?? wrongBooks(bed, [], { bare: handles })
        );
      },
    };
  },
});

/** P15: two CPUs make a VM each, or a vCPU each of one VM. */
const madeTwice = litmus({
  name: "P15",
  title: "two CPUs make vCPUs of one VM that has room for one: one index, and one page is taken",
  agents: ["I0", "I1"],
  mutants: ["vcpus-without-lock"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    const { maker } = bed;
    fine("SHARE_HYP", bed.now(maker, H.SHARE_HYP, pfn(PARTS)));
    const words = [0, pfn(PARTS), pfn(PARTS + 1), pfn(PARTS + 2), 1, 0];
    return { bed, handle: fine("INIT_VM", bed.now(maker, H.INIT_VM, ...words)) };
  },
  run({ bed, handle }, agents) {
    const answers: Answers = {};
    function* makes(name: string, n: number): Part {
      answers[name] = yield* bed.calls(agent(agents, name), H.INIT_VCPU, handle, pfn(n));
    }
    return {
      programs: { I0: makes("I0", 0), I1: makes("I1", 1) },
      forbidden() {
        const told = [answers.I0, answers.I1].sort().join();
        bed.maker.core.pkvm_vm(bed.machine, handle);
        const made = bed.result(bed.maker, 2);
        const taken = [0, 1].filter((n) => !isHosts(bed, n)).length;
        return (
          forbidden(
            [told !== `${EINVAL},0`, `making them answered ${told}`],
            [made !== 1 || taken !== 1, `${made} vCPUs were made of ${taken} pages`],
          ) ?? wrongBooks(bed, [])
        );
      },
    };
  },
});

export const vmLives: readonly Litmus[] = [loadedTwice, refilledTwice, madeTwice];
