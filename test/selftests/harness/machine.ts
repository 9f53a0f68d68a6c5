/**
 * A machine of the self-tests: an engine with memory for guests. `scene()` makes a fresh VM on it with its host memory,
 * and `finish()` judges what happened: no rule of live translations broken, no table page left.
 */
import { expect } from "vitest";
import { Checker } from "../../../src/checker/checker.ts";
import {
  type AreaRequest,
  Engine,
  GuestMemory,
  type GuestMemoryOptions,
  type Mode,
  type VcpuOptions,
  type Vm,
  type VmOptions,
} from "../../../src/index.ts";
import { makeVm } from "../../vm/kind.ts";
import { type Configuration, cpuOptions, stage2Options } from "./configurations.ts";
import { Guest, type GuestOptions } from "./guest.ts";
import { type GuestWords, Stage1 } from "./stage1.ts";

/** Physical address of the host's page frames. */
const FRAMES = 0x8000_0000;
/** Where the host maps slots: addresses of a user process. */
const FIRST_HVA = 0x7000_0000_0000;
/** Bytes of host address space that a slot is given at least: more than the largest block, whose multiples slots lie at. */
const HVA_STEP = 2 ** 33;

export interface MachineOptions {
  /** Page frames of the host. */
  readonly frames: number;
  readonly mode?: Mode;
  /** Pages that the host can map at a time. Default 65,536. */
  readonly mappablePages?: number;
  /** Event records until they are judged: as many as one scene makes. 0: nothing is judged. Default 4,096. */
  readonly events?: number;
  readonly maxTablePages?: number;
  readonly maxThreads?: number;
}

/** A slot with the host's memory behind it. */
export interface Place {
  readonly slot: number;
  readonly ipa: number;
  readonly size: number;
  readonly hva: number;
}

/** Kind of host memory; of hugetlb the size of its pages. */
export type HostKind = Pick<AreaRequest, "kind" | "pageSize">;

/** A slot as it is asked for. */
export interface PlaceRequest {
  readonly slot: number;
  readonly ipa: number;
  readonly size: number;
  readonly flags?: number;
  /** Host memory that {@link Scene.mapHost} made. Missing: memory of its own, of this kind. */
  readonly hva?: number;
  readonly memory?: HostKind;
}

/** A vCPU of a scene. */
export interface SceneGuestOptions extends GuestOptions {
  /** Its MMU is on, with these tables. */
  readonly stage1?: Stage1;
  /** Default: how many there are already. */
  readonly id?: number;
  /** A CPU other than the machine's. */
  readonly cpu?: VcpuOptions;
}

const MAPPABLE = 65_536;
const WATCHED = ["walks", "updates", "tlb"] as const;

/** One engine; scenes come one after the other. */
export class Machine {
  readonly configuration: Configuration;
  readonly engine: Engine;
  readonly #options: MachineOptions;

  static async open(configuration: Configuration, options: MachineOptions): Promise<Machine> {
    const {
      frames,
      mode = "threads",
      events = 4096,
      maxTablePages = 4096,
      maxThreads = 4,
    } = options;
    const engine = await Engine.create({
      ...{ mode, maxTablePages, maxThreads, maxObjects: 64 },
      eventCapacity: Math.max(events, 64),
      guestRam: { pa: FRAMES, size: frames * configuration.page },
    });
    return new Machine(configuration, engine, { ...options, events });
  }

  private constructor(configuration: Configuration, engine: Engine, options: MachineOptions) {
    this.configuration = configuration;
    this.engine = engine;
    this.#options = options;
  }

  /** A fresh VM without slots. */
  scene(options: Partial<VmOptions> = {}): Scene {
    const { frames, events = 0, mappablePages = MAPPABLE } = this.#options;
    const { granule, page } = this.configuration;
    const memory = { pa: FRAMES, size: frames * page, granule, mappablePages };
    const parts = { memory, frames: memory.size, judged: events > 0 };
    return new Scene(this, parts, options);
  }

  close(): void {
    this.engine.dispose();
  }
}

/** A VM, its host memory, its vCPUs. */
export class Scene {
  readonly machine: Configuration;
  readonly engine: Engine;
  readonly host: GuestMemory;
  readonly vm: Vm;
  /** One byte beyond the guest's physical address space. */
  readonly limit: number;
  readonly #checker: Checker | undefined;
  readonly #places = new Map<number, Place>();
  readonly #guests: Guest[] = [];
  #nextHva = FIRST_HVA;

