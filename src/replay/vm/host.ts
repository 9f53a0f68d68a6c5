/**
 * The host behind the replayed VM: its memory and its devices, answering from what was recorded.
 *
 * Where the answer must not matter it is one that would show: a page that could be written, to a read fault whose page has to be
 * mapped without; a leaf of a block's size, to a fault that must not look.
 */
import type { Backing, BackingAnswer, BackingRequest } from "../../vm/backing.ts";
import type { Bus } from "../../vm/bus.ts";
import { hex } from "../addresses.ts";
import type { TraceRecord } from "../record.ts";
import { HostFacts } from "./facts.ts";
import type { Abort, Notifier } from "./model.ts";
import type { VmTally } from "./result.ts";

const PROT = { WRITE: 2, DEVICE: 8 } as const;
/** -EFAULT: the host had no page there. */
const NO_PAGE = -14;
/** Where a page is that no call tells of. */
const SOMEWHERE = 2 ** 32;

/** Stretches of the VMM's memory that are huge pages by their mapping. */
export type HugeRange = { readonly start: number; readonly end: number };

/** A device access that the VM had to make. */
export interface DeviceAccess {
  readonly address: number;
  readonly size: number;
  readonly write: boolean;
}

export class RecordedHost implements Backing {
  /** Its devices. */
  readonly bus: Bus;
  readonly #facts: HostFacts;
  readonly #pageBytes: number;
  readonly #blockBytes: number;
  readonly #huge: readonly HugeRange[];
  readonly #tally: VmTally;
  /** What each vCPU is in. */
  readonly #aborts = new Map<number, Abort>();
  #current: Abort | undefined;
  /** Whether the slot is one whose pages reads must not make writable. */
  isGuarded: (slot: number) => boolean = () => false;
  /** Faults whose page is found later: what has to be done then. */
  readonly #later = new Map<Abort, Later>();
  /** The device accesses that aborts turned out to be. */
  readonly #devices = new Map<Abort, DeviceAccess>();

  constructor(pageShift: number, huge: readonly HugeRange[], tally: VmTally) {
    this.#pageBytes = 2 ** pageShift;
    this.#blockBytes = 2 ** (2 * pageShift - 3);
    this.#facts = new HostFacts(this.#pageBytes, this.#blockBytes);
    this.#huge = huge;
    this.#tally = tally;
    this.bus = {
      read: (address, size) => this.#access({ address, size, write: false }),
      write: (address, size) => this.#access({ address, size, write: true }) !== undefined,
    };
  }

  /** The vCPU takes this abort now. */
  enter(abort: Abort): void {
    this.#aborts.set(abort.vcpu, abort);
    this.#current = abort;
  }

  /** The next abort of this vCPU waits for its page until it is told to go on. */
  delay(abort: Abort): Later {
    const later = new Later();
    this.#later.set(abort, later);
    return later;
  }

  /** The device access that the abort turned out to be. */
  deviceOf(abort: Abort): DeviceAccess | undefined {
    const device = this.#devices.get(abort);
    this.#devices.delete(abort);
    return device;
  }

  /** The abort is a device access, which this host does not handle itself. */
  noteDevice(abort: Abort, access: DeviceAccess): void {
    this.#devices.set(abort, access);
  }

  changes({ start, end }: Notifier): void {
    this.#facts.forget(start, end);
  }

  forgetAll(): void {
    this.#facts.forgetAll();
    this.#aborts.clear();
    this.#later.clear();
  }

  resolve(request: BackingRequest): BackingAnswer | Promise<BackingAnswer> {
    const abort = this.#aborts.get(request.vcpu) as Abort;
    const later = this.#later.get(abort);
    if (later === undefined) return this.#found(abort, request);
    this.#later.delete(abort);
    return later.wait(() => this.#found(abort, request));
  }

  #found(abort: Abort, { hva, write, slot }: BackingRequest): BackingAnswer {
    if (abort.answer === NO_PAGE) return "error";
    const call = abort.calls[0]?.record;
    this.#holdLookup(abort, hva);
    const prot = call === undefined ? PROT.WRITE : Number(call.prot);
    const free = write || this.isGuarded(slot) || (prot & PROT.WRITE) !== 0;
    return {
      pa: this.#page(call, hva),
      writable: free,
      hostSize: this.#leaf(abort, hva),
      device: (prot & PROT.DEVICE) !== 0,
      ...(this.#isHuge(hva) ? { vmaPageSize: this.#blockBytes } : {}),
    };
  }

  /** Whether the kernel has the device itself is a fact of the host. */
  #access(access: DeviceAccess): bigint | undefined {
    const abort = this.#current as Abort;
    this.#devices.set(abort, access);
    return abort.device !== undefined && abort.answer === 1 ? abort.device.value : undefined;
  }

  #page(call: TraceRecord | undefined, hva: number): number {
    const known = this.#facts.page(hva);
    if (call?.op !== "s2_map") return known ?? SOMEWHERE + (hva % this.#blockBytes);
    const size = Number(call.size);
    const recorded = Number(call.phys) + (hva % size);
    if (known !== undefined && known !== recorded)
      this.#contradicts(call, `the page at ${hex(hva)} was ${hex(known)}, and no notifier came`);
    this.#count(known);
    this.#facts.learnPages(hva - (hva % size), Number(call.phys), size);
    return recorded;
  }

  /** A leaf that was not looked at must not matter: a block. */
  #leaf({ calls, lookup }: Abort, hva: number): number {
    const call = calls[0]?.record;
    if (lookup === undefined || call === undefined) return this.#blockBytes;
    const known = this.#facts.leaf(hva);
    const size = call.op === "s2_map" ? Number(call.size) : this.#pageBytes;
    if (known !== undefined && known !== size)
      this.#contradicts(call, `the host's leaf at ${hex(hva)} was of ${hex(known)} bytes`);
    this.#count(known);
    this.#facts.learnLeaf(hva, size);
    return size;
  }

  #holdLookup({ record, lookup }: Abort, hva: number): void {
    if (lookup === undefined || lookup === hva) return;
    const where = `record ${record.i}, abort`;
    this.#tally.differs(`${where}: the page is at ${hex(hva)}, the host looked at ${hex(lookup)}`);
  }

  #count(known: number | undefined): void {
    if (known === undefined) this.#tally.facts.taken++;
    else this.#tally.facts.held++;
  }

  #contradicts({ i, op }: TraceRecord, sentence: string): void {
    this.#tally.differs(`record ${i}, ${op}: contradicts a fact: ${sentence}`);
  }

  #isHuge(hva: number): boolean {
    return this.#huge.some(({ start, end }) => hva >= start && hva < end);
  }
}

/** An answer that is given later. */
export class Later {
  /** Fulfilled when the answer is waited for. */
  readonly asked: Promise<void>;
  #ask: () => void = () => undefined;
  #answer: () => void = () => undefined;

  constructor() {
    this.asked = new Promise((resolve) => (this.#ask = resolve));
  }

  /** The answer, when it is time. */
  wait<T>(answer: () => T): Promise<T> {
    this.#ask();
    return new Promise((resolve) => (this.#answer = () => resolve(answer())));
  }

  /** Now it is. */
  go(): void {
    this.#answer();
  }
}
