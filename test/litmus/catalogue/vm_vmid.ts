/** B4: VMIDs. Two VMs never share a number that counts, and a number that counts again names nothing that was cached before. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { SLOT_FLAG } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { A, B, PAGE, RAM, WITH_TLB, type Agents, agent, forbidden } from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce, fine } from "./vm_bed.ts";
import { accessed, loads, met, steady, stores, worked } from "./vm_guests.ts";
import { Collector, ledger, lost } from "./vm_ledger.ts";

/** Offset of the allocator's cursor in the engine's header (assembly/layout.ts): tests come to the end of 65,000 numbers by it. */
const CURSOR = 904;
/** The last number that VMs may have is below this. */
const NO_NUMBER = 65535;

/** The next VM that needs a number finds none: a new generation begins. */
function useUpNumbers(bed: VmBed): void {
  bed.lab.write32(bed.maker.engine.handle.base + CURSOR, NO_NUMBER);
}

/** VMID of the VM: generation | number. */
function identity(bed: VmBed): number {
  bed.maker.core.vm_describe(bed.vm);
  return bed.result(bed.maker, 3);
}

const SLOT = { pages: 4 } as const;

/** Maps what is at page 0 of this VM, without a guest: the number that it gets is its own affair. */
function mapsAt(bed: VmBed, pa: number): void {
  fine("map", bed.maker.core.s2_map(bed.pgt, 0, PAGE, pa, 7, 0, 1));
}

/** Two VMs, of which the first has the first number, and its CPU in P0; no number is left. */
function lastNumber(agents: Agents, lab: ConstructorParameters<typeof VmBed>[1]) {
  const [first, second] = [0, 1].map(() => new VmBed(agents, lab, { slots: [SLOT] })) as [
    VmBed,
    VmBed,
  ];
  const guest = first.guest("P0", WITH_TLB);
  mapsAt(first, A);
  const [cpu, context] = [second.cpu("P1", WITH_TLB), second.context("P1")];
  useUpNumbers(first);
  return { first, second, guest, cpu, context };
}

/** P0 runs VM A or comes back to it, P1 loads VM B and finds no number. */
function rollover(name: string, again: boolean, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: `VMIDs roll over beside a CPU that ${again ? "loads" : "runs"} a VM: no two have one number`,
    agents: ["P0", "P1"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup: lastNumber,
    run({ first, second, guest, cpu, context }, agents) {
      const answers = { first: 0, second: 0, run: 0 };
      const p0 = agent(agents, "P0").core;
      const p1 = agent(agents, "P1").core;
      function* runs(): Part {
        if (again) {
          yield () => p0.vm_vcpu_put(guest.context);
          answers.first = yield () => p0.vm_vcpu_load(guest.context, guest.cpu);
        }
        answers.run = yield () => p0.vcpu_read(guest.cpu, 0, 4);
      }
      function* rolls(): Part {
        answers.second = yield () => p1.vm_vcpu_load(context, cpu);
      }
      return {
        programs: { P0: runs(), P1: rolls() },
        forbidden() {
          const [one, two] = [numberOf(first, guest.cpu), numberOf(second, cpu)];
          return forbidden(
            [answers.first < 0 || answers.second < 0, "loading failed"],
            [answers.run !== 0, `VM A reads ${answers.run} at its address 0`],
            [one === two, `both VMs run with VMID ${one}`],
            [one === 0 || two === 0, "a VM runs with the host's VMID"],
            [identity(first) === identity(second), "both VMs have one identity"],
          );
        },
      };
    },
  });
}

const VTTBR_EL2 = 16;

/** VMID that a CPU runs with. */
function numberOf({ lab }: VmBed, cpu: number): number {
  return Number(lab.read64(cpu + VTTBR_EL2) >> 48n);
}

/**
 * P0's TLB still has what a VM that is gone had at address 0, under the first number. VM B gets that number when P1 loads it, and P0
 * loads it, too: it must not meet what the other VM had there.
 */
const oldEntries = litmus({
  name: "L50/stale",
  title: "a number of the last generation is used again: no CPU has entries of its last owner",
  agents: ["P0", "P1"],
  mutants: ["rollover-without-flush", "rollover-flushes-too-late"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const gone = new VmBed(agents, lab, { slots: [SLOT] });
    const guest = gone.guest("P0", WITH_TLB);
    atOnce(accessed(gone, guest, loads(guest, 0), steady(B), met())); // P0's TLB has B at 0
    const p0 = agent(agents, "P0").core;
    p0.vm_vcpu_put(guest.context);
    const bed = new VmBed(agents, lab, { slots: [SLOT] });
    mapsAt(bed, A);
    const contexts = [bed.context("P0"), bed.context("P1")] as const;
    const cpu = bed.cpu("P1", WITH_TLB);
    lab.write32(bed.ram(A), 1);
    lab.write32(bed.ram(B), 2);
    useUpNumbers(bed);
    return { bed, contexts, cpus: [guest.cpu, cpu] as const };
  },
  run({ bed, contexts, cpus }, agents) {
    const seen = [NaN, NaN];
    function* runs(name: string, index: 0 | 1): Part {
      const core = agent(agents, name).core;
      const status = yield () => core.vm_vcpu_load(contexts[index], cpus[index]);
      if (status >= 0) seen[index] = yield () => core.vcpu_read(cpus[index], 0, 4);
    }
    return {
      programs: { P0: runs("P0", 0), P1: runs("P1", 1) },
      forbidden: () =>
        forbidden(
          [seen.includes(2), "a CPU read what a VM that is gone had there"],
          [seen[0] !== 1 || seen[1] !== 1, `the CPUs read ${seen.join()}`],
          [numberOf(bed, cpus[0]) !== numberOf(bed, cpus[1]), "one VM runs with two numbers"],
        ),
    };
  },
});

/** P1 loads a VM that gets a new number, and stores; X fetches its log meanwhile, with its flush. */
const flushedNumber = litmus({
  name: "L50/flush",
  title: "a VM gets another number beside get_dirty_log: the flush reaches what its CPU holds",
  agents: ["P1", "X"],
  mutants: ["new-number-not-told"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, {
      slots: [{ ...SLOT, flags: SLOT_FLAG.LOG_DIRTY_PAGES }],
    });
    const other = new VmBed(agents, lab, { slots: [SLOT] });
    const guest = bed.guest("P1", WITH_TLB);
    atOnce(accessed(bed, guest, stores(guest, 0, 1), steady(A), met()));
    const core = guest.on.core;
    core.vm_vcpu_put(guest.context);
    useUpNumbers(bed);
    other.guest("X"); // the last generation is over, and its first number taken
    return { bed, guest, collector: new Collector(bed, "X"), word: bed.ram(A) };
  },
  run({ bed, guest, collector, word }) {
    const [first, last, books] = [met(), met(), ledger()];
    const core = guest.on.core;
    function* runs(): Part {
      yield () => core.vm_vcpu_load(guest.context, guest.cpu);
      yield* accessed(bed, guest, stores(guest, 0, 2), steady(A), first);
      yield* accessed(bed, guest, stores(guest, 0, 3), steady(A), last);
    }
    return {
      programs: { P1: runs(), X: collector.round(books) },
      forbidden: () =>
        forbidden([!worked(first) || !worked(last), "a store never came to pass"]) ??
        lost(bed, books, word),
    };
  },
});

export const vmids: readonly Litmus[] = [
  rollover("L50", false, ["rollover-reserves-nothing"]),
  rollover("L50/load", true, ["active-by-plain-store"]),
  oldEntries,
  flushedNumber,
];
