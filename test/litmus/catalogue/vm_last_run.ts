/** B4: two vCPUs of one VM take turns on a CPU. They may use one ASID for two address spaces, so what was cached for one goes. */
import { STATE } from "../../../src/_abi.ts";
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { Part } from "./observe.ts";
import { A, B, PAGE, RAM, WITH_TLB, agent, forbidden } from "./support.ts";
import { TABLE_PAGES, VmBed, fine } from "./vm_bed.ts";

const VA = PAGE;
/** Guest pages (IPA = page * PAGE, PA = A + IPA): two of data, then the tables of either vCPU. */
const TABLES = [2, 4] as const;

// Stage 1: 25 bits of address, 4 KiB pages: 16 entries of level 2, then a table of level 3.
const TABLE = 0b11n;
const PAGE_RW = 0b11n | (1n << 10n) | (1n << 11n); // access flag, not global
const TCR = 39n | (1n << 23n) | (2n << 32n) | (1n << 36n); // T0SZ, no high half, 40 bits, 16-bit ASIDs
const ASID = 5n << 48n;
const MAIR_NORMAL = 0xffn;
const MMU_ON = 1n;

/** Writes tables that map VA to this page. */
function mapStage1(bed: VmBed, table: number, page: number): bigint {
  const at = (n: number): number => bed.ram(A + n * PAGE);
  bed.lab.write64(at(table), BigInt((table + 1) * PAGE) | TABLE);
  bed.lab.write64(at(table + 1) + (VA / PAGE) * 8, BigInt(page * PAGE) | PAGE_RW);
  return BigInt(table * PAGE) | ASID;
}

const takingTurns = litmus({
  name: "L51",
  title: "two vCPUs with one ASID take turns on a CPU: neither meets the other's translations",
  agents: ["P", "X"],
  mutants: ["last-run-unchecked"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [{ pages: 8 }] });
    const on = agent(agents, "P");
    fine("map", on.core.s2_map(bed.pgt, 0, 8 * PAGE, A, 7, 0, 1));
    const cpu = bed.cpu("P", WITH_TLB);
    const contexts = [bed.context("P"), bed.context("P")] as const;
    const roots = TABLES.map((table, page) => mapStage1(bed, table, page)) as [bigint, bigint];
    for (const [at, value] of [
      [STATE.TCR_EL1, TCR],
      [STATE.MAIR_EL1, MAIR_NORMAL],
      [STATE.SCTLR_EL1, MMU_ON],
    ] as const)
      lab.write64(cpu + at, value);
    lab.write32(bed.ram(A), 1);
    lab.write32(bed.ram(B), 2);
    return { bed, cpu, contexts, roots };
  },
  run({ bed, cpu, contexts, roots }, agents) {
    const { core } = agent(agents, "P");
    const p = agent(agents, "P").core;
    const x = agent(agents, "X").core;
    const seen: number[] = [];
    function* runs(index: 0 | 1): Part {
      yield () => p.vm_vcpu_load(contexts[index], cpu);
      bed.lab.write64(cpu + STATE.TTBR0_EL1, roots[index]);
      yield () => core.vcpu_configure(cpu);
      seen.push(yield () => core.vcpu_read(cpu, VA, 4));
      yield () => p.vm_vcpu_put(contexts[index]);
    }
    function* takesTurns(): Part {
      for (const index of [0, 1, 0] as const) yield* runs(index);
    }
    function* flushes(): Part {
      yield () => x.vm_flush_tlb(bed.vm, 0, PAGE);
    }
    return {
      programs: { P: takesTurns(), X: flushes() },
      forbidden: () =>
        forbidden([seen.join() !== "1,2,1", `the two read ${seen.join()} in place of 1,2,1`]),
    };
  },
});

export const lastRun: readonly Litmus[] = [takingTurns];
