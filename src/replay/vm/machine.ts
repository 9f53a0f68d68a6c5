/** The VM under test: made as the recorded one was, driven by what happened, listened to for the calls that it makes. */
import type { Context } from "../../_context.ts";
import type { Engine } from "../../engine.ts";
import { Stage2Error } from "../../errors.ts";
import { OPTION } from "../../_abi.ts";
import { CAP } from "../../vm/_abi.ts";
import type { VmPlace } from "../../vm/_place.ts";
import { type Memslot, changeMemslot, checkedRegion } from "../../vm/memslots.ts";
import type { AbortOutcome } from "../../vm/outcome.ts";
import type { VmVcpu } from "../../vm/vcpu.ts";
import type { Vm } from "../../vm/vm.ts";
import type { Machine as Settings } from "../settings.ts";
import { Entries } from "./entries.ts";
import type { RecordedHost } from "./host.ts";
import type { Abort, Aging, DirtyLog, Region } from "./model.ts";
import type { Place } from "./races.ts";
import { Steps } from "./steps.ts";
import { predictedCalls } from "./tokens.ts";

/** What is asked of the machine beside the tables' settings. */
export interface MachineSettings {
  readonly tables: Settings;
  readonly isProtected: boolean;
}

const GRANULES = { 12: "4K", 14: "16K", 16: "64K" } as const;
/** Manual protection, with every bit set at first. */
const INITIALLY_SET = 3;
const LOG_DIRTY_PAGES = 1;
const READONLY = 2;
const WORD_PAGES = 64;
/** HPFAR_EL2 holds the address from bit 4 on, in units of 4 KiB. */
const FAULT_UNIT = 4096;
const HPFAR_SHIFT = 4n;

export class ReplayedVm {
  readonly #context: Context;
  readonly #vm: Vm;
  readonly #host: RecordedHost;
  readonly #vcpus = new Map<number, VmVcpu>();
  readonly #entries: Entries;

