/** K: a thread that ended in the middle of a call, inside a section that nobody else can leave for it. */
import { LATE, THREAD_FLAG } from "../../../src/_abi.ts";
import { type Agent, type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { Part } from "./observe.ts";
import { type Answers, BLOCK, Bed, agent, forbidden } from "./support.ts";

const ETIMEDOUT = -110;
/** Thread slots lie before the scratches, of which each thread knows its own (assembly/layout.ts). */
const SLOT = { bytes: 128, hardware: 32, walk: 36 } as const;
const SCRATCH_BYTES = 16384;
const RESULTS = 64;

function slotOf({ core, thread }: Agent): number {
  const scratches = (core.args() >>> 0) - thread * SCRATCH_BYTES;
  return scratches - (core.thread_slots() - thread) * SLOT.bytes;
}

/** X unmaps and frees a table; what D was in the middle of decides what X waits for in vain. */
function diedInside(name: string, what: string, word: number, flag: number, late: number): Litmus {
  return litmus({
    name,
    title: `a thread ended inside a ${what}: who waits for it says so, reclaiming it frees what waits`,
    agents: ["X", "D"],
    mutants: ["reclaim-leaves-sections"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true });
      bed.page(0);
      bed.leaf(9 * BLOCK, BLOCK, { pa: 0x9_0000_0000 });
      const section = slotOf(agent(agents, "D")) + word;
      const counter = lab.read32(section);
      if (counter % 2 !== 0) throw new Error("this is no counter of a section");
      lab.write32(section, counter + 1);
      return bed;
    },
    run(bed, agents) {
      const { core } = agent(agents, "X");
      const d = agent(agents, "D");
      const answers: Answers = {};
      function* unmaps(): Part {
        answers.unmap = yield () => core.s2_unmap(bed.pgt, 0, BLOCK);
        answers.patient = yield () => core.engine_quiesce();
        yield () => core.late();
        const results = (core.args() >>> 0) + RESULTS;
        [answers.who, answers.why] = [bed.lab.read32(results), bed.lab.read32(results + 16)];
        answers.waiting = yield () => core.engine_waiting();
        answers.flags = yield () => core.thread_reclaim(d.thread);
        answers.quiesce = yield () => core.engine_quiesce();
        answers.left = yield () => core.engine_waiting();
        answers.found = yield () => core.s2_lookup(bed.pgt, 0);
      }
      return {
        programs: { X: unmaps() },
        forbidden: () =>
          forbidden(
            // Walks hold up no operation, only the pages that went out of the tree.
            [answers.unmap !== (late === LATE.WALK ? 0 : ETIMEDOUT), `unmap: ${answers.unmap}`],
            [answers.patient !== ETIMEDOUT, `waiting for the page answered ${answers.patient}`],
            [answers.who !== d.thread || answers.why !== late, "somebody else is to blame"],
            [answers.waiting !== 1, `${answers.waiting} pages wait for D`],
            [answers.flags !== flag, `reclaiming answered ${answers.flags}`],
            [answers.quiesce !== 0 || answers.left !== 0, "pages still wait when D is gone"],
            [answers.found !== -1, "the page is still mapped"],
          ),
      };
    },
  });
}

export const sections: readonly Litmus[] = [
  diedInside("K7e", "hardware section", SLOT.hardware, THREAD_FLAG.HARDWARE, LATE.HARDWARE),
  diedInside("K7f", "walk section", SLOT.walk, THREAD_FLAG.WALK, LATE.WALK),
];
