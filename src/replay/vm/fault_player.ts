/** Guest aborts, handled by our VM: at one moment, or with the notifiers inside them in between. */
import { hex } from "../addresses.ts";
import type { Comparison } from "./comparison.ts";
import type { DeviceAccess, RecordedHost } from "./host.ts";
import type { ReplayedVm } from "./machine.ts";
import type { Abort } from "./model.ts";
import type { Meetings } from "./overlap.ts";
import type { StageOf } from "./timeline.ts";

const WRITE = 2;

export class FaultPlayer {
  readonly #comparison: Comparison;
  readonly #meetings: Meetings;
  readonly #host: RecordedHost;
  readonly #handled = new Set<Abort>();
  /** Faults whose page is being looked for. */
  readonly #open = new Map<Abort, () => Promise<number>>();
  /** Faults that made a page writable, and may not have marked it yet. */
  #writers: Abort[] = [];

  constructor(comparison: Comparison, meetings: Meetings, host: RecordedHost) {
    this.#comparison = comparison;
    this.#meetings = meetings;
    this.#host = host;
  }

  /** All of it; whether it was handled, or waits for a later step. */
  handle(vm: ReplayedVm, { of: abort, place, later }: StageOf<"abort">): void {
    if (this.#handled.has(abort) || (later === true && !vm.invalidating)) return;
    this.#handled.add(abort);
    if (place?.marked !== undefined) this.#comparison.tally.undecide("lost-race");
    this.#ended(vm, abort, vm.abort(abort, place));
  }

  /** Up to where its page is looked for. */
  async open(vm: ReplayedVm, abort: Abort): Promise<void> {
    this.#open.set(abort, await vm.openAbort(abort));
  }

  /** From there on. */
  async close(vm: ReplayedVm, abort: Abort): Promise<void> {
    const finish = this.#open.get(abort);
    this.#open.delete(abort);
    if (finish !== undefined) this.#ended(vm, abort, await finish());
  }

  /** Faults that made a page writable and had not returned then: their dirty bits can come later. */
  writersAt(line: number, time: number): readonly Abort[] {
    this.#writers = this.#writers.filter(({ end }) => end > line);
    return this.#writers.filter(({ to }) => to >= time);
  }

  #ended(vm: ReplayedVm, abort: Abort, answer: number): void {
    const comparison = this.#comparison;
    const calls = vm.calls();
    this.#count(abort);
    comparison.calls(abort, abort.calls, calls);
    comparison.answer(abort, answer, abort.answer);
    this.#compareDevice(abort);
    this.#comparePage(vm, abort);
    const call = abort.calls[0]?.record;
    if (call?.ret === 0 && (Number(call.prot) & WRITE) !== 0) this.#writers.push(abort);
  }

  #count(abort: Abort): void {
    const { tally } = this.#comparison;
    const meeting = this.#meetings.of(abort);
    tally.aborts++;
    if (abort.retries > 0 && (meeting === "apart" || abort.calls.length > 0))
      this.#comparison.differs(abort, "was retried, with nothing that made it");
    if (abort.calls.length > 0) {
      tally.called++;
      tally.eitherCalled += Number(meeting === "either");
    } else if (abort.device !== undefined) {
      tally.devices++;
      return;
    } else if (meeting !== "apart") tally[meeting]++;
    if (meeting === "either") tally.undecide("either-or");
  }

  #compareDevice(abort: Abort): void {
    const found = this.#host.deviceOf(abort);
    const [ours, theirs] = [found, abort.device].map((device) => device && deviceText(device));
    if (ours === theirs) return;
    const none = "no device access";
    this.#comparison.differs(abort, `predicted ${ours ?? none}, recorded ${theirs ?? none}`);
  }

  /** The page that was mapped is the recorded one. */
  #comparePage(vm: ReplayedVm, { calls, fault }: Abort): void {
    const record = calls[0]?.record;
    if (record?.op !== "s2_map" || record.ret !== 0) return;
    const expected = Number(record.phys) + (fault.ipa % Number(record.size));
    const found = vm.lookup(fault.ipa);
    if (found === expected) return;
    const where = `maps ${hex(found)} at ${hex(fault.ipa)}`;
    this.#comparison.differs({ record }, `${where}, recorded ${hex(expected)}`);
  }
}

function deviceText({ address, size, write }: DeviceAccess): string {
  return `${write ? "write" : "read"} of ${size} bytes at ${hex(address)}`;
}
