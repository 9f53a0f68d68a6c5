/** B5: what makes no page dirty, though hardware may: loads, fetches, address translations, walks ahead. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { AT_OP } from "../../../src/_abi.ts";
import { Prot, type VcpuOptions } from "../../../src/index.ts";
import {
  A,
  ACCESS,
  type Answers,
  Bed,
  NO_TLB_HD,
  PAGE,
  STATE,
  WITH_TLB_HD,
  agent,
  calls,
  forbidden,
  isWritable,
  say,
} from "./support.ts";

/** L54: V0 reads page 0 in three ways; V1 stores to page 1 and walks ahead to page 0 or 2, both writable-clean. */
function readers(cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `L54${suffix}`,
    title: "a load, a fetch, an AT for writing and a speculative walk make nothing dirty",
    agents: ["V0", "V1", "X"],
    mutants: ["any-access-makes-dirty", "speculation-makes-dirty"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entries = [0, 2].map((n) => {
        const entry = bed.page(n, { pa: A + n * PAGE, prot: Prot.RX, young: false, dbm: true });
        lab.name(entry, 8, `PTE ${n}`);
        return entry;
      });
      bed.page(1, { pa: A + PAGE });
      const ahead = bed.vcpu("V1", { ...cpu, speculation: 2 });
      lab.write32(ahead + STATE.SPECULATE, 1); // every time
      agent(agents, "V1").core.vcpu_configure(ahead);
      lab.write64(agent(agents, "V0").core.args(), 0n);
      return { bed, entries, ahead, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entries, ahead, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: v1 } = agent(agents, "V1");
      const { core: x } = agent(agents, "X");
      const made = (): string | undefined => {
        const written = entries.map((entry) => bed.entry(entry)).find(isWritable);
        return written === undefined ? undefined : `a page that was only read is ${say(written)}`;
      };
      return {
        programs: {
          V0: calls(answers, {
            load: () => v0.vcpu_translate(vcpu, 0, ACCESS.READ),
            fetch: () => v0.vcpu_translate(vcpu, 0, ACCESS.FETCH),
            at: () => v0.vcpu_at(vcpu, AT_OP.S12E1W),
          }),
          V1: calls(answers, { store: () => v1.vcpu_translate(ahead, PAGE, ACCESS.WRITE) }),
          X: calls(answers, { young: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 1) }),
        },
        invariant: made,
        forbidden: () =>
          made() ??
          forbidden(
            [answers.load !== A, `V0's load answered ${answers.load}`],
            [answers.fetch !== A, `V0's fetch answered ${answers.fetch}`],
            [answers.at !== 0, `V0's AT answered ${answers.at}`],
            [answers.store !== A + PAGE, `V1's store answered ${answers.store}`],
          ),
      };
    },
  });
}

export const dirtyReaders: readonly Litmus[] = [
  readers(NO_TLB_HD, ""),
  readers(WITH_TLB_HD, "/tlb"),
];