  constructor(
    machine: Machine,
    { memory, frames, judged }: { memory: GuestMemoryOptions; frames: number; judged: boolean },
    options: Partial<VmOptions>,
  ) {
    const { configuration, engine } = machine;
    this.machine = configuration;
    this.engine = engine;
    this.limit = 2 ** configuration.ipaBits;
    this.host = GuestMemory.create(engine, memory);
    const events = judged ? { events: Checker.EVENTS } : {};
    const given = { ...stage2Options(configuration), ...events, memory: this.host, ...options };
    this.vm = makeVm(engine, given, { pa: FRAMES, size: frames });
    this.host.addVm(this.vm);
    this.#checker = judged ? new Checker() : undefined;
  }

  /** Makes a slot. */
  addSlot({ slot, ipa, size, flags = 0, memory, ...request }: PlaceRequest): Place {
    const hva = request.hva ?? this.mapHost(ipa, size, memory);
    this.vm.setMemslot({ slot, ipa, size, hva, flags });
    const place = { slot, ipa, size, hva };
    this.#places.set(slot, place);
    return place;
  }

  /** Maps host memory at an address that has the same place in blocks of every size as the IPA. */
  mapHost(ipa: number, size: number, memory: HostKind = {}): number {
    const hva = this.#nextHva + (ipa % HVA_STEP);
    this.#nextHva += Math.ceil((size + HVA_STEP) / HVA_STEP) * HVA_STEP;
    this.host.map({ hva, size, ...memory });
    return hva;
  }

  /** The host address behind an IPA of a slot that {@link addSlot} made. */
  hvaOf(ipa: number): number {
    for (const place of this.#places.values()) {
      if (ipa >= place.ipa && ipa < place.ipa + place.size) return place.hva + (ipa - place.ipa);
    }
    throw new Error(`no slot at IPA ${ipa.toString(16)}`);
  }

  /** Guest memory by IPA, as the host accesses it. */
  readonly words: GuestWords = {
    get: (ipa) => {
      const word = new BigUint64Array(1);
      this.#hostMust(ipa, this.host.read(this.hvaOf(ipa), new Uint8Array(word.buffer)));
      return word[0] as bigint;
    },
    set: (ipa, value) => {
      const word = BigUint64Array.of(value);
      this.#hostMust(ipa, this.host.write(this.hvaOf(ipa), new Uint8Array(word.buffer)));
    },
  };

  /** A vCPU; with tables its MMU is on. */
  guest(options: SceneGuestOptions = {}): Guest {
    const { stage1, cpu, id = this.#guests.length } = options;
    const watched = this.#checker === undefined ? {} : { checker: true, events: WATCHED };
    const vcpu = this.vm.createVcpu({ id, ...cpuOptions(this.machine), ...watched, ...cpu });
    if (stage1 !== undefined) vcpu.cpu.setRegisters(stage1.registers());
    const guest = new Guest(vcpu, options);
    if (this.#guests.push(guest) === 1) this.#watch();
    return guest;
  }

  /** From now on changes of the tables are judged: the VM has its VMID, which invalidations name. */
  #watch(): void {
    this.engine.events.clear();
    this.#checker?.watch(this.vm.stage2);
  }

  /** Tables for a guest, in the memory [ipa, end). */
  stage1(place: { ipa: number; end: number }): Stage1 {
    return new Stage1(this.words, this.machine, place);
  }

  /** Ends the VM. What its stage 2 did meanwhile must have been right, and nothing of it may be left. */
  finish(): void {
    const violations = this.#judged();
    this.#dispose();
    violations.push(...this.#judged());
    this.engine.events.clear();
    this.engine.quiesce();
    expect(violations, "rules that were broken").toEqual([]);
    expect(this.engine.memoryUsage().used, "table pages that outlived the VM").toBe(0);
    this.host.release();
    expect(this.host.counters.framesUsed, "page frames that outlived their areas").toBe(0);
    this.host.dispose();
  }

  /** Ends the VM of a test that has failed. */
  abandon(): void {
    this.#dispose();
    this.host.dispose();
    this.engine.events.clear();
  }

  #hostMust(ipa: number, done: boolean | Promise<boolean>): void {
    if (done !== true) throw new Error(`the host cannot access IPA ${ipa.toString(16)}`);
  }

  #dispose(): void {
    for (const guest of this.#guests) guest.vcpu.dispose();
    this.host.removeVm(this.vm);
    this.vm.dispose();
  }

  #judged(): string[] {
    const checker = this.#checker;
    if (checker === undefined) return [];
    const found = [...checker.drain(this.engine), ...checker.settle()].map(String);
    if (checker.lost > 0) found.push(`${checker.lost} events were lost`);
    return found;
  }
}
