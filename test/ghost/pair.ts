/** A machine and the model of it, in step: every call is made on both, and what they answer and hold is compared. */
import type { Engine } from "../../src/engine.ts";
import { HYPERCALL } from "../../src/pkvm/_abi.ts";
import {
  type Difference,
  compareAbsent,
  compareCpus,
  Records,
  compareVm,
  pageText,
} from "./compare.ts";
import { compareHost, compareHypTable, comparePage } from "./compare_tables.ts";
import { isValid } from "./entry.ts";
import { Machine } from "./machine.ts";
import { violation } from "./model/conservation.ts";
import { takeBack } from "./model/lifecycle.ts";
import type { Page } from "./model/memory.ts";
import { Model, type Rules } from "./model/model.ts";
import type { State } from "./model/state.ts";
import type { Vm } from "./model/vm.ts";
import { EAGAIN, EEXIST, below, word } from "./model/words.ts";
import { type Step, mayCall } from "./step.ts";
import type { World } from "./world.ts";

/** How often everything is compared, in calls; in between it is what a call names or changes. */
const FULL_EVERY = 64;
const RECORDS_EVERY = 8;

/** Pages that are looked up in both tables after a call. */
const MOST_PAGES = 16;

export interface Outcome {
  /** What the machine answered; undefined: the call was not made. */
  readonly result: number | undefined;
  readonly difference: Difference;
}

export interface PairOptions {
  readonly rules?: Rules | undefined;
  readonly thorough?: boolean;
}

export class Pair {
  readonly machine: Machine;
  readonly model: Model;
  readonly #pool: number;
  readonly #records: Records;
  #calls = 0;

  readonly #thorough: boolean;

  /** `thorough`: compares the records of all pages after every call, not after a few. */
  constructor(cpus: readonly Engine[], world: World, { rules, thorough = true }: PairOptions = {}) {
    this.#thorough = thorough;
    this.#pool = (cpus[0] as Engine).memoryUsage().used;
    this.machine = new Machine(cpus, world);
    this.model = new Model(world, rules);
    this.#records = new Records(this.machine, this.model.state);
  }

  get state(): State {
    return this.model.state;
  }

