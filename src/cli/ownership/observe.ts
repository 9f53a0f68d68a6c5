/** Reads the ownership map of a pKVM machine as it is now. */
import type { Entry, Leaf } from "../../decode.ts";
import type { Pkvm, PkvmVmState } from "../../pkvm/pkvm.ts";
import { POISON } from "../../pkvm/_abi.ts";
import { Prot } from "../../prot.ts";
import type { GuestInfo, GuestLeaf, OwnershipMap, PageState, PlainRun } from "./map.ts";
import { mergeRuns } from "./merge.ts";

/** Who owns and has what of physical memory. Every run and every leaf of a guest is looked at. */
export function observe(pkvm: Pkvm): OwnershipMap {
  const { pageSize } = pkvm;
  const guests: GuestInfo[] = [];
  const leaves: GuestLeaf[] = [];
  for (const vm of pkvm.vms()) {
    const before = leaves.length;
    const poisoned = readGuest(vm, pageSize, leaves);
    const { handle, dying, protectedGuest } = vm;
    const count = leaves.length - before;
    guests.push({ handle, protected: protectedGuest, dying, leaves: count, poisoned });
  }
  const runs = mergeRuns(plainRuns(pkvm), leaves, pageSize);
  return { pageSize, regions: [...pkvm.regions], runs, guests };
}

function* plainRuns(pkvm: Pkvm): Generator<PlainRun, void, undefined> {
  for (const { pa, size, host, hyp, references, guestMappings } of pkvm.ranges())
    yield { pa, size, host, hyp, references, count: guestMappings };
}

/** Adds the leaves of a guest; its pages that were taken back by force are the result. */
function readGuest(vm: PkvmVmState, pageSize: number, leaves: GuestLeaf[]): number[] {
  const poisoned: number[] = [];
  for (const entry of vm.stage2.entries() as Iterable<Entry>) {
    const gfn = entry.ipa / pageSize;
    if (entry.kind === "leaf") {
      const { pa, size } = entry;
      leaves.push({ handle: vm.handle, gfn, pa, size, state: guestState(entry) });
    } else if (isPoison(entry)) poisoned.push(gfn);
  }
  return poisoned;
}

/** Whether a guest's entry says that its page was taken back by force. */
export function isPoison({ kind, pte }: Entry): boolean {
  return kind !== "leaf" && kind !== "table" && pte === BigInt(POISON);
}

/** A guest's side of a page is in the software bits of its leaf. */
export function guestState({ prot }: Leaf): PageState {
  if ((prot & Prot.SW0) !== 0) return "SHARED_OWNED";
  return (prot & Prot.SW1) !== 0 ? "SHARED_BORROWED" : "OWNED";
}