  constructor(engine: Engine, settings: MachineSettings, host: RecordedHost, ipaBits: number) {
    const { tables, isProtected } = settings;
    this.#context = engine.context;
    this.#host = host;
    const has = (bit: number): boolean => (tables.options & bit) !== 0;
    this.#vm = engine.vm({
      ipaBits,
      granule: GRANULES[tables.pageShift as keyof typeof GRANULES],
      parange: Number(tables.mmfr0 & 0xfn),
      vmidBits: vmidBits(tables),
      lpa2: has(OPTION.LPA2),
      pa52: has(OPTION.PA52),
      fwb: has(OPTION.FWB),
      tlbiRange: has(OPTION.TLBI_RANGE),
      protected: isProtected,
      strictFaults: false, // as the recorded kernel
      vmEvents: ["map", "range"],
      memory: host,
      bus: host.bus,
    });
    const { pointer, shape } = this.#place.table;
    this.#entries = new Entries(this.#context, pointer, tables.pageShift, shape.startLevel);
    host.isGuarded = (slot) => ((this.#vm.memslot(slot)?.flags ?? 0) & GUARDED) !== 0;
  }

  get #place(): VmPlace {
    return this.#vm.place;
  }

  /** How the page table came out: as `s2_init` is recorded. */
  get shape(): string {
    const { iaBits, rootBytes, vtcr } = this.#place.table.shape;
    return shapeText(iaBits, rootBytes, vtcr);
  }

  get vtcr(): bigint | undefined {
    return this.#place.table.shape.vtcr;
  }

  /** Whether faults are kept off: an invalidation is in progress. */
  get invalidating(): boolean {
    return this.#vm.state.inProgress > 0;
  }

  /** The calls that were made since the last time. */
  calls(): string[] {
    return predictedCalls(this.#context);
  }

  /** KVM_ENABLE_CAP: what it answers. */
  enable(cap: number, value: number): number {
    return answered(() => (this.#vm.enableCap(cap, value), 0));
  }

  /** Dirty bits start set. */
  setInitially(): void {
    this.#vm.enableCap(CAP.MANUAL_DIRTY_LOG_PROTECT2, INITIALLY_SET);
  }

  /** A change of a slot, in steps. */
  changeSlot(region: Region): Steps {
    return new Steps(changeMemslot(this.#place, checkedRegion(region), 2));
  }

  /** A guest abort: what the handler returns. */
  abort(abort: Abort, place: Place | undefined): number {
    const vcpu = this.#vcpu(abort.vcpu);
    this.#host.enter(abort);
    const handle = (): number =>
      answered(() => this.#note(abort, vcpu.handleAbort(registersOf(abort))));
    const { marked } = place ?? {};
    return marked ? this.#entries.marked(marked.address, marked.level, handle) : handle();
  }

  /** The same up to where the page is looked for. What is returned goes on. */
  async openAbort(abort: Abort): Promise<() => Promise<number>> {
    const vcpu = this.#vcpu(abort.vcpu);
    this.#host.enter(abort);
    const later = this.#host.delay(abort);
    const answer = vcpu
      .handleAbortAsync(registersOf(abort))
      .then((outcome) => this.#note(abort, outcome), errnoOf);
    answer.catch(() => undefined); // told when it is asked for
    await Promise.race([later.asked, answer]);
    return () => {
      later.go();
      return answer;
    };
  }

  /** The physical address that the VM has at `ipa`. */
  lookup(ipa: number): number {
    return this.#context.core.s2_lookup(this.#place.table.pointer, ipa);
  }

  takeAccessFlags(calls: readonly Parameters<Entries["takeAccessFlags"]>[0][]): number {
    return calls.reduce((sum, call) => sum + this.#entries.takeAccessFlags(call), 0);
  }

  invalidateStart(start: number, end: number): void {
    this.#vm.invalidateStart({ hva: start, size: end - start });
  }

  invalidateEnd(start: number, end: number): void {
    this.#vm.invalidateEnd({ hva: start, size: end - start });
  }

  age({ op, start, end }: Aging): number {
    const range = { hva: start, size: end - start };
    if (op === "test") return Number(this.#vm.testYoung(start));
    return Number(op === "clear" ? this.#vm.clearYoung(range) : this.#vm.clearFlushYoung(range));
  }

  setCaches(vcpu: number, on: boolean): void {
    this.#vm.setCaches(this.#vcpu(vcpu), on);
  }

  /** What the guest did to its caches while nobody saw it is told first. */
  setWay(vcpu: number, on: boolean): void {
    this.setCaches(vcpu, on);
    this.#vm.setWay(this.#vcpu(vcpu));
  }

  /** The slot of this number, as it is. */
  slot(slot: number): Memslot | undefined {
    return this.#vm.memslot(slot);
  }

  /** Words of the slot's dirty bitmap; none if it is not logged. */
  bitmap(slot: number): BigUint64Array {
    return this.#bits(slot).slice();
  }

  /** Takes a bit out of the bitmap, as if the page had not been marked yet. */
  unmark(slot: number, page: number): void {
    const bits = this.#bits(slot);
    const index = Math.floor(page / WORD_PAGES);
    bits[index] = (bits[index] as bigint) & ~(1n << BigInt(page % WORD_PAGES));
  }

  mark(slot: number, page: number): void {
    this.#vm.markDirty((this.slot(slot)?.ipa ?? 0) + page * this.#place.pageSize);
  }

  #bits(slot: number): BigUint64Array {
    const { core, pointer, pageSize } = this.#place;
    if (core.vm_slot(pointer, slot) !== 1) return new BigUint64Array(0);
    const pages = this.#context.resultNumber(1) / pageSize;
    const at = this.#context.resultNumber(4) / 8;
    return this.#context.u64.subarray(at, at === 0 ? 0 : at + Math.ceil(pages / WORD_PAGES));
  }

  /** KVM_GET_DIRTY_LOG: how many pages it tells of. */
  getLog(slot: number): number {
    return this.#vm.getDirtyLog(slot).count;
  }

  /** KVM_CLEAR_DIRTY_LOG; of the whole slot, unless the request says otherwise. */
  clearLog({ slot, request }: DirtyLog, bitmap: BigUint64Array): void {
    const all = (this.#vm.memslot(slot)?.size ?? 0) / this.#place.pageSize;
    const { first: firstPage, pages } = request ?? { first: 0, pages: all };
    this.#vm.clearDirtyLog(slot, { firstPage, pages, bitmap });
  }

  /** The host's address space goes, and then the VM. */
  release(): void {
    this.#vm.release();
    this.dispose();
  }

  dispose(): void {
    this.#vm.dispose();
  }

  /** What the abort came to. A device access that leaves to user space is noted like one of the bus. */
  #note(abort: Abort, outcome: AbortOutcome): number {
    if (outcome.reason === "mmio") {
      const { address, size, write } = outcome;
      this.#host.noteDevice(abort, { address, size, write });
    }
    return outcome.ret;
  }

  #vcpu(id: number): VmVcpu {
    const known = this.#vcpus.get(id);
    if (known !== undefined) return known;
    const vcpu = this.#vm.createVcpu({ id });
    this.#vcpus.set(id, vcpu);
    return vcpu;
  }
}

const GUARDED = LOG_DIRTY_PAGES | READONLY;

export function shapeText(ipaBits: number, rootBytes: number, vtcr: bigint | undefined): string {
  const control = vtcr === undefined ? "" : `, VTCR_EL2 0x${vtcr.toString(16)}`;
  return `${ipaBits} bits, root of ${rootBytes} bytes${control}`;
}

/** Size of VMIDs: ID_AA64MMFR1_EL1.VMIDBits. */
export function vmidBits({ mmfr1 }: Settings): 8 | 16 {
  return ((mmfr1 >> 4n) & 0xfn) === 2n ? 16 : 8;
}

/** ESR_EL2, FAR_EL2 and HPFAR_EL2. */
function registersOf({ fault }: Abort): { esr: bigint; far: bigint; hpfar: bigint } {
  const { ipa, esr, far } = fault;
  return { esr, far, hpfar: BigInt(Math.floor(ipa / FAULT_UNIT)) << HPFAR_SHIFT };
}

/** What a call answered: its value, or the errno that it was refused with. */
function answered(call: () => number): number {
  try {
    return call();
  } catch (error) {
    return errnoOf(error);
  }
}

function errnoOf(error: unknown): number {
  if (error instanceof Stage2Error && error.errno !== undefined) return -error.errno;
  throw error;
}
