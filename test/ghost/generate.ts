/** Hypercalls at random, from the state that they meet: most can work, all kinds come, and some are hostile. */
import { HYPERCALL } from "../../src/pkvm/_abi.ts";
import { LIKES, NAMES, NEEDS_VCPU } from "./kinds.ts";
import { OWNED } from "./model/memory.ts";
import { type CallName, PROTECTED_CALLS as IS_NEW } from "./model/model.ts";
import type { Loaded, State } from "./model/state.ts";
import type { Words } from "./model/words.ts";
import type { Chance } from "./random.ts";
import type { Step } from "./step.ts";
import { WordSource } from "./words.ts";

const MOST_VMS = 5;
const PAGE = 12n;

export class Generator {
  readonly #chance: Chance;
  readonly #state: State;
  readonly #words: WordSource;
  readonly #cpus: number;
  /** Calls that belong together, still to come. */
  readonly #plan: Step[] = [];

  constructor(chance: Chance, state: State, cpus: number) {
    this.#chance = chance;
    this.#state = state;
    this.#cpus = cpus;
    this.#words = new WordSource(chance, state);
  }

  next(): Step {
    const planned = this.#plan.shift();
    if (planned !== undefined) return planned;
    const chance = this.#chance;
    const cpu = chance.below(this.#cpus);
    if (chance.once(60)) return this.#hostile(cpu);
    if (this.#state.vms.size < MOST_VMS && chance.once(12 * (1 + this.#state.vms.size)))
      return this.#make(cpu);
    if (chance.once(220)) return this.#end(cpu);
    const name = chance.of(NAMES);
    if (IS_NEW.has(name) && !this.#state.has("PROTECTED_GUESTS") && !chance.once(10))
      return this.next();
    return (chance.once(4) ? undefined : this.#load(cpu, name)) ?? this.#call(cpu, name);
  }

  /** The right kind of vCPU first, if the CPU has none. */
  #load(cpu: number, name: CallName): Step | undefined {
    const needs = NEEDS_VCPU[name];
    const loaded = this.#state.loaded.get(cpu);
    if (needs === undefined || loaded?.vm.isProtected === (needs === "protected")) return undefined;
    const vcpu = [...this.#state.vms.values()]
      .filter((vm) => vm.isProtected === (needs === "protected") && !vm.isDying)
      .flatMap(({ handle, vcpus }) => vcpus.map((vcpu) => ({ handle, ...vcpu })))
      .filter(({ loadedOn }) => loadedOn === undefined);
    if (vcpu.length === 0) return undefined;
    const { handle, index } = this.#chance.of(vcpu);
    const load = step(cpu, "VCPU_LOAD", [BigInt(handle), BigInt(index)]);
    if (loaded === undefined) return load;
    this.#plan.push(load);
    return step(cpu, "VCPU_PUT", []);
  }

  /** Any number, any words. */
  #hostile(cpu: number): Step {
    const { below, of } = { below: (n: number) => this.#chance.below(n), of: HYPERCALL };
    const known = Object.values(of);
    const number = this.#chance.once(2) ? below(256) : (known[below(known.length)] as number);
    return { cpu, number, args: Array.from({ length: 8 }, () => this.#words.hostile()) };
  }

  /** A VM with a vCPU or two, loaded. */
  #make(cpu: number): Step {
    const words = this.#words;
    const shared = words.free();
    const handle = this.#state.freeHandle() ?? 0;
    const flags = this.#chance.once(2) && this.#state.has("PROTECTED_GUESTS") ? 1n : 0n;
    const args = [0n, shared, words.free(), words.free(this.#state.geometry.rootPages), 2n, flags];
    this.#later(cpu, "INIT_VM", args);
    this.#later(cpu, "INIT_VCPU", [BigInt(handle), words.free()]);
    this.#later(cpu, "VCPU_LOAD", [BigInt(handle), 0n]);
    return step(cpu, "SHARE_HYP", [shared]);
  }

  /** A VM goes, once nobody has it loaded. */
  #end(cpu: number): Step {
    const handle = this.#words.handle();
    for (const [other, { vm }] of this.#state.loaded)
      if (BigInt(vm.handle) === handle) this.#later(other, "VCPU_PUT", []);
    this.#later(cpu, "TEARDOWN_VM", [handle]);
    return step(cpu, "TLB_FLUSH_VMID", [handle]);
  }

  #later(cpu: number, name: CallName, args: Words): void {
    this.#plan.push(step(cpu, name, args));
  }

  #call(cpu: number, name: CallName): Step {
    const loaded = this.#state.loaded.get(cpu);
    if (name === "SHARE_GUEST" || name === "SHARE_GUEST_PAGE")
      return this.#shareGuest(cpu, name, loaded);
    const call = step(cpu, name, this.#args(name, loaded));
    if (name !== "DONATE_GUEST" && name !== "DONATE_GUEST_PAGE") return call;
    return { ...call, memcache: this.#words.memcache(loaded?.vcpu.memcache ?? 0) };
  }

  #shareGuest(cpu: number, name: CallName, loaded: Loaded | undefined): Step {
    const words = this.#words;
    const prot = words.prot();
    const args = this.#chance.once(8)
      ? [words.block(), words.gfnBlock(), BigInt(this.#state.geometry.blockPages), prot]
      : [words.pfn(LIKES.SHARE_GUEST), words.gfn(), words.count(), prot];
    const memcache = words.memcache(loaded?.vcpu.memcache ?? 0);
    return { ...step(cpu, name, args), memcache };
  }

  #args(name: CallName, loaded: Loaded | undefined): Words {
    const words = this.#words;
    const handle = words.handle();
    const own = (): bigint => words.mappedGfn(BigInt(loaded?.vm.handle ?? 0));
    switch (name) {
      case "UNSHARE_GUEST":
      case "UNSHARE_GUEST_PAGE":
        return this.#leafOf(handle);
      case "WRPROTECT_GUEST":
        return [handle, words.mappedGfn(handle), words.count()];
      case "TEST_CLEAR_YOUNG_GUEST":
        return [handle, words.mappedGfn(handle), words.count(), BigInt(this.#chance.below(2))];
      case "RELAX_PERMS_GUEST":
        return [own(), words.prot()];
      case "MKYOUNG_GUEST":
      case "GUEST_SHARE_HOST":
      case "GUEST_UNSHARE_HOST":
        return [own()];
      case "DONATE_GUEST":
      case "DONATE_GUEST_PAGE":
        return [words.pfn(LIKES.DONATE_GUEST), words.gfn()];
      case "RECLAIM_DYING_PAGE":
      case "RECLAIM_PAGE":
        return [handle, words.mappedGfn(handle)];
      case "INIT_VCPU":
        return [handle, this.#chance.once(4) ? words.pfn() : words.free()];
      case "VCPU_LOAD":
        return [handle, BigInt(this.#chance.below(3))];
      case "INIT_VM":
        return this.#vmArguments();
      default:
        return this.#plainArgs(name, handle);
    }
  }

  #plainArgs(name: CallName, handle: bigint): Words {
    const words = this.#words;
    switch (name) {
      case "TLB_FLUSH_VMID":
      case "START_TEARDOWN":
        return [handle];
      case "UNRESERVE_VM":
        return [this.#chance.of([handle, ...[...this.#state.reserved].map(BigInt)])];
      case "TEARDOWN_VM":
        return [this.#chance.once(3) ? handle : words.hostile()];
      case "PROT_FINALIZE":
        return [BigInt(this.#chance.below(600))];
      case "HOST_ABORT":
        return [words.address()];
      case "HOST_MAP":
        return this.#hostMap();
      case "SET_OWNER":
        return [words.pfn() << PAGE, words.count() << PAGE, BigInt(this.#chance.below(4))];
      default:
        return this.#chance.once(12)
          ? [words.block(), BigInt(this.#state.geometry.blockPages)]
          : [words.pfn(LIKES[name]), words.count()];
    }
  }

  /** The leaf that is there, most of the time. */
  #leafOf(handle: bigint): Words {
    const gfn = this.#words.mappedGfn(handle);
    const leaf = this.#state.vm(handle)?.leaves.get(Number(gfn));
    const { blockPages } = this.#state.geometry;
    if (leaf === undefined || this.#chance.once(12)) return [handle, gfn, this.#words.count()];
    const pages = BigInt(this.#chance.once(8) ? 1 + blockPages - leaf.pages : leaf.pages);
    return [handle, gfn, pages];
  }

  #hostMap(): Words {
    const words = this.#words;
    const pa = words.pfn() << PAGE;
    const isMemory = this.#state.memory.regionAt(Number(pa >> PAGE)) !== undefined;
    return [pa & (2n ** 64n - 1n), words.count() << PAGE, isMemory ? 7n : 6n];
  }

  #vmArguments(): Words {
    const [chance, words] = [this.#chance, this.#words];
    const odd = chance.below(12);
    const reserved = [...this.#state.reserved].map(BigInt);
    const full = this.#state.vms.size >= 2 * MOST_VMS;
    const shared = words.page();
    return [
      odd === 0 ? words.handle() : reserved.length > 0 && chance.once(2) ? chance.of(reserved) : 0n,
      shared.host === OWNED && odd !== 1 ? words.free() : BigInt(shared.pfn),
      odd === 2 ? words.pfn() : words.free(),
      odd === 3 ? words.pfn() : words.free(this.#state.geometry.rootPages),
      full || odd === 4 ? chance.of([0n, 513n, words.hostile()]) : BigInt(1 + chance.below(4)),
      odd === 5 ? words.hostile() : BigInt(chance.below(2)),
    ];
  }
}

const step = (cpu: number, name: CallName, args: Words): Step => ({
  cpu,
  number: HYPERCALL[name],
  args: args.map((value) => value & (2n ** 64n - 1n)),
});
