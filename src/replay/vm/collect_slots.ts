/** Changes of memory slots: an old slot is flushed, a new set prepared and published, its logging set up. */
import type { TraceRecord } from "../record.ts";
import type { Collecting } from "./collect.ts";
import type { Machine, Region, SlotChange } from "./model.ts";

const DELETE = 1;
const LOG_DIRTY_PAGES = 1;

type Open = SlotChange & { prepared?: boolean };
type Commit = NonNullable<SlotChange["commit"]>;

export class SlotCollector {
  readonly #to: Collecting;
  readonly #open = new Map<number, Open>();
  /** Slots that came to be logged in VMs whose capabilities were not recorded. */
  readonly #logged: { readonly machine: Machine; readonly commit: Commit }[] = [];
  #machine: Machine | undefined;
  /** The VM's capabilities are recorded: how dirty bits start need not be found out. */
  #configured = false;

  constructor(to: Collecting) {
    this.#to = to;
  }

  /** What follows is of this VM. */
  machine(machine: Machine): void {
    this.#machine = machine;
    this.#configured = machine.ipaBits !== undefined;
  }

  configured(): void {
    this.#configured = true;
  }

  take(record: TraceRecord, line: number, thread: number): void {
    if (record.op === "slot_flush") this.#flush(record, line, thread);
    else if (record.op === "slot_prepare") this.#prepare(record, line, thread);
    else if (record.op === "slot_commit") this.#commit(record, line, thread);
  }

  finish(): void {
    this.#findInitiallySet();
    for (const change of this.#open.values()) this.#unfinished(change);
  }

  #unfinished({ record }: Open): void {
    this.#to.broken(`record ${record.i}, ${record.op}: the change of the slot was not finished`);
  }

  #begin(record: TraceRecord, line: number, thread: number): Open {
    const before = this.#open.get(thread);
    if (before !== undefined) this.#unfinished(before);
    const change: Open = { kind: "slot", record, line, thread };
    this.#open.set(thread, change);
    this.#to.add(change);
    return change;
  }

  #flush(record: TraceRecord, line: number, thread: number): void {
    const change = this.#begin(record, line, thread);
    change.flush = { line, calls: [] };
    this.#to.follow(thread, change.flush.calls);
  }

  #prepare(record: TraceRecord, line: number, thread: number): void {
    const open = this.#open.get(thread);
    const change = open?.prepared === true ? undefined : open;
    (change ?? this.#begin(record, line, thread)).prepared = true;
    this.#to.follow(thread, undefined);
    // Refused before anything was done to it: nothing happened.
    if (this.#to.fields.number(record, "ret") < 0 && change === undefined)
      this.#open.delete(thread);
  }

  #commit(record: TraceRecord, line: number, thread: number): void {
    const change = this.#open.get(thread);
    if (change?.prepared !== true)
      return this.#to.broken(`record ${record.i}, slot_commit: no change of a slot was prepared`);
    this.#open.delete(thread);
    const region = this.#region(change, record);
    const bitmap = region.size > 0 && this.#to.fields.word(record, "new_bm") !== 0n;
    change.commit = { record, line, region, bitmap, calls: [] };
    this.#to.follow(thread, change.commit.calls);
    this.#findLogging(change.commit);
  }

  /** A slot that is deleted has no new values: only its flush names it. */
  #region({ record: first }: Open, record: TraceRecord): Region {
    const { fields } = this.#to;
    const { pageBytes } = fields;
    if (fields.number(record, "change") === DELETE)
      return { slot: fields.number(first, "slot_id"), ipa: 0, size: 0, hva: 0, flags: 0 };
    return {
      slot: fields.number(record, "new_id"),
      ipa: fields.number(record, "new_gfn") * pageBytes,
      size: fields.number(record, "new_np") * pageBytes,
      hva: fields.number(record, "new_hva"),
      flags: fields.number(record, "new_flags"),
    };
  }

  #findLogging(commit: Commit): void {
    const { flags, size } = commit.region;
    if (this.#configured || this.#machine === undefined || size === 0) return;
    if ((flags & LOG_DIRTY_PAGES) !== 0) this.#logged.push({ machine: this.#machine, commit });
  }

  /** Logging that write-protects nothing starts with every bit set. */
  #findInitiallySet(): void {
    for (const { machine, commit } of this.#logged)
      if (!commit.calls.some(({ record }) => record.op === "s2_wrprotect"))
        machine.initiallySet = true;
  }
}
