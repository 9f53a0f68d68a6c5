/**
 * B5: a writable-clean page that software takes away while hardware makes it dirty. What is taken away is what was there at
 * that moment, dirty state included; and no store reaches the old page once the call has returned.
 */
import type { Event } from "../../../src/explorer/event.ts";
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2Options, type VcpuOptions } from "../../../src/index.ts";
import { changesOf, wrongChange } from "./history.ts";
import { faultOf, software } from "./observe.ts";
import {
  A,
  type Answers,
  B,
  BIT,
  BLOCK,
  Bed,
  CACHE_UNLIMITED,
  COUNTER,
  FAULT,
  NO_TLB_HD,
  PAGE,
  RAM,
  VISITING,
  WITH_TLB_HD,
  agent,
  calls,
  counted,
  forbidden,
  isValid,
  isWritable,
  outputOf,
  say,
} from "./support.ts";

const WORD = 4;
const OLD = 0x10;
const NEW = 0x99;

/** What X does to page 0, and what must be there then. */
interface Change {
  readonly name: string;
  readonly title: string;
  readonly change: (core: Core, pgt: number) => number;
  readonly after: (end: bigint) => boolean;
}

type Core = Parameters<typeof software>[0]["core"];

const REMAP: Change = {
  name: "L56",
  title:
    "a store beside break-before-make to another page is recorded, and never makes the new page writable",
  change: (core, pgt) => core.s2_map(pgt, 0, PAGE, B, Prot.R, 0, CACHE_UNLIMITED),
  after: (end) => outputOf(end) === B && !isWritable(end),
};

const UNMAP: Change = {
  name: "L61",
  title: "a store beside unmap is recorded before the entry goes, and not lost with it",
  change: (core, pgt) => core.s2_unmap(pgt, 0, PAGE),
  after: (end) => end === 0n,
};

/** How the page is taken away, and by what kind of CPU it is used. */
interface Way {
  readonly suffix: string;
  readonly table: Stage2Options;
  readonly cpu: VcpuOptions;
}

const SHORT: Way = { suffix: "", table: {}, cpu: NO_TLB_HD };
const WITH_TLB: Way = { suffix: "/tlb", table: {}, cpu: WITH_TLB_HD };
const WALKED: Way = { suffix: "/walked", table: VISITING, cpu: NO_TLB_HD };

/** Number of the agent V0. */
const HARDWARE = 0;

/** V0 stores; X takes the page away, and copies it afterwards. */
function replaced(
  { name, title, change, after }: Change,
  { suffix, table, cpu }: Way,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `${name}${suffix}`,
    title,
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM },
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      bed.page(1, { pa: A + 2 * PAGE });
      const entry = bed.page(0, { prot: Prot.R, dbm: true });
      lab.name(entry, 8, "PTE");
      const a = bed.fillRam(A, OLD);
      const b = bed.fillRam(B, OLD);
      lab.name(a, WORD, "WORD OF A");
      lab.name(b, WORD, "WORD OF B");
      const copier = software(agent(agents, "X"));
      return { bed, entry, a, b, copier, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, a, b, copier, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, { store: () => v0.vcpu_write(vcpu, 0, WORD, NEW) }),
          X: calls(answers, {
            change: () => change(x, bed.pgt),
            copy: () => x.vcpu_read(copier, A, WORD),
          }),
        },
        forbidden(events: readonly Event[] = []) {
          const end = bed.entry(entry);
          const stored = bed.lab.read32(a) === NEW;
          const refused = [FAULT.PERMISSION, FAULT.TRANSLATION] as (number | undefined)[];
          const kind = faultOf(answers.store as number);
          const wrong = wrongChange(changesOf(events, entry), [HARDWARE]);
          if (wrong !== undefined) return wrong;
          return forbidden(
            [answers.change !== 0, `X's call answered ${answers.change}`],
            [!after(end), `the page is ${say(end)}`],
            [kind !== undefined && !refused.includes(kind), `V0's store answered ${answers.store}`],
            [stored !== (kind === undefined), "the word and the answer of the store disagree"],
            [
              stored && counted(bed.lab, vcpu, COUNTER.DIRTY_STAGE2) === 0,
              "V0's store is in A, and A was never dirty",
            ],
            [stored && answers.copy !== NEW, "V0's store reached A after X's call had returned"],
            [bed.lab.read32(b) !== OLD, "V0's store reached B"],
          );
        },
      };
    },
  });
}

/** L61/split: the call that shows what it took away, as it builds the pages from it. */
function split(cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `L61/split${suffix}`,
    title: "a block that becomes dirty while it is split gives dirty pages",
    agents: ["V0", "X"],
    mutants: ["split-of-the-clean-block"],
    options: { guestRam: RAM },
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.block({ prot: Prot.R, dbm: true });
      lab.name(entry, 8, "BLOCK");
      const word = bed.fillRam(A + PAGE, OLD);
      lab.name(word, WORD, "WORD");
      return { bed, word, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, word, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, { store: () => v0.vcpu_write(vcpu, PAGE, WORD, NEW) }),
          X: calls(answers, { split: () => x.s2_split(bed.pgt, 0, BLOCK, CACHE_UNLIMITED) }),
        },
        forbidden() {
          const end = bed.entry(bed.lab.entry(bed.s2, PAGE));
          const stored = bed.lab.read32(word) === NEW;
          return forbidden(
            [answers.split !== 0, `split answered ${answers.split}`],
            [!isValid(end) || outputOf(end) !== A + PAGE, `the page is ${say(end)}`],
            [(end & BIT.AF) === 0n, `the page is ${say(end)}`],
            [stored !== (answers.store === 0), "the word and the answer of the store disagree"],
            [stored && !isWritable(end), `V0's store is in memory, and the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

export const replacedPages: readonly Litmus[] = [
  replaced(REMAP, SHORT, ["hardware-plain-store", "store-before-dirty", "break-plain-store"]),
  replaced(REMAP, WITH_TLB, ["hardware-plain-store", "break-plain-store"]),
  replaced(UNMAP, SHORT, ["hardware-plain-store", "store-before-dirty", "unmap-plain-store"]),
  replaced(UNMAP, WITH_TLB, ["hardware-plain-store", "unmap-plain-store"]),
  replaced(UNMAP, WALKED, ["hardware-plain-store", "unmap-plain-store-walked"]),
  split(NO_TLB_HD, ""),
  split(WITH_TLB_HD, "/tlb"),
];
