/** VMs as the hypervisor has them. */
import type { TableCore } from "../_table.ts";
import { Stage2View } from "../_view.ts";
import { ENOENT } from "../errors.ts";
import type { Leaf } from "../decode.ts";
import { HANDLE_OFFSET, MAX_VMS, OWNER } from "./_abi.ts";
import type { GuestPlace } from "./_pages.ts";
import type { MachinePlace } from "./_place.ts";
import { guestTable } from "./_shape.ts";
import type { PkvmPageState } from "./page_state.ts";

/** A VM, as the hypervisor knows it. */
export interface PkvmVmState {
  readonly handle: number;
  /** Its stage 2, to look at. It goes with the VM. */
  readonly stage2: Stage2View;
  /** vCPUs that may be made, and that were made. */
  readonly vcpus: number;
  readonly createdVcpus: number;
  /** Calls that use it, and vCPUs that are loaded: with any it is not torn down. */
  readonly references: number;
  readonly protectedGuest: boolean;
  /** Its teardown has begun. */
  readonly dying: boolean;
  /** Pages of the host that were admitted for it; of them: waiting in its vCPUs' memcaches, and taken from emptied tables. */
  readonly admitted: number;
  readonly inMemcaches: number;
  readonly spare: number;
}

/** A vCPU, as the hypervisor knows it. */
export interface PkvmVcpuState {
  /** Pages in its memcache. */
  readonly pages: number;
  /** The thread that has it loaded. */
  readonly thread: number | undefined;
}

const FLAG = { PROTECTED: 1, DYING: 2 } as const;
/** Annotation of the host's stage 2: owner in 9:2; of a guest's page the gfn in 51:12, the index of its handle in 63:56. */
const OWNER_SHIFT = 2n;
const OWNER_BITS = 0xffn;
const GFN_SHIFT = 12n;
const GFN_BITS = (1n << 40n) - 1n;
const HANDLE_SHIFT = 56n;

/** A VM's page table goes with the VM, and so does this look at it. */
class GuestView extends Stage2View {
  /** Does nothing. */
  override dispose(): void {}
}

export class KnownVms {
  readonly #place: MachinePlace;
  /** Looks at guests' tables, by handle: they are made once. */
  readonly #views = new Map<number, { table: TableCore; view: GuestView }>();

  constructor(place: MachinePlace) {
    this.#place = place;
  }

  /** All that are initialised, by handle. */
  list(): PkvmVmState[] {
    const states: PkvmVmState[] = [];
    for (let index = 0; index < MAX_VMS; index++) {
      const state = this.find(HANDLE_OFFSET + index);
      if (state !== undefined) states.push(state);
    }
    return states;
  }

  find(handle: number): PkvmVmState | undefined {
    const { context, pointer } = this.#place;
    const status = context.core.pkvm_vm(pointer, handle);
    if (status === -ENOENT) return undefined;
    this.#place.done(status, "vmState", { handle });
    const word = (index: number): number => context.resultNumber(index);
    const [pgt, vcpus, createdVcpus, references, flags] = [0, 1, 2, 3, 4].map(word) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const [admitted, inMemcaches, spare] = [word(5), word(6), word(7)];
    return {
      handle,
      stage2: this.#view(handle, pgt),
      vcpus,
      createdVcpus,
      references,
      protectedGuest: (flags & FLAG.PROTECTED) !== 0,
      dying: (flags & FLAG.DYING) !== 0,
      admitted,
      inMemcaches,
      spare,
    };
  }

  vcpu(handle: number, index: number): PkvmVcpuState | undefined {
    const { context, pointer } = this.#place;
    const pages = context.core.pkvm_vcpu(pointer, handle, index);
    if (pages === -ENOENT) return undefined;
    this.#place.done(pages, "vcpuState", { handle, index });
    const slot = context.resultNumber(0);
    return { pages, thread: slot === 0 ? undefined : slot - 1 };
  }

  /** Which guest has a page that the host cannot reach, as the host's stage 2 is annotated. */
  annotated(host: TableCore, pa: number): GuestPlace | undefined {
    const { pte } = host.getLeaf(pa);
    if (((pte >> OWNER_SHIFT) & OWNER_BITS) !== BigInt(OWNER.GUEST)) return undefined;
    const gfn = Number((pte >> GFN_SHIFT) & GFN_BITS);
    return { handle: HANDLE_OFFSET + Number(pte >> HANDLE_SHIFT), gfn };
  }

  /** Finds pages of guests: annotations say whose they are, but those that guests have lent to the host are found in the guests' tables. */
  finder(host: TableCore): (pa: number, state: PkvmPageState) => GuestPlace | undefined {
    let lent: Map<number, GuestPlace> | undefined;
    return (pa, state) => {
      if (state.host === "NOPAGE") return this.annotated(host, pa);
      lent ??= this.#protectedPages();
      return lent.get(pa);
    };
  }

  close(): void {
    for (const { table } of this.#views.values()) table.dispose();
    this.#views.clear();
  }

  #protectedPages(): Map<number, GuestPlace> {
    const pages = new Map<number, GuestPlace>();
    for (const { handle, stage2, protectedGuest } of this.list()) {
      if (!protectedGuest) continue;
      for (const { ipa, pa } of stage2.leaves() as Iterable<Leaf>) {
        pages.set(pa, { handle, gfn: ipa / this.#place.pageSize });
      }
    }
    return pages;
  }

  #view(handle: number, pgt: number): GuestView {
    const known = this.#views.get(handle);
    if (known?.table.isLive === true && known.table.pointer === pgt) return known.view;
    known?.table.dispose();
    const table = guestTable(this.#place.context, pgt, this.#place);
    const view = new GuestView(table);
    this.#views.set(handle, { table, view });
    return view;
  }
}
