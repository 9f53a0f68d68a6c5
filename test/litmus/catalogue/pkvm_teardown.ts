/** B6: the end of a VM beside CPUs that load it, hypercalls on it, and faults of its guest. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { FAULT_WALK } from "./guests.ts";
import { type Part, faultOf, flag, raiseFlag } from "./observe.ts";
import { HOLDER, PARTS, bedWithVm, inUse, leftOver, oneVm } from "./pkvm_bare.ts";
import { HYPERCALL, PkvmBed, ROOM, pfn } from "./pkvm_bed.ts";
import { A, type Answers, FAULT, PAGE, RAM, WITH_TLB, agent, calls, forbidden } from "./support.ts";
import { fine } from "./vm_bed.ts";

const ENOENT = -2;
const EBUSY = -16;
const EINVAL = -22;
const ESTALE = -116;
const H = HYPERCALL;

/** P10: L runs the VM for a moment, T ends it. */
function underLoad(suffix: string, shares: boolean): Litmus {
  return litmus({
    name: `P10${suffix}`,
    title: `teardown beside a CPU that loads the VM${shares ? " and shares a page" : ""}: it ends alone, or not yet`,
    agents: ["L", "T"],
    mutants: ["teardown-ignores-references"],
    options: { tablePages: ROOM },
    setup(agents, lab) {
      return bedWithVm(agents, lab, shares);
    },
    run({ bed, before, handle }, agents) {
      const answers: Answers = {};
      const [l, t] = [agent(agents, "L"), agent(agents, "T")];
      function* runs(): Part {
        answers.load = yield* bed.calls(l, H.VCPU_LOAD, handle, 0);
        if (answers.load !== 0) return;
        const words = [pfn(0), 0, 1, Prot.RW];
        if (shares) answers.share = yield* bed.gives(l, H.SHARE_GUEST, [], ...words);
        answers.ended = yield* flag(l);
        answers.put = yield* bed.calls(l, H.VCPU_PUT);
      }
      function* ends(): Part {
        answers.end = yield* bed.calls(t, H.TEARDOWN_VM, handle);
        if (answers.end === 0) yield raiseFlag(t);
      }
      return {
        programs: { L: runs(), T: ends() },
        forbidden() {
          const { load, share = 0, put = 0, ended = 0, end } = answers;
          return (
            forbidden(
              [share !== 0 || put !== 0, JSON.stringify(answers)],
              [end !== 0 && end !== EBUSY, `teardown answered ${end}`],
              [load !== 0 && load !== EINVAL, `loading answered ${load}`],
              [ended === 1, "the VM ended on the CPU that had it loaded"],
              [load !== 0 && end !== 0, "the VM is neither loaded nor ended"],
            ) ?? leftOver(bed, handle, before)
          );
        },
      };
    },
  });
}

/** P10/unshare: a hypercall by handle is a reference for as long as it takes. */
const underCall = litmus({
  name: "P10/unshare",
  title:
    "teardown beside a hypercall on the VM: the page is unshared once, and nothing is used after",
  agents: ["U", "T"],
  mutants: ["teardown-ignores-references"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    return bedWithVm(agents, lab);
  },
  run({ bed, before, handle }, agents) {
    const answers: Answers = {};
    function* makes(name: string, call: number, ...words: number[]): Part {
      answers[name] = yield* bed.calls(agent(agents, name), call, ...words);
    }
    return {
      programs: {
        U: makes("U", H.UNSHARE_GUEST, handle, HOLDER, 1),
        T: makes("T", H.TEARDOWN_VM, handle),
      },
      forbidden() {
        const { U, T } = answers;
        return (
          forbidden(
            [U !== 0 && U !== EINVAL, `unsharing answered ${U}`],
            [T !== 0 && T !== EBUSY, `teardown answered ${T}`],
            [U === EINVAL && T !== 0, "the VM was not found, and has not ended"],
          ) ?? leftOver(bed, handle, before)
        );
      },
    };
  },
});

