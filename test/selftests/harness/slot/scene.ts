/**
 * One slot at the top of the guest's memory, what is behind it, and vCPUs with it: what most of the ports start from. Memory is
 * page states alone unless bytes are asked for.
 */
import { expect } from "vitest";
import {
  Checker,
  Engine,
  GuestMemory,
  type Mode,
  Stage2Error,
  type Vm,
  type VmEventGroup,
  type VmOptions,
  type VmVcpu,
} from "../../../../src/index.ts";
import { type Frames, makeVm } from "../../../vm/kind.ts";
import { type Configuration, cpuOptions, stage2Options } from "../configurations.ts";
import { machineOf } from "./machines.ts";
import { Tally } from "./tally.ts";
import type { Turns } from "./turns.ts";

/** Bytes of the leaves that KVM maps: page, and block of the next level; with 4K also that above it. */
export const SIZES = {
  "4K": { page: 2 ** 12, pmd: 2 ** 21, pud: 2 ** 30 },
  "16K": { page: 2 ** 14, pmd: 2 ** 25, pud: undefined },
  "64K": { page: 2 ** 16, pmd: 2 ** 29, pud: undefined },
} as const;

export interface SceneOptions {
  readonly mode?: Mode;
  /** Default: 4K, 40 bits, hardware access flag, a large TLB. */
  readonly machine?: Configuration;
  /** Hardware manages dirty state, and tells of it (HDBSS). */
  readonly hd?: boolean;
  readonly vcpus?: number;
  /** Bytes of the slot. */
  readonly size: number;
  /** First IPA; default: the slot ends where the IPA space does. */
  readonly ipa?: number;
  /** Backing: kind of the mapping, page size of a hugetlb one. */
  readonly kind: "anonymous" | "thp" | "hugetlb" | "file";
  readonly pageSize?: number;
  /** So many bytes of memory for loads and stores to move. Default: page frames are states alone. */
  readonly bytes?: number;
  /** Bytes of page frames that are states alone. Default: as the slot, in whole huge pages, and two more. */
  readonly memory?: number;
  /** The hva and the IPA differ by this many bytes modulo the largest block. Default 0. */
  readonly skew?: number;
  /** Flags that the slot is created with. */
  readonly flags?: number;
  /** Guests take turns by these, in the middle of faults. */
  readonly turns?: Turns;
  /** Every change of the tables is judged by the checker. Default true. */
  readonly judged?: boolean;
  readonly vmEvents?: readonly VmEventGroup[];
  /** Called before the slot is made: for capabilities. */
  readonly prepare?: (vm: Vm) => void;
}

export const SLOT = 3;
const DEFAULT = machineOf("4K");
const FRAMES_AT = 0x40_0000_0000;
/** As small as a buffer can be. */
export const HDBSS_ENTRIES = 512;
const BANK_AT = 0x8000_0000;
const HVA = 0x3e00_0000_0000;

export class Scene implements Disposable {
  readonly engine: Engine;
  readonly ram: GuestMemory;
  readonly vm: Vm;
  readonly vcpus: readonly VmVcpu[];
  readonly tally: Tally;
  readonly page: number;
  readonly pmd: number;
  readonly ipa: number;
  readonly hva: number;
  readonly size: number;

