/** What a VM has, and what it shows of itself: vCPUs, table, state, counts, events. */
import type { Event } from "../_event_record.ts";
import { Stage2View } from "../_view.ts";
import { ENOENT, Stage2Error } from "../errors.ts";
import { type Range, integerOption } from "../range.ts";
import { VmDirty } from "./_vm_dirty.ts";
import { DirtyRing } from "./dirty_ring.ts";
import { eventsOf } from "./event_stream.ts";
import { type SlotStatistics, dumpTable, slotStatistics } from "./look.ts";
import { type VmEventGroup, vmEventMask } from "./options.ts";
import { type AbortStatistics, sum } from "./statistics.ts";
import { VmVcpu, type VmVcpuOptions } from "./vcpu.ts";

/** What a VM is in the middle of, and how large it is. */
export interface VmState {
  /** `mmu_invalidate_seq`: invalidations that have ended. */
  readonly seq: number;
  /** `mmu_invalidate_in_progress`: those that have begun, and met a memslot. */
  readonly inProgress: number;
  /** All that have begun. */
  readonly active: number;
  /** Of the set of memslots: it grows with every set; odd while one is published. */
  readonly generation: number;
  readonly slots: number;
  /** Of all slots. */
  readonly pages: number;
}

/** Counts of this thread's vCPUs together, and what the VM has. */
export interface VmStatistics extends AbortStatistics {
  readonly slots: number;
  readonly pages: number;
  /** Table pages of its page table; 0 after {@link Vm.release}. */
  readonly tablePages: number;
}

const MOST = 2 ** 32 - 1;
const MOST_VCPUS = 512;
/** Result word of vm_describe: the VMID in TLBs. */
const VMID = 2;

/** A VM's page table goes with the VM, and so does this look at it. */
class TableView extends Stage2View {
  /** Does nothing. */
  override dispose(): void {}
}

/** The part of {@link Vm} that is looked at. */
export class VmShown extends VmDirty {
  readonly #vcpus = new Set<VmVcpu>();
  #view: TableView | undefined;

  /** Makes a vCPU of this thread. @throws Stage2Error `EEXIST` for an id that is taken, `EINVAL` above 511; `ENOMEM`, `EMFILE`; `BAD_OPTION`, `FOREIGN`. */
  createVcpu(options: VmVcpuOptions = {}): VmVcpu {
    const vcpu = VmVcpu.create(this.place, options);
    this.#vcpus.add(vcpu);
    return vcpu;
  }

  /** vCPUs that were made here and not disposed. */
  get vcpus(): readonly VmVcpu[] {
    for (const vcpu of this.#vcpus) if (!vcpu.isOpen) this.#vcpus.delete(vcpu);
    return [...this.#vcpus];
  }

  /** The dirty rings of all vCPUs, also those of other threads, by id: for a thread that harvests them. */
  dirtyRings(): DirtyRing[] {
    const { core } = this.place;
    const rings: DirtyRing[] = [];
    for (let id = 0; id < MOST_VCPUS; id++) {
      const pointer = core.vm_vcpu_at(this.pointer, id) >>> 0;
      const ring = pointer === 0 ? undefined : DirtyRing.of(this.place, pointer, id);
      if (ring !== undefined) rings.push(ring);
    }
    return rings;
  }

  /** By which number events name this VM. */
  get number(): number {
    return this.place.core.vm_number(this.pointer);
  }

  /** IPA size in bits. */
  get ipaBits(): number {
    return this.place.shape.iaBits;
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.place.pageSize;
  }

  /** VMID of its translations in TLBs now; 0 until a vCPU was loaded. */
  get vmid(): number {
    const { context, core } = this.place;
    core.vm_describe(this.pointer);
    return context.resultNumber(VMID);
  }

  /** Whether it can be used: it was disposed neither here nor by its owner. */
  get isOpen(): boolean {
    return this.place.isOpen;
  }

  /** The page table, to look at: nothing there changes it, and {@link Engine.vcpu} refuses it; its `dispose` does nothing. @throws Stage2Error `DISPOSED` after {@link release} */
  get stage2(): Stage2View {
    void this.pointer;
    this.#view ??= new TableView(this.place.table);
    return this.#view;
  }

  get state(): VmState {
    const { context, core } = this.place;
    core.vm_state(this.pointer);
    const [seq, inProgress, active, generation, slots, pages] = [0, 1, 2, 3, 4, 5].map((index) =>
      context.resultNumber(index),
    ) as [number, number, number, number, number, number];
    return { seq, inProgress, active, generation, slots, pages };
  }

  get statistics(): VmStatistics {
    const { slots, pages } = this.state;
    const { table, core } = this.place;
    const tablePages = table.isLive ? core.pgt_pages(table.pointer) : 0;
    return { ...sum(this.vcpus.map((vcpu) => vcpu.statistics)), slots, pages, tablePages };
  }

  /** What of a memslot is mapped. Reads its whole range. @throws Stage2Error `ENOENT` if there is no such slot; `BAD_OPTION`. */
  slotStatistics(slot: number): SlotStatistics {
    const found = this.memslot(integerOption("slot", slot, 0, MOST));
    if (found !== undefined) return slotStatistics(this.place, found);
    throw new Stage2Error("ENOENT", "slotStatistics: no such memslot", { slot }, ENOENT);
  }

  /** The page table (default: all of it) as text, like the kernel's debug file. @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE` */
  dump(range?: Range): string {
    void this.pointer;
    return dumpTable(this.place, range);
  }

  /**
   * What was logged of this VM, oldest first, until nothing more is there; a loop may be left, the rest waits: events of its {@link VmOptions.vmEvents}, and those of its page
   * table ({@link VmOptions.events}) that carry its VMID. It takes the engine's log empty: what is of other VMs waits until they
   * are read, if this thread has read them before; everything else is dropped. {@link Engine.events} has all, in order.
   */
  events(): Generator<Event, void, undefined> {
    void this.pointer;
    return eventsOf(this.place);
  }

  /** Chooses which groups of events it logs from now on. @throws Stage2Error `BAD_OPTION` */
  setVmEvents(groups: readonly VmEventGroup[]): void {
    this.place.core.vm_set_events(this.pointer, vmEventMask(groups));
  }

  /** The core's pointer. @internal */
  get pointer(): number {
    return this.place.pointer;
  }
}
