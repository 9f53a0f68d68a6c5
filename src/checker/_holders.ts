/** Which vCPU may hold which translation: what their TLBs took in. */
import type { TlbEntryKind } from "../_vcpu_event.ts";
import type { Interval } from "./_residue.ts";
import type { Of } from "./_stream.ts";

/** An entry that a TLB took in. */
export interface Fill {
  readonly entry: TlbEntryKind;
  readonly vmid: number;
  readonly ipa: number;
  readonly at: number;
}

/** Entries remembered for each vCPU; what is older is forgotten. */
const MOST = 2 ** 14;
const PAGE = 4096;

export class Holders {
  readonly #fills = new Map<number, Map<string, Fill>>();

  fill({ cpu, entry, vmid, address, ipa }: Of<"tlbFill">, at: number): void {
    let fills = this.#fills.get(cpu);
    if (fills === undefined) this.#fills.set(cpu, (fills = new Map()));
    const key = keyOf(entry, address);
    fills.delete(key); // so that it comes last: the oldest go first
    fills.set(key, { entry, vmid, ipa, at });
    if (fills.size <= MOST) return;
    const [oldest] = fills.keys();
    fills.delete(oldest as string);
  }

  /** What the vCPU took in last for an address. */
  last(cpu: number, entry: TlbEntryKind, address: number): Fill | undefined {
    return this.#fills.get(cpu)?.get(keyOf(entry, address));
  }

  /** A vCPU that took in a translation of these addresses before event `at`, with the name of agents. */
  of(vmid: number | undefined, [from, to]: Interval, at: number): string | undefined {
    for (const [cpu, fills] of this.#fills) {
      for (const fill of fills.values()) {
        if (fill.at > at || fill.ipa < from || fill.ipa >= to) continue;
        if (vmid === undefined || vmid === fill.vmid) return `vCPU ${cpu}`;
      }
    }
    return undefined;
  }
}

function keyOf(entry: TlbEntryKind, address: number): string {
  return `${entry} ${Math.floor(address / PAGE)}`;
}
