/**
 * Two vCPUs that run the same guests: one with a TLB, one that always walks. As long as all that changes tables sends the
 * invalidations it owes, they agree on every access. What may differ:
 *
 *   - whether an entry of the TLB decided (`fromTlb`);
 *   - access flags: an access that hits need not set them; one that walks does. Where hardware does not manage them, a leaf
 *     that the TLB holds goes on without the fault that a walk has, until it is invalidated: {@link Subject.aged}.
 */
import { Access, Fault, type TlbShape, type Vcpu } from "../../src/index.ts";
import type { Lab } from "../support.ts";
import { type Random, Subject, generator, pick } from "./subject.ts";
import { type GuestOptions, S2 } from "./support.ts";

/** What is played. */
export interface World {
  tlb: TlbShape;
  guests: GuestOptions[];
  /** Guests have stage 1 on. */
  stage1?: boolean;
  hd?: boolean;
  /** Ranges are no whole pages. */
  odd?: boolean;
  steps: number;
}

const ACCESSES = [Access.Read, Access.Write, Access.ReadWrite, Access.Fetch];
const VTCR_HD = 1n << 22n;
const KEPT = 12;

export class Twins {
  readonly world: World;
  readonly random: Random;
  readonly tlb: Vcpu;
  readonly walking: Vcpu;
  /** Accesses, faults among them, and accesses that a TLB was behind with as it may be. */
  compared = 0;
  faults = 0;
  behind = 0;
  readonly #subjects: readonly Subject[];
  readonly #log: string[] = [];
  #current = 0;
  #asid = 1;

  constructor(here: Lab, world: World, seed: number) {
    this.world = world;
    this.random = generator(seed);
    this.#subjects = world.guests.map(
      (options, i) => new Subject(here, { offset: i * 0x50_0000, ...options }),
    );
    const { s2 } = this.subject.guest;
    const hd = world.hd ?? false;
    this.tlb = here.keep(here.engine.vcpu(s2, { tlb: world.tlb, hd }));
    this.walking = here.keep(here.engine.vcpu(s2, { tlb: false, hd }));
    if (world.stage1) {
      for (const one of this.#subjects) for (const va of one.vas) one.point(this.random, va);
    }
    this.enter(0, 1);
  }

  get vcpus(): readonly [Vcpu, Vcpu] {
    return [this.tlb, this.walking];
  }

  /** The guest that runs. */
  get subject(): Subject {
    return this.#subjects[this.#current] as Subject;
  }

  get guests(): number {
    return this.#subjects.length;
  }

  enter(guest: number, asid: number): void {
    this.#current = guest;
    this.#asid = asid;
    const running = this.subject.guest;
    const { vtcrEl2, vttbrEl2 } = running.switchTo();
    const stage1 = this.world.stage1 ? running.registers(this.#asid) : { sctlrEl1: 0n };
    const vtcr = vtcrEl2 | (this.world.hd ? VTCR_HD : 0n);
    for (const vcpu of this.vcpus) vcpu.setRegisters({ vtcrEl2: vtcr, vttbrEl2, ...stage1 });
  }

  /** Remembers what was done, for when something is wrong. */
  note(what: string): void {
    this.#log.push(what);
    if (this.#log.length > KEPT) this.#log.shift();
  }

  /** One access by each vCPU, either first. */
  access(): void {
    const { random, subject } = this;
    const access = pick(random, ACCESSES);
    const within = random(subject.page / 8) * 8;
    const page = this.world.stage1 ? pick(random, subject.vas) : subject.ipa(random);
    const va = page + (within % (this.world.stage1 ? 2 ** subject.guest.shift : subject.page));
    const ipa = this.world.stage1 ? this.walking.probe(va, Access.Read).ipa : va;
    let tlb: number | Fault;
    let walked: number | Fault;
    if (random(2) === 0) {
      tlb = this.#watched(this.tlb, va, access, ipa);
      walked = this.#watched(this.walking, va, access, ipa);
    } else {
      walked = this.#watched(this.walking, va, access, ipa);
      tlb = this.#watched(this.tlb, va, access, ipa);
    }
    this.compared++;
    if (walked instanceof Fault) this.faults++;
    if (this.#agree(tlb, walked, ipa)) return;
    const found = `${show(tlb)} instead of ${show(walked)}`;
    throw this.#failure(`access ${access} of ${va.toString(16)}: ${found}`);
  }

  #agree(tlb: number | Fault, walked: number | Fault, ipa: number | undefined): boolean {
    if (!(walked instanceof Fault)) return tlb === walked;
    if (tlb instanceof Fault && equal(tlb, walked)) return true;
    if (walked.type !== "accessFlag" || ipa === undefined) return false;
    this.behind++;
    const leaf = this.subject.guest.s2.getLeaf(ipa);
    if (leaf.kind !== "leaf" || !this.subject.aged.has(leaf.ipa)) return false;
    if (typeof tlb === "number") return tlb === leaf.pa + ipa - leaf.ipa;
    return tlb.type === "permission" && tlb.stage === 2 && tlb.fromTlb; // tested after the flag, which the entry has
  }

  /** One access, and whether it did to the stage-2 leaf what it may do. */
  #watched(vcpu: Vcpu, va: number, access: number, ipa: number | undefined): number | Fault {
    const leaf = ipa === undefined ? undefined : this.subject.leaf(ipa);
    if (leaf === undefined) return vcpu.translate(va, access);
    const before = leaf.value;
    const hits = (before & S2.AF) === 0n ? hitsOf(vcpu) : 0;
    const result = vcpu.translate(va, access);
    const after = leaf.value;
    const writes = (access & Access.Write) !== 0;
    const mayDirty = writes && this.world.hd === true && (before & S2.DBM) !== 0n;
    const allowed = result instanceof Fault ? 0n : S2.AF | (mayDirty ? S2.W : 0n);
    const wrong = (what: string) =>
      this.#failure(`${what} ${va.toString(16)}: ${before.toString(16)} ${after.toString(16)}`);
    if (((before ^ after) & ~allowed) !== 0n) throw wrong("changed by the access of");
    if (result instanceof Fault) return result;
    if (writes && (after & S2.W) === 0n) throw wrong("written, and not writable:");
    if ((after & S2.AF) !== 0n) return result;
    if (vcpu !== this.tlb || hitsOf(vcpu) === hits) throw wrong("walked, with no access flag:");
    this.behind++;
    return result;
  }

  #failure(what: string): Error {
    return new Error(`${what}, after\n${this.#log.join("\n")}`);
  }
}

function hitsOf(vcpu: Vcpu): number {
  const { hits, stage2Hits } = vcpu.statistics.tlb;
  return hits + stage2Hits;
}

const FIELDS = "fsc stage s1ptw write fetch el ipa esr far hpfar hdbssFull dirtyBit".split(" ");

function equal(a: Fault, b: Fault): boolean {
  return FIELDS.every((name) => a[name as keyof Fault] === b[name as keyof Fault]);
}

function show(result: number | Fault): string {
  return result instanceof Fault ? String(result) : result.toString(16);
}
