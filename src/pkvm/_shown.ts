/** What a pKVM machine has, and what it shows of itself: tables, memory, VMs, features. Nothing here changes it. */
import { GuestTable } from "../_guest_table.ts";
import { HypView } from "../_hyp_view.ts";
import { type Granule, granuleOf } from "../_options.ts";
import type { TableCore } from "../_table.ts";
import { EINVAL, errnoError } from "../errors.ts";
import { type Address, address, integerOption } from "../range.ts";
import { type KnownRegion, pageRanges, pageState, readRegions } from "./_pages.ts";
import type { MachinePlace } from "./_place.ts";
import { hostTable, hypTable } from "./_shape.ts";
import { KnownVms, type PkvmVcpuState, type PkvmVmState } from "./_vms.ts";
import { type PhysicalSpan, checkedSpan } from "./memory.ts";
import { type PkvmFeatures, featuresOf } from "./options.ts";
import type { PkvmPageState, PkvmRange, PkvmRegion } from "./page_state.ts";

/** A table that goes with its machine, and so do looks at it: their `dispose` does nothing. */
class HostStage2 extends GuestTable {
  override dispose(): void {}
}

class HypTable extends HypView {
  override dispose(): void {}
}

/** Results of pkvm_describe. */
const LEFT = 5;
const ALL = 6;
const QUOTA = 7;
const MOST = 2 ** 31 - 1;

/** The part of {@link Pkvm} that is looked at. */
export class PkvmShown {
  /** The host's stage 2, to look at: the identity, as far as the host has used it. A vCPU can run on it: {@link Engine.vcpu}. Its VMID is 0. */
  readonly hostStage2: GuestTable;
  /** The hypervisor's stage 1, to look at: what was donated to it, and what it has pinned. VA = PA - {@link PkvmOptions.hypVaOffset}. */
  readonly hypStage1: HypView;
  /** Regions of memory, ascending. */
  readonly regions: readonly PkvmRegion[];
  /** @internal */
  readonly place: MachinePlace;
  readonly #host: TableCore;
  readonly #regions: readonly KnownRegion[];
  readonly #vms: KnownVms;

  /** @internal */
  protected constructor(place: MachinePlace) {
    this.place = place;
    const { context } = place;
    this.#host = hostTable(context, place.host, place);
    const hyp = hypTable(context, place.hyp, place);
    this.hostStage2 = new HostStage2(this.#host);
    this.hypStage1 = new HypTable(hyp);
    this.#regions = readRegions(place);
    this.regions = this.#regions.map(({ pa, size, noMap }) => ({ pa, size, noMap }));
    this.#vms = new KnownVms(place);
    for (const table of [this.#host, hyp]) place.add({ close: () => table.dispose() });
    place.add(this.#vms);
  }

  // ---- who owns what ----------------------------------------------------------------------------------------------------

  /** The state of the page at a physical address. What is no memory is nobody's. @throws Stage2Error `EINVAL` beyond {@link paBits}; `BAD_ADDRESS`. */
  pageState(pa: Address): PkvmPageState {
    const at = address(pa, "pa");
    void this.place.pointer;
    if (at < this.place.paLimit) return pageState(this.place, this.#regions, at);
    throw errnoError(-EINVAL, "pageState", { pa });
  }

  /** Neighbouring pages of memory in the same state, as one, in a range (default: all memory), ascending; lazy. @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE` */
  ranges(span?: PhysicalSpan): Generator<PkvmRange, void, undefined> {
    const limits = span === undefined ? ([0, Infinity] as const) : this.#limits(span);
    return pageRanges(this.place, this.#regions, limits, this.#vms.finder(this.#host));
  }

  // ---- VMs ------------------------------------------------------------------------------------------------------------

  /** VMs that are initialised, by handle. */
  vms(): PkvmVmState[] {
    return this.#vms.list();
  }

  /** A VM by its handle (0x1000 and up); undefined if there is none. @throws Stage2Error `BAD_OPTION` */
  vmState(handle: number): PkvmVmState | undefined {
    return this.#vms.find(integerOption("handle", handle, 0, MOST));
  }

  /** A vCPU of a VM, from 0; undefined if there is none. @throws Stage2Error `BAD_OPTION` */
  vcpuState(handle: number, index: number): PkvmVcpuState | undefined {
    const vm = integerOption("handle", handle, 0, MOST);
    return this.#vms.vcpu(vm, integerOption("index", index, 0, MOST));
  }

  /** The vCPU that this thread has loaded. */
  get loaded(): { handle: number; index: number } | undefined {
    const { context, pointer } = this.place;
    const handle = context.core.pkvm_loaded(pointer);
    return handle === 0 ? undefined : { handle, index: context.resultNumber(0) };
  }

  /** Pages that the host's kernel has left, and had at first. */
  get hostPages(): { readonly free: number; readonly all: number } {
    const words = this.place.describe();
    return { free: words[LEFT] as number, all: words[ALL] as number };
  }

  // ---- what it is -------------------------------------------------------------------------------------------------------

  /** What tells its generation from others. */
  get features(): PkvmFeatures {
    return featuresOf(this.place.options);
  }

  /** Size of physical addresses, and of every guest's IPA space, in bits. */
  get paBits(): number {
    return this.place.paBits;
  }

  get granule(): Granule {
    return granuleOf(this.place.pageShift);
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.place.pageSize;
  }

  /** Contiguous pages that `initVm` wants for a guest's root. */
  get entryTablePages(): number {
    return Math.max(1, this.hostStage2.rootBytes / this.pageSize);
  }

  /** Table pages that the host's stage 2 may have: enough for all memory by pages, and one GiB of devices. */
  get hostTableQuota(): number {
    return this.place.describe()[QUOTA] as number;
  }

  /** Whether it can be used: it was disposed neither here nor by its owner. */
  get isOpen(): boolean {
    return this.place.isOpen;
  }

  #limits(span: PhysicalSpan): readonly [number, number] {
    const { pa, size } = checkedSpan("a range", span, this.place.pageShift);
    return [pa, pa + size];
  }
}
