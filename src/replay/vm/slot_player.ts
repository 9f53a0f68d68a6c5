/** Changes of memory slots, driven through our VM step by step, each where the record has it. */
import { Fields, has } from "./fields.ts";
import type { Comparison } from "./comparison.ts";
import type { ReplayedVm } from "./machine.ts";
import type { SlotChange } from "./model.ts";
import type { Steps } from "./steps.ts";
import type { TraceRecord } from "../record.ts";

export class SlotPlayer {
  readonly #comparison: Comparison;
  readonly #fields: Fields;
  /** Changes that are under way, with the calls that they made since the commit. */
  readonly #changes = new Map<SlotChange, { readonly work: Steps; calls: string[] }>();

  constructor(comparison: Comparison, fields: Fields) {
    this.#comparison = comparison;
    this.#fields = fields;
  }

  /** The old slot goes; the step that publishes the new set comes later. */
  flush(vm: ReplayedVm, change: SlotChange): void {
    const { record, commit, flush } = change;
    if (commit === undefined || flush === undefined) return; // told as broken
    compareSlot(vm, record, this.#fields, this.#comparison);
    const work = vm.changeSlot(commit.region);
    this.#changes.set(change, { work, calls: [] });
    const wanted = Math.max(flush.calls.length, 1);
    let calls: string[] = [];
    work.until(() => (calls = [...calls, ...vm.calls()]).length >= wanted);
    this.#comparison.calls(change, flush.calls, calls);
  }

  /** The new set is there. */
  publish(vm: ReplayedVm, change: SlotChange): void {
    const { commit } = change;
    if (commit === undefined) return;
    const open = this.#changes.get(change) ?? { work: vm.changeSlot(commit.region), calls: [] };
    this.#changes.set(change, open);
    open.work.untilFirm();
    open.calls = vm.calls();
    const { slot, size } = commit.region;
    const logged = vm.bitmap(slot).length > 0;
    if (size > 0 && logged !== commit.bitmap)
      this.#comparison.differs(commit, logged ? "is logged" : "is not logged");
  }

  /** Goes on until so many calls have been made since then. */
  followUp(vm: ReplayedVm, { of: change, calls, last }: FollowUp): void {
    const { commit } = change;
    const open = this.#changes.get(change);
    if (commit === undefined || open === undefined) return;
    open.work.until(() => {
      open.calls = [...open.calls, ...vm.calls()];
      return !last && open.calls.length >= calls;
    });
    if (!last) return;
    open.calls = [...open.calls, ...vm.calls()];
    this.#changes.delete(change);
    this.#comparison.calls(commit, commit.calls, open.calls);
  }

  /** The VM is gone, and what was under way with it. */
  forget(): void {
    this.#changes.clear();
  }
}

interface FollowUp {
  readonly of: SlotChange;
  readonly calls: number;
  readonly last: boolean;
}

/** A record that shows a slot shows it as our VM has it. */
export function compareSlot(
  vm: ReplayedVm,
  record: TraceRecord,
  fields: Fields,
  comparison: Comparison,
): void {
  if (!has(record, "slot_id")) return;
  const number = (name: string): number => fields.number(record, `slot_${name}`);
  const slot = vm.slot(number("id"));
  const bytes = fields.pageBytes;
  const theirs = [number("gfn") * bytes, number("np") * bytes, number("hva"), number("flags")];
  const ours = slot && [slot.ipa, slot.size, slot.hva, slot.flags];
  if (ours?.join() !== theirs.join())
    comparison.differs({ record }, `the slot is ${ours?.join(", ") ?? "absent"}`);
}
