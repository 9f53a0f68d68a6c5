/** The machine that hardware vectors are replayed on: their memory, and vCPUs with the features of the recorded one. */
import type { Batch, Registers, Vcpu } from "../vcpu.ts";
import { Engine, type EngineOptions } from "../engine.ts";
import {
  type Observed,
  isAddressTranslation,
  perform,
  translate,
  translationsOf,
} from "./access.ts";
import type { RegisterName, Vector } from "./format.ts";
import { RAM, VectorMemory } from "./memory.ts";

/**
 * The ways to the same answer:
 *
 *   translate   only the translation, every time by a walk
 *   batch       the same in a batch, several at a time
 *   access      the access itself, by a walk
 *   cached      the access itself, through a TLB that was empty before, with every descriptor read as an event
 */
export type Run = "translate" | "batch" | "access" | "cached";

const RUNS: readonly Run[] = ["translate", "batch", "access", "cached"];
const PERFORMING: readonly Run[] = ["access", "cached"];

/** The runs that a vector is good for: an AT instruction is executed or not, there is no other way to it. */
export function runsOf({ kind }: Vector): readonly Run[] {
  return isAddressTranslation(kind) ? PERFORMING : RUNS;
}

/** Whether a run makes the access, and does not only translate for it. */
export function performs(run: Run): boolean {
  return PERFORMING.includes(run);
}

/** Features of the recorded CPU: everything that translation knows, up to 52 bits of everything. */
const FEATURES = {
  idAa64mmfr0El1: 0x32310201126n,
  idAa64mmfr1El1: 0x11010211122n,
  idAa64mmfr2El1: 0x1021011010011011n,
} as const;

/** What that CPU does where the architecture leaves it free; the rest is our default. */
const CHOICES = { atUpdates: true, reservedMemAttr: "bits", registers: FEATURES } as const;

const EL1_REGISTERS: Readonly<Record<RegisterName, keyof Registers>> = {
  ...{ hcr: "hcrEl2", vtcr: "vtcrEl2", vttbr: "vttbrEl2" },
  ...{ sctlr: "sctlrEl1", tcr: "tcrEl1", ttbr0: "ttbr0El1", mair: "mairEl1" },
};
const EL2_REGISTERS: typeof EL1_REGISTERS = {
  ...EL1_REGISTERS,
  ...{ sctlr: "sctlrEl2", tcr: "tcrEl2", ttbr0: "ttbr0El2", mair: "mairEl2" },
};
/** Every register that a vector may set, off. */
const RESET = Object.fromEntries(
  [EL1_REGISTERS, EL2_REGISTERS].flatMap((names) => Object.values(names)).map((name) => [name, 0n]),
) as Partial<Registers>;

/** Table pages of the engine itself, below the memory of the vectors: vCPUs live there. */
const POOL = { tablePhysicalBase: 0x4000_0000, maxTablePages: 1024 } as const;
/** Enough of one address that the core works on several at a time, and has some left over. */
const BATCH = 7;

export class VectorMachine implements Disposable {
  readonly memory: VectorMemory;
  readonly #engine: Engine;
  readonly #walking: Vcpu;
  readonly #caching: Vcpu;
  readonly #batch: Batch;

  /** `options`: the build to run. */
  static async create(
    options: Pick<EngineOptions, "mode" | "module"> = {},
  ): Promise<VectorMachine> {
    const shape = { ...POOL, guestRam: RAM, maxThreads: 1, maxObjects: 8 };
    return new VectorMachine(await Engine.create({ ...shape, ...options }));
  }

  private constructor(engine: Engine) {
    this.#engine = engine;
    this.#walking = engine.vcpu(undefined, { ...CHOICES, tlb: false });
    this.#caching = engine.vcpu(undefined, { ...CHOICES, events: ["walks", "updates", "tlb"] });
    this.#batch = engine.batch(BATCH);
    this.memory = new VectorMemory(engine);
  }

  /** Plays a vector, lets `look` see what happened and the memory behind it, and clears up. */
  play<T>(vector: Vector, run: Run, look: (observed: Observed) => T): T {
    const { memory } = this;
    const touched = [...vector.memory, ...vector.dataAfter].map(({ pa }) => pa);
    memory.store(vector.memory);
    try {
      const observed = this.#run(vector, run);
      if (observed.pa !== undefined) touched.push(Number(observed.pa));
      return look(observed);
    } finally {
      for (const pa of touched) memory.restore(pa);
    }
  }

  #run(vector: Vector, run: Run): Observed {
    const vcpu = run === "cached" ? this.#caching : this.#walking;
    vcpu.setRegisters({ ...RESET, ...registersOf(vector) });
    vcpu.el = vector.el;
    switch (run) {
      case "translate":
        return translate(vcpu, vector, (pa) => this.memory.has(pa));
      case "batch":
        return this.#translateMany(vector);
      case "access":
        return perform(vcpu, vector);
      case "cached":
        return this.#cached(vector);
    }
  }

  #cached(vector: Vector): Observed {
    this.#caching.tlbi("ALLE1", { local: true });
    const observed = perform(this.#caching, vector);
    this.#engine.events.clear();
    return observed;
  }

  #translateMany({ kind, address }: Vector): Observed {
    const { addresses, results } = this.#batch;
    addresses.fill(Number(address));
    let pa = NaN;
    for (const access of translationsOf(kind)) {
      const failed = this.#walking.translateMany(this.#batch, access);
      if (failed === BATCH) return { ok: false, trapped: false };
      pa = results[0] as number;
      // Some failed, or they differ: no address is right.
      if (results.some((result) => result !== pa)) return { ok: true, trapped: false };
      if (!this.memory.has(pa)) break;
    }
    return { ok: true, trapped: false, pa: BigInt(pa) };
  }

  dispose(): void {
    this.#engine.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function registersOf({ registers, hypervisor }: Vector): Partial<Registers> {
  const names = hypervisor ? EL2_REGISTERS : EL1_REGISTERS;
  return Object.fromEntries([...registers].map(([name, value]) => [names[name], value]));
}