  private constructor(engine: Engine, options: SceneOptions) {
    const { machine = DEFAULT, size, kind, pageSize, turns, judged = true } = options;
    this.engine = engine;
    this.page = machine.page;
    this.pmd = SIZES[machine.granule].pmd;
    this.size = size;
    this.ipa = options.ipa ?? 2 ** machine.ipaBits - size;
    this.hva = HVA + (this.ipa % 2 ** 30) + (options.skew ?? 0);
    const unit = pageSize ?? (kind === "thp" ? this.pmd : this.page);
    const area = wholeUnits(this.hva, size, unit);
    const frames = framesOf(options, area.size, unit);
    this.ram = memoryOf(engine, options, frames);
    this.ram.map({ ...area, kind, ...(pageSize === undefined ? {} : { pageSize }) });
    const given: VmOptions = {
      ...stage2Options(machine),
      memory: turns === undefined ? this.ram : turns.slow(this.ram),
      events: judged ? Checker.EVENTS : ["tables", "maintenance"],
      vmEvents: options.vmEvents ?? ["map", "range", "slot"],
    };
    this.vm = makeVm(engine, given, frames);
    this.ram.addVm(this.vm);
    options.prepare?.(this.vm);
    this.setSlot(options.flags ?? 0);
    const cpu = { ...cpuOptions(machine), ...(options.hd === true ? { hafdbs: 4 } : {}) };
    this.vcpus = Array.from({ length: options.vcpus ?? 1 }, (_, id) =>
      this.vm.createVcpu({ id, checker: true, ...cpu }),
    );
    if (options.hd === true) for (const vcpu of this.vcpus) vcpu.setHdbssBuffer(HDBSS_ENTRIES);
    const checker = judged ? new Checker() : undefined;
    this.engine.events.clear();
    checker?.watch(this.vm.stage2); // it has its VMID by now
    this.tally = new Tally(this.engine, checker);
  }

  static async create(options: SceneOptions): Promise<Scene> {
    const engine = await Engine.create({
      ...(options.mode === undefined ? {} : { mode: options.mode }),
      maxTablePages: 8192,
      eventCapacity: 2 ** 17,
      ...(options.bytes === undefined ? {} : { guestRam: { pa: BANK_AT, size: options.bytes } }),
    });
    return new Scene(engine, options);
  }

  /** The slot with these flags: made, or changed. */
  setSlot(flags: number): string {
    const { ipa, size, hva } = this;
    return this.vm.setMemslot({ slot: SLOT, ipa, size, hva, flags });
  }

  /** IPAs of the slot: from `first` on, each `step` bytes, below `end`. */
  *addresses(step: number, first = 0, end = this.size): Generator<number, void, undefined> {
    for (let offset = first; offset < end; offset += step) yield this.ipa + offset;
  }

  get pages(): number {
    return this.size / this.page;
  }

  get slotRange(): { ipa: number; size: number } {
    return { ipa: this.ipa, size: this.size };
  }

  /** No rule for live translations was broken, and no two entries of a TLB met for one address. */
  expectOrder(): void {
    expect(this.tally.violations(), "rules that were broken").toEqual([]);
    for (const { cpu } of this.vcpus) {
      expect(cpu.statistics.tlb.conflicts).toBe(0);
    }
  }

  [Symbol.dispose](): void {
    this.expectOrder();
    for (const vcpu of this.vcpus) vcpu.dispose();
    this.vm.dispose();
    this.ram.dispose();
    this.engine.quiesce();
    const { used } = this.engine.memoryUsage();
    this.engine.dispose();
    expect(used, "table pages that outlived the test").toBe(0);
  }
}

/** The smallest range of whole units that holds a range. */
function wholeUnits(hva: number, size: number, unit: number): { hva: number; size: number } {
  const first = hva - (hva % unit);
  return { hva: first, size: Math.ceil((hva + size - first) / unit) * unit };
}

/** Frames for the area, for huge pages that come new while others are there, and the page of zeros. */
function framesOf({ bytes, memory }: SceneOptions, area: number, spare: number): Frames {
  if (bytes !== undefined) return { pa: BANK_AT, size: bytes };
  return { pa: FRAMES_AT, size: memory ?? area + 2 * spare };
}

function memoryOf(engine: Engine, options: SceneOptions, { pa, size }: Frames): GuestMemory {
  const { granule, page } = options.machine ?? DEFAULT;
  const bank = options.bytes !== undefined;
  return GuestMemory.create(engine, {
    pa,
    granule,
    ...(bank ? { size } : { frames: size / page }),
  });
}

/** Runs `use` on a scene, and takes the scene down whatever happens. */
export async function onScene(
  options: SceneOptions,
  use: (scene: Scene) => void | Promise<void>,
): Promise<void> {
  const scene = await Scene.create(options);
  let done = false;
  try {
    await use(scene);
    done = true;
  } finally {
    if (done) scene[Symbol.dispose]();
    else scene.engine.dispose(); // the first failure is the one to be told
  }
}

/** The code of what `action` throws. */
export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof Stage2Error) return error.code;
    throw error;
  }
  return "nothing was thrown";
}