  step(step: Step): Outcome {
    if (!mayCall(this.state, step)) return { result: undefined, difference: undefined };
    const before = this.#mappedBefore(step);
    const named = new Set(this.#named(step));
    const { cpu, number, args, memcache } = step;
    const expected = this.model.call(number, { cpu, args, memcache });
    const result = this.machine.call(cpu, number, args, memcache);
    const difference =
      this.#compareResult(step, expected, result, before) ??
      this.#compareNear(cpu, named) ??
      (++this.#calls % FULL_EVERY === 0 ? this.compareAll() : undefined);
    return { result, difference };
  }

  /** Everything that the machine holds, and the laws that hold for it. */
  compareAll(): Difference {
    const { machine, state } = this;
    this.#updateRecords();
    let difference =
      this.#records.compare() ??
      compareHost(machine, state) ??
      compareHypTable(machine, state) ??
      compareCpus(machine, state) ??
      compareAbsent(machine, state);
    for (const vm of state.vms.values()) difference ??= compareVm(machine, state, vm);
    return difference ?? violation(holdings(state));
  }

  /** A page that the host's kernel hands out, and takes back. */
  takeHostPage(): number {
    const pfn = this.machine.takeHostPage();
    if (!this.state.hostFree.delete(pfn)) throw new Error(`the host has no page ${pfn} to give`);
    return pfn;
  }

  giveHostPage(pfn: number): void {
    this.machine.giveHostPage(pfn);
    takeBack(this.state, pfn);
  }

  /** Ends all VMs and the machine: nothing is left. */
  end(): Difference {
    const { machine, state } = this;
    for (const step of this.endingSteps()) {
      const { difference } = this.step(step);
      if (difference !== undefined) return `${difference} (at the end)`;
    }
    const lent = state.memory.pages.find(({ guests, host }) => host === 1 && guests > 0);
    if (lent !== undefined) return `no VM is left, but ${pageText(lent)}`;
    const difference = this.compareAll();
    if (difference !== undefined) return difference;
    const status = machine.destroy();
    if (status !== 0) return `the machine does not end: ${status}`;
    const left = (machine.cpus[0] as Engine).memoryUsage().used - this.#pool;
    return left === 0 ? undefined : `${left} table pages are left`;
  }

  /** Puts every vCPU, tears every VM down. */
  endingSteps(): Step[] {
    const put = [...this.state.loaded.keys()].map((cpu) => ({
      cpu,
      number: HYPERCALL.VCPU_PUT,
      args: [],
    }));
    const end = [...this.state.vms.keys()].map((handle) => ({
      cpu: 0,
      number: HYPERCALL.TEARDOWN_VM,
      args: [BigInt(handle)],
    }));
    return [...put, ...end];
  }

  #compareResult(step: Step, expected: number, result: number, before: boolean): Difference {
    const { number, cpu } = step;
    if (number === HYPERCALL.HOST_MAP && before) {
      if (isMappedAlready(result)) return undefined;
      if (result === 0) return "maps what was mapped";
    }
    if (result !== expected) return `answers ${result}, expected ${expected}`;
    if (number !== HYPERCALL.HOST_ABORT) return undefined;
    const told = this.machine.told(cpu) !== 0;
    if (result === 0 && told !== before) return `says ${told ? "" : "not "}mapped before`;
    if (result < 0 && expected === -1 && told !== this.state.has("INJECT_HOST_ABORTS"))
      return `says ${told ? "" : "not "}to inject`;
    return result === 0 && !this.#isMapped(word(step.args, 0))
      ? "is not mapped after the abort"
      : undefined;
  }

  /** Records of all pages, tables of those that the call named or changed, and the VMs that it may have met. */
  #compareNear(cpu: number, named: Set<Page | Vm>): Difference {
    const { machine, state } = this;
    const loaded = state.loaded.get(cpu)?.vm;
    if (loaded !== undefined) named.add(loaded);
    for (const page of some(state.memory.changed)) named.add(page);
    this.#updateRecords();
    let difference =
      this.#calls % RECORDS_EVERY === 0 || this.#thorough ? this.#records.compare() : undefined;
    for (const what of named) {
      if ("pfn" in what)
        difference ??= this.#records.compareOne(what) ?? comparePage(machine, state, what);
      else if (state.vms.get(what.handle) === what) difference ??= compareVm(machine, state, what);
    }
    return difference;
  }

  #updateRecords(): void {
    const { changed } = this.state.memory;
    for (const page of changed) this.#records.update(page);
    changed.clear();
  }

  /** Pages and VMs that the arguments name, read as page frames, addresses and handles alike. */
  *#named({ args }: Step): Generator<Page | Vm> {
    for (const value of args) {
      const vm = this.state.vm(value);
      if (vm !== undefined) yield vm;
      for (const frame of [value, value >> BigInt(this.state.world.pageShift)]) {
        const page = this.state.memory.page(below(frame, this.state.memory.frames) ?? -1);
        if (page !== undefined) yield page;
      }
    }
  }

  /** Whether the host had anything there that the call is about. */
  #mappedBefore({ number, args }: Step): boolean {
    if (number === HYPERCALL.HOST_ABORT) return this.#isMapped(word(args, 0));
    if (number !== HYPERCALL.HOST_MAP) return false;
    const page = 1n << BigInt(this.state.world.pageShift);
    const [pa, end] = [word(args, 0), word(args, 0) + word(args, 1)];
    for (let at = pa; at < end && at - pa <= 4n << 20n; at += page)
      if (this.#isMapped(at)) return true;
    return false;
  }

  #isMapped(pa: bigint): boolean {
    const address = below(pa, 2 ** this.state.world.paBits);
    if (address === undefined) return false;
    return isValid(this.machine.entry(this.machine.host, address));
  }
}

/** What was mapped may be found before or behind what is another's: both are right. */
const isMappedAlready = (result: number): boolean => result === -EAGAIN || result === -EEXIST;

/** All of a few; of many the first, the last and some between. */
function some(pages: ReadonlySet<Page>): readonly Page[] {
  const all = [...pages];
  const step = Math.ceil(all.length / MOST_PAGES);
  return all.filter((_, index) => index % step === 0 || index === all.length - 1);
}

function holdings(state: State) {
  const leaves = [...state.vms.values()].flatMap((vm) => [...vm.leaves.values()]);
  return { pages: state.memory.pages, leaves };
}