/** P10/kernel: the host's kernel ends a guest beside a fault of one of its vCPUs. */
const underFault = litmus({
  name: "P10/kernel",
  title: "a guest ends beside a fault: the page is shared before, or not at all, and comes back",
  agents: ["F", "T"],
  mutants: ["teardown-without-lock"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const before = inUse(agents);
    const bed = new PkvmBed(agents, lab);
    const vm = bed.vm();
    bed.maps("F", vm, HOLDER, HOLDER);
    return { bed, before, vm, cache: bed.cache("F") };
  },
  run({ bed, before, vm, cache }, agents) {
    const answers: Answers = {};
    const [f, t] = [agent(agents, "F").core, agent(agents, "T").core];
    return {
      programs: {
        F: calls(answers, {
          map: () => f.el1_map(vm.pgt, 0, PAGE, A, Prot.RW, FAULT_WALK, cache),
        }),
        T: calls(answers, { end: () => t.el1_destroy(vm.pgt) }),
      },
      forbidden() {
        const wrong = forbidden(
          [answers.end !== 0, `the end answered ${answers.end}`],
          [answers.map !== 0 && answers.map !== ESTALE, `the map answered ${answers.map}`],
        );
        if (wrong !== undefined) return wrong;
        t.pgt_release(vm.pgt);
        return leftOver(bed, vm.handle, before);
      },
    };
  },
});

/** P10/twice: two CPUs end the VM. */
const endedOnce = litmus({
  name: "P10/twice",
  title: "two CPUs tear one VM down: it ends once",
  agents: ["T0", "T1"],
  mutants: ["teardown-without-hyp-locks"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    return bedWithVm(agents, lab, false);
  },
  run({ bed, before, handle }, agents) {
    const answers: Answers = {};
    function* ends(name: string): Part {
      answers[name] = yield* bed.calls(agent(agents, name), H.TEARDOWN_VM, handle);
    }
    return {
      programs: { T0: ends("T0"), T1: ends("T1") },
      forbidden() {
        const told = [answers.T0, answers.T1].sort().join();
        return (
          forbidden([told !== `${ENOENT},0`, `teardown answered ${told}`]) ??
          leftOver(bed, handle, before)
        );
      },
    };
  },
});

/** P10/vmid: what V's TLB has of the VM that is gone must not serve the one that comes in its place. */
const vmidAgain = litmus({
  name: "P10/vmid",
  title: "a VM ends and another begins under its VMID: no CPU has anything of the first",
  agents: ["V", "T"],
  mutants: ["teardown-without-flush"],
  options: { guestRam: RAM, tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    const handle = oneVm(bed);
    const v = agent(agents, "V");
    const table = bed.tableOf(handle);
    const vmid = v.core.pgt_vmid(table.pointer);
    const cpu = bed.cpuOn("V", table, vmid, WITH_TLB);
    fine("VCPU_LOAD", bed.now(v, H.VCPU_LOAD, handle, 0));
    fine("SHARE_GUEST", bed.giveNow(v, H.SHARE_GUEST, [], pfn(0), 0, 1, Prot.RW));
    if (v.core.vcpu_read(cpu, 0, 4) < 0) throw new Error("the guest cannot read its page");
    return { bed, handle, cpu, vmid };
  },
  run({ bed, handle, cpu, vmid }, agents) {
    const seen = { put: NaN, end: NaN, fresh: NaN, root: 0, flag: 0, read: NaN };
    const [v, t] = [agent(agents, "V"), agent(agents, "T")];
    function* runs(): Part {
      seen.put = yield* bed.calls(v, H.VCPU_PUT);
      seen.flag = yield* flag(v);
      if (seen.flag === 0) return;
      bed.runs(cpu, seen.root, vmid); // a number that is used again, as it must be one day
      yield () => v.core.vcpu_configure(cpu);
      seen.read = yield () => v.core.vcpu_read(cpu, 0, 4);
    }
    function* replaces(): Part {
      seen.end = yield* bed.calls(t, H.TEARDOWN_VM, handle);
      if (seen.end !== 0) return;
      const words = [0, pfn(PARTS), pfn(PARTS + 1), pfn(PARTS + 2), 1, 0];
      seen.fresh = yield* bed.calls(t, H.INIT_VM, ...words);
      yield () => t.core.pkvm_vm(bed.machine, seen.fresh);
      const table = bed.result(t, 0);
      seen.root = yield () => t.core.pgt_root(table);
      yield raiseFlag(t);
    }
    return {
      programs: { V: runs(), T: replaces() },
      forbidden() {
        const { put, end, fresh, flag: raised, read } = seen;
        return forbidden(
          [put !== 0, `the vCPU was put with ${put}`],
          [end !== 0 && end !== EBUSY, `teardown answered ${end}`],
          [end === 0 && fresh < 0, `the next VM came to ${fresh}`],
          [
            raised === 1 && faultOf(read) !== FAULT.TRANSLATION,
            `the next VM reads ${read} where nothing is mapped`,
          ],
        );
      },
    };
  },
});

export const guestEnds: readonly Litmus[] = [
  underLoad("", false),
  underLoad("/share", true),
  underCall,
  underFault,
  endedOnce,
  vmidAgain,
];
