/** A stage-2 page table that vCPUs can run on: with a VMID of its own. */
import { Stage2View } from "./_view.ts";

/** The part of {@link Stage2} that a vCPU needs. */
export class GuestTable extends Stage2View {
  /** Names this table's translations in TLBs: at least 1, and no other live table of the engine has it; that of a pKVM host's own stage 2 is 0. 0 is the host's. */
  get vmid(): number {
    return this.context.core.pgt_vmid(this.pointer) >>> 0;
  }
}
