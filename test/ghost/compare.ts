/** The machine against the model: records of pages, VMs, guests' leaves, CPUs. */
import { HANDLE_OFFSET, MAX_VMS, POISON } from "../../src/pkvm/_abi.ts";
import { frameOf, isValid, isYoung, pagesOf, protOf, stateOf, wordOf } from "./entry.ts";
import type { Entry, Machine } from "./machine.ts";
import { NOPAGE, type Page, type Region, SHARED_OWNED } from "./model/memory.ts";
import type { State } from "./model/state.ts";
import type { Leaf, Vm } from "./model/vm.ts";
import { ENOENT } from "./model/words.ts";

/** What differs, in words; nothing: they are the same. */
export type Difference = string | undefined;

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** First word of a page's record. */
const firstWord = ({ references, host, hyp }: Page): number =>
  (references | (host << 16) | ((hyp ^ NOPAGE) << 24)) >>> 0;

/**
 * What the records of all pages have to be, kept up with the model so that a look at all of them takes microseconds. Records of what is
 * nobody's are not looked at: no call has a way to them.
 */
export class Records {
  readonly #machine: Machine;
  readonly #state: State;
  /** By region, as the records lie in memory. */
  readonly #expected: readonly Uint32Array[];

  constructor(machine: Machine, state: State) {
    this.#machine = machine;
    this.#state = state;
    this.#expected = state.memory.regions.map(({ pages }) => new Uint32Array(2 * pages.length));
    for (const page of state.memory.pages) this.update(page);
  }

  /** A page of the model has changed. */
  update(page: Page): void {
    const { regions } = this.#state.memory;
    const index = regions.findIndex(({ first, end }) => page.pfn >= first && page.pfn < end);
    const words = this.#expected[index] as Uint32Array;
    const at = 2 * (page.pfn - (regions[index] as Region).first);
    words[at] = firstWord(page);
    words[at + 1] = page.guests;
  }

