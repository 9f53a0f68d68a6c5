/** The machine that a script runs on: a pKVM machine, and the pages that its kernel hands out. */
import type { Engine } from "../../engine.ts";
import { Stage2Error } from "../../errors.ts";
import { inputError } from "../../input.ts";
import type { CallOptions, Pkvm } from "../../pkvm/pkvm.ts";
import type { OwnershipMap } from "../ownership/map.ts";
import { guestState, isPoison, observe } from "../ownership/observe.ts";
import type { GuestView } from "./document.ts";
import type { MachineRequest, Script } from "./syntax.ts";
import type { Line } from "./words.ts";

const RIGHTS = ["x", "w", "r"];
/** Pages that a vCPU's memcache is topped up to before its guest gets a page: one for each level of table below the root. */
const MEMCACHE = 3;
const LARGEST_HANDLE = 2 ** 31 - 1;

export class ScriptMachine {
  readonly #pkvm: Pkvm;
  /** The kernel hands pages out downwards from here. */
  #next: number;
  readonly #lowest: number;

  /** @throws Stage2Error `BAD_INPUT` at the line that describes the machine */
  static create(engine: Engine, { file, machine, machineLine }: Script): ScriptMachine {
    try {
      return new ScriptMachine(engine.pkvm(optionsOf(machine)), machine);
    } catch (error) {
      if (!(error instanceof Stage2Error)) throw error;
      const place = machineLine === undefined ? file : `${file}:${machineLine.number}:1`;
      throw inputError(place, `no such machine: ${error.message}`);
    }
  }

  private constructor(pkvm: Pkvm, { memory }: MachineRequest) {
    this.#pkvm = pkvm;
    const usable = memory.filter(({ noMap }) => !noMap).sort((a, b) => b.size - a.size);
    const { pa, size } = usable[0] ?? { pa: 0, size: 0 };
    this.#next = pa + size;
    this.#lowest = pa;
  }

  get pageSize(): number {
    return this.#pkvm.pageSize;
  }

  get pageShift(): number {
    return Math.log2(this.pageSize);
  }

  /** The vCPU that is loaded. */
  get loaded(): { readonly handle: number; readonly index: number } | undefined {
    return this.#pkvm.loaded;
  }

  /** Contiguous pages of the root of a guest's table. */
  get entryTablePages(): number {
    return this.#pkvm.entryTablePages;
  }

  observe(): OwnershipMap {
    return observe(this.#pkvm);
  }

  /** A hypercall; pages of the list that were taken leave it. */
  call(number: number, words: readonly bigint[], memcache: bigint[] = []): number {
    return this.#pkvm.hypercall(
      number,
      ...([...words, { memcache }] as [...bigint[], CallOptions]),
    );
  }

  /** Pages for the loaded vCPU's memcache, as a kernel hands them along: as many as are missing. The last is taken first. */
  memcache(): bigint[] {
    const { loaded } = this;
    if (loaded === undefined) return [];
    const has = this.#pkvm.vcpuState(loaded.handle, loaded.index)?.pages ?? MEMCACHE;
    const missing = Math.max(0, MEMCACHE - has);
    return Array.from({ length: missing }, () => this.takePages(1, undefined)).reverse();
  }

  /** Takes back what {@link memcache} gave and nobody took. */
  giveBack(pages: number): void {
    this.#next += pages * this.pageSize;
  }

  /** The first of so many free pages in a row, that the host owns. `line`: for the error if there are none. */
  takePages(count: number, line: Line | undefined): bigint {
    for (let free = 0; this.#next > this.#lowest;) {
      this.#next -= this.pageSize;
      const { host, hyp } = this.#pkvm.pageState(this.#next);
      free = host === "OWNED" && hyp === "NOPAGE" ? free + 1 : 0;
      if (free === count) return BigInt(this.#next / this.pageSize);
    }
    const message = "the host has no memory left to hand out";
    throw line?.error(message) ?? new Stage2Error("BAD_INPUT", message);
  }

  /** What a guest has at a gfn; undefined if there is no such VM, or no such address. */
  guest(handle: number, gfn: number): GuestView | undefined {
    const vm = handle <= LARGEST_HANDLE ? this.#pkvm.vmState(handle) : undefined;
    if (vm === undefined || gfn * this.pageSize >= 2 ** this.#pkvm.paBits) return undefined;
    const entry = vm.stage2.getLeaf(gfn * this.pageSize);
    if (isPoison(entry)) return { state: "POISON" };
    if (entry.kind !== "leaf") return { state: "NOPAGE" };
    const { pa, size, prot, accessed } = entry;
    const rights = RIGHTS.map((letter, i) => ((prot >> i) & 1 ? letter : "-")).reverse();
    return { state: guestState(entry), pa, size, rights: rights.join(""), accessed };
  }
}

function optionsOf({ memory, generation, granule, paBits, options }: MachineRequest) {
  return { memory, generation, granule, paBits, hostPages: null, ...options };
}
