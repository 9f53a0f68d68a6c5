/**
 * B7: values that change and come back (ABA) between a read and the exchange that goes by it. On an entry that is harmless: the
 * exchange compares all 64 bits, so what it changes has the rights that the walk decided on. On guest memory it is not, and
 * the strict monitor sees it.
 */
import { WALK } from "../../../src/_abi.ts";
import type { Event } from "../../../src/explorer/event.ts";
import { type Litmus, type Program, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type VcpuOptions } from "../../../src/index.ts";
import { changesOf, wrongChange } from "./history.ts";
import { faultOf } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  B,
  BIT,
  Bed,
  CACHE_UNLIMITED,
  FAULT,
  NO_TLB,
  OP,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  flagsSet,
  forbidden,
  isWritable,
  isYoung,
  say,
} from "./support.ts";

/** Number of the agent V0. */
const HARDWARE = 1;

/** E6: an old, writable page goes to B and comes back with these rights, and old; without a TLBI, so nobody waits for V0. */
function remap(prot: number, cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `E6${suffix}`,
    title:
      "an entry goes and comes back under a walk: the flag lands only on the rights that the walk decided on",
    agents: ["X", "V0"],
    mutants: prot === Prot.R ? ["hardware-compares-address"] : ["hardware-plain-store"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { young: false });
      lab.name(entry, 8, "PTE");
      return { bed, entry, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, vcpu }, agents) {
      const answers: Answers = {};
      const { core: x } = agent(agents, "X");
      const { core: v0 } = agent(agents, "V0");
      const map = (pa: number) => () =>
        x.s2_map(bed.pgt, 0, PAGE, pa, prot, WALK.SKIP_BBM_TLBI, CACHE_UNLIMITED);
      return {
        programs: {
          X: calls(answers, {
            away: map(B),
            back: map(A),
            young: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 1),
          }),
          V0: calls(answers, { store: () => v0.vcpu_translate(vcpu, 0, ACCESS.WRITE) }),
        },
        forbidden(events: readonly Event[] = []) {
          const end = bed.entry(entry);
          const { store, young, away, back } = answers as Record<string, number>;
          const places = prot === Prot.RW ? [A, B] : [A];
          const refused =
            prot === Prot.RW ? [FAULT.TRANSLATION] : [FAULT.TRANSLATION, FAULT.PERMISSION];
          const wrong = wrongChange(changesOf(events, entry), [HARDWARE]);
          if (wrong !== undefined) return wrong;
          return forbidden(
            [away !== 0 || back !== 0, "X's maps failed"],
            [
              !places.includes(store as number) &&
                !refused.some((kind) => kind === faultOf(store as number)),
              `V0's store answered ${store}`,
            ],
            [
              isWritable(end) !== (prot === Prot.RW),
              `X mapped it again, and the page is ${say(end)}`,
            ],
            [young !== 1, "map leaves a page young, and aging did not say so"],
            [flagsSet(bed.lab, vcpu) === 0 && isYoung(end), `a flag from nowhere: ${say(end)}`],
            [
              prot === Prot.R && isYoung(end),
              `hardware found ${say(end & ~BIT.AF)}, which it may not store to, and left ${say(end)}`,
            ],
          );
        },
      };
    },
  });
}

const WORD = 4;
const VALUE = 0x77;

/** E6/monitor: between V0's load-exclusive and store-exclusive, V1 stores another value and then the first one again. */
const exclusives = litmus({
  name: "E6/monitor",
  title: "the strict monitor: a store-exclusive fails after stores that brought the old value back",
  agents: ["V0", "V1"],
  mutants: ["monitor-by-value"],
  options: { guestRam: RAM },
  setup(agents, lab) {
    const bed = new Bed(agents, lab);
    bed.page(0);
    const word = bed.fillRam(A, 0);
    lab.name(word, WORD, "WORD");
    const arguments_ = agent(agents, "V0").core.args();
    lab.write64(arguments_, 0n); // the address
    lab.write64(arguments_ + 8, BigInt(VALUE));
    const strict: VcpuOptions = { ...NO_TLB, strictMonitor: true };
    return {
      bed,
      results: arguments_ + 64,
      first: bed.vcpu("V0", strict),
      second: bed.vcpu("V1", strict),
    };
  },
  run({ bed, results, first, second }, agents) {
    const answers: Answers = {};
    const { core: v0 } = agent(agents, "V0");
    const { core: v1 } = agent(agents, "V1");
    let loaded = -1;
    let between = -1;
    let failed = -1;
    function* exclusive(): Program {
      yield () => v0.vcpu_access(first, OP.LDXR, WORD, 0);
      loaded = bed.lab.read32(results);
      between = yield () => v0.vcpu_read(first, 0, WORD);
      yield () => v0.vcpu_access(first, OP.STXR, WORD, 0);
      failed = bed.lab.read32(results);
    }
    return {
      programs: {
        V0: exclusive(),
        V1: calls(answers, {
          away: () => v1.vcpu_write(second, 0, WORD, 1),
          back: () => v1.vcpu_write(second, 0, WORD, 0),
        }),
      },
      forbidden: () =>
        forbidden(
          [answers.away !== 0 || answers.back !== 0, "V1's stores failed"],
          [failed !== 0 && failed !== 1, `the store-exclusive answered ${failed}`],
          [
            loaded === 0 && between === 1 && failed === 0,
            "V1 stored between load-exclusive and store-exclusive, which succeeded",
          ],
          [loaded === 1 && between === 0 && failed === 0, "V1 stored in between, and it succeeded"],
        ),
    };
  },
});

export const comesBack: readonly Litmus[] = [
  remap(Prot.R, NO_TLB, ""),
  remap(Prot.R, WITH_TLB, "/tlb"),
  remap(Prot.RW, NO_TLB, "/same"),
  exclusives,
];