  /** One page's. */
  compareOne(page: Page): Difference {
    const words = this.#machine.u32;
    const { regions } = this.#state.memory;
    const index = regions.findIndex(({ first, end }) => page.pfn >= first && page.pfn < end);
    const { first } = regions[index] as Region;
    const at = (this.#machine.records[index] as number) / 4 + 2 * (page.pfn - first);
    const [word, guests] = [words[at] as number, words[at + 1] as number];
    const same = word === firstWord(page) && (page.host !== SHARED_OWNED || guests === page.guests);
    return same ? undefined : difference(page, word, guests);
  }

  /** Those of all pages. */
  compare(): Difference {
    const words = this.#machine.u32;
    for (let index = 0; index < this.#expected.length; index++) {
      const expected = this.#expected[index] as Uint32Array;
      const first = (this.#machine.records[index] as number) / 4;
      for (let at = 0; at < expected.length; at++) {
        if (words[first + at] === expected[at]) continue;
        const page = this.#state.memory.regions[index]?.pages[at >> 1] as Page;
        if (at % 2 === 1 && page.host !== SHARED_OWNED) continue; // no count: nobody has it lent
        return difference(
          page,
          words[first + (at & ~1)] as number,
          words[first + (at | 1)] as number,
        );
      }
    }
    return undefined;
  }
}

const difference = (page: Page, first: number, guests: number): string =>
  `record of ${hex(page.pfn)}: ${recordText(first, guests)}, expected ${pageText(page)}`;

const NAMES = ["OWNED", "SHARED_OWNED", "SHARED_BORROWED", "NOPAGE"];

function recordText(first: number, guests: number): string {
  const [host, hyp] = [(first >>> 16) & 0xff, (first >>> 24) ^ NOPAGE];
  return `host ${NAMES[host]}, hyp ${NAMES[hyp]}, ${first & 0xffff} references, ${guests} guest leaves`;
}

export function pageText(page: Page): string {
  return recordText(firstWord(page), page.guests);
}

/** A VM as its calls left it, and what its guest maps. */
export function compareVm(machine: Machine, state: State, vm: Vm): Difference {
  const report = machine.vm(vm.handle);
  if (typeof report === "number") return `VM ${hex(vm.handle)}: ${report}`;
  const expected = {
    created: vm.created,
    made: vm.vcpus.length,
    references: vm.references,
    flags: Number(vm.isProtected) | (Number(vm.isDying) << 1),
    admitted: vm.donated.length,
    inMemcaches: vm.vcpus.reduce((sum, { memcache }) => sum + memcache, 0),
    spare: vm.spare,
  };
  for (const [name, value] of Object.entries(expected)) {
    const found = report[name as keyof typeof expected];
    if (found !== value) return `VM ${hex(vm.handle)}: ${name} ${found}, expected ${value}`;
  }
  return compareVcpus(machine, vm) ?? compareLeaves(machine, state, vm, report.table);
}

function compareVcpus(machine: Machine, { handle, vcpus }: Vm): Difference {
  for (const { index, memcache, loadedOn } of vcpus) {
    const found = machine.vcpu(handle, index);
    const slot = loadedOn === undefined ? 0 : machine.slotOf(loadedOn) + 1;
    if (found.memcache !== memcache || found.slot !== slot)
      return `vCPU ${index} of ${hex(handle)}: memcache ${found.memcache}, slot ${found.slot}; expected ${memcache}, ${slot}`;
  }
  return undefined;
}

function compareLeaves(machine: Machine, state: State, vm: Vm, table: number): Difference {
  const where = `guest ${hex(vm.handle)}`;
  const entries = machine.entries(table, 2 ** state.world.paBits);
  for (const entry of entries) {
    const gfn = entry.address / 2 ** state.world.pageShift;
    if (!isValid(entry)) {
      if (wordOf(entry) !== BigInt(POISON) || !vm.poison.has(gfn))
        return `${where}, gfn ${hex(gfn)}: ${hex(wordOf(entry))}`;
      continue;
    }
    const found = leafText(leafOf(entry, gfn));
    const leaf = vm.leaves.get(gfn);
    const expected = leaf === undefined ? "nothing" : leafText(leaf);
    if (found !== expected) return `${where}: ${found}; expected ${expected}`;
  }
  const count = vm.leaves.size + vm.poison.size;
  return entries.length === count
    ? undefined
    : `${where}: ${entries.length} entries, expected ${count}`;
}

export function leafOf(entry: Entry, gfn: number): Leaf {
  const [pfn, pages] = [frameOf(entry), pagesOf(entry)];
  return { gfn, pfn, pages, prot: protOf(entry), young: isYoung(entry), state: stateOf(entry) };
}

const leafText = ({ gfn, pfn, pages, prot, young, state }: Leaf): string =>
  `gfn ${hex(gfn)} -> ${hex(pfn)}, ${pages} pages, prot ${prot}, ${young ? "young" : "old"}, ${NAMES[state]}`;

/** What each CPU has loaded, and what the host's kernel has left. */
export function compareCpus(machine: Machine, state: State): Difference {
  for (let cpu = 0; cpu < machine.cpus.length; cpu++) {
    const expected = state.loaded.get(cpu);
    const { handle, index } = machine.loaded(cpu);
    const same =
      handle === (expected?.vm.handle ?? 0) && (handle === 0 || index === expected?.vcpu.index);
    if (!same)
      return `CPU ${cpu} has loaded ${hex(handle)}, expected ${hex(expected?.vm.handle ?? 0)}`;
  }
  const left = machine.hostPagesLeft();
  const expected = state.hostFree.size;
  return left === expected ? undefined : `the host has ${left} pages left, expected ${expected}`;
}

/** Handles that nobody has. */
export function compareAbsent(machine: Machine, state: State): Difference {
  for (let handle = HANDLE_OFFSET; handle < HANDLE_OFFSET + MAX_VMS; handle++)
    if (!state.vms.has(handle) && machine.vm(handle) !== -ENOENT)
      return `there is a VM ${hex(handle)}`;
  return undefined;
}
