/** Plays what happened on our VM, stage by stage. */
import type { Engine } from "../../engine.ts";
import { Stage2Error } from "../../errors.ts";
import { inputError } from "../../input.ts";
import type { Trace } from "../read.ts";
import { type Machine as Settings, iaBitsOf } from "../settings.ts";
import { Comparison } from "./comparison.ts";
import { FaultPlayer } from "./fault_player.ts";
import { Fields } from "./fields.ts";
import type { RecordedHost } from "./host.ts";
import { playLog } from "./log.ts";
import { ReplayedVm, shapeText } from "./machine.ts";
import type { CacheControl, Happening, History, LibraryCall, Machine, Notifier } from "./model.ts";
import { Meetings } from "./overlap.ts";
import type { VmTally } from "./result.ts";
import { SlotPlayer } from "./slot_player.ts";
import { type Stage, type StageOf, type Step, timelineOf } from "./timeline.ts";

/** What a replay is made of. */
export interface Replay {
  readonly trace: Trace;
  readonly history: History;
  readonly engine: Engine;
  readonly host: RecordedHost;
  readonly tally: VmTally;
  readonly tables: Settings;
  readonly isProtected: boolean;
}

export class Player {
  readonly #replay: Replay;
  readonly #comparison: Comparison;
  readonly #fields: Fields;
  readonly #faults: FaultPlayer;
  readonly #slots: SlotPlayer;
  /** The vCPU that each thread runs. */
  readonly #vcpus = new Map<number, number>();
  /** Notifiers whose end was announced. */
  #ending: Notifier[] = [];
  #machine: ReplayedVm | undefined;

  constructor(replay: Replay) {
    const { trace, history, host, tally } = replay;
    this.#replay = replay;
    this.#comparison = new Comparison(tally);
    this.#fields = new Fields(trace);
    this.#faults = new FaultPlayer(this.#comparison, new Meetings(history.happenings), host);
    this.#slots = new SlotPlayer(this.#comparison, this.#fields);
    for (const each of history.happenings)
      if (each.kind === "abort") this.#vcpus.set(each.thread, each.vcpu);
  }

  async play(): Promise<void> {
    const { trace, tally, history } = this.#replay;
    for (const sentence of history.broken) tally.differs(sentence);
    for (const call of history.stray)
      this.#comparison.differs(call, "nothing that happened makes this call");
    for (const step of timelineOf(trace, history.happenings)) await this.#play(step);
    if (this.#machine !== undefined) tally.differs("the last VM was not released");
  }

  end(): void {
    this.#machine?.dispose();
  }

  get #vm(): ReplayedVm {
    if (this.#machine !== undefined) return this.#machine;
    throw inputError(this.#replay.trace.path, "there is no VM");
  }

  async #play({ line, stage }: Step): Promise<void> {
    try {
      this.#endNotifiers(({ until }) => (until?.deadline ?? 0) <= line);
      await this.#do(stage);
    } catch (error) {
      if (!(error instanceof Stage2Error)) throw error;
      this.#comparison.differs(stage.of, `is refused: ${error.message}`);
    }
  }

  #do(stage: Stage): void | Promise<void> {
    switch (stage.what) {
      case "whole":
        return this.#whole(stage.of);
      case "start":
        return this.#startNotifier(stage.of);
      case "end":
        return void this.#ending.push(stage.of);
      case "abort":
      case "open":
      case "close":
        return this.#fault(stage);
      default:
        return this.#slot(stage);
    }
  }

  #whole(happening: StageOf<"whole">["of"]): void {
    switch (happening.kind) {
      case "machine":
        return this.#create(happening);
      case "release":
        return this.#release(happening);
      case "capability": {
        const { cap, value, answer } = happening;
        return this.#comparison.answer(happening, this.#vm.enable(cap, value), answer);
      }
      case "aging":
        this.#takeAccessFlags(happening.calls);
        this.#comparison.answer(happening, this.#vm.age(happening), happening.answer);
        this.#comparison.pages(happening, this.#fields.pageBytes);
        return this.#comparison.calls(happening, happening.calls, this.#vm.calls());
      case "caches":
        return this.#controlCaches(happening);
      case "log": {
        this.#takeAccessFlags(happening.words.flatMap(({ calls }) => calls));
        const [first = happening] = happening.words;
        const time = this.#fields.time(first.record, "t");
        const writers = this.#faults.writersAt(first.line, time);
        return playLog(this.#vm, happening, writers, this.#comparison, this.#fields);
      }
    }
  }

  // ---- VMs --------------------------------------------------------------------------------------------------------

  #create(machine: Machine): void {
    const { trace, engine, tables, isProtected, host, tally } = this.#replay;
    const { rootBytes, ipaBits } = machine;
    if (this.#machine !== undefined) {
      this.#comparison.differs(machine, "there is a VM already");
      this.#machine.dispose();
    }
    host.forgetAll();
    const recorded = iaBitsOf(trace, rootBytes);
    const made = new ReplayedVm(engine, { tables, isProtected }, host, ipaBits ?? recorded);
    this.#machine = made;
    if (machine.initiallySet) made.setInitially();
    const expected = shapeText(recorded, rootBytes, tables.vtcr ?? made.vtcr);
    tally.answers++;
    if (made.shape !== expected)
      this.#comparison.differs(machine, `predicted ${made.shape}, recorded ${expected}`);
  }

  #release(release: Happening): void {
    this.#endNotifiers(() => true);
    this.#vm.release();
    this.#machine = undefined;
    this.#slots.forget();
    const left = this.#replay.engine.memoryUsage().used;
    if (left > 0) this.#comparison.differs(release, `${left} bytes of table pages are left`);
  }

  // ---- slots ------------------------------------------------------------------------------------------------------

  /** A set is published when no invalidation is in flight. */
  #slot(stage: StageOf<"flush" | "publish" | "follow-up">): void {
    const { of: change } = stage;
    if (stage.what !== "follow-up") this.#endNotifiers(() => true);
    if (stage.what === "flush") {
      this.#takeAccessFlags(change.flush?.calls ?? []);
      return this.#slots.flush(this.#vm, change);
    }
    if (stage.what === "publish") return this.#slots.publish(this.#vm, change);
    this.#takeAccessFlags(change.commit?.calls.slice(stage.calls - 1, stage.calls) ?? []);
    return this.#slots.followUp(this.#vm, stage);
  }

  // ---- memory management of the host ------------------------------------------------------------------------------

  #startNotifier(notifier: Notifier): void {
    const { start, end, calls } = notifier;
    this.#takeAccessFlags(calls);
    this.#replay.host.changes(notifier);
    this.#vm.invalidateStart(start, end);
    this.#comparison.calls(notifier, calls, this.#vm.calls());
    this.#comparison.pages(notifier, this.#fields.pageBytes);
  }

  /** An end was announced at its line, and came some time before the next record of its thread. */
  #endNotifiers(which: (notifier: Notifier) => boolean): void {
    if (this.#ending.length === 0) return;
    const ended = this.#ending.filter(which);
    this.#ending = this.#ending.filter((notifier) => !ended.includes(notifier));
    for (const { start, end } of ended) this.#vm.invalidateEnd(start, end);
  }

  #controlCaches(control: CacheControl): void {
    const { thread, op, now, calls } = control;
    const vcpu = this.#vcpus.get(thread);
    if (vcpu === undefined) return this.#comparison.differs(control, "its thread runs no vCPU");
    if (op === "set-way") this.#vm.setWay(vcpu, now);
    else this.#vm.setCaches(vcpu, now);
    this.#comparison.calls(control, calls, this.#vm.calls());
  }

  /** A fault that calls the library met no invalidation: those that were announced to end have ended. */
  #fault(stage: StageOf<"abort" | "open" | "close">): void | Promise<void> {
    if (stage.what === "open") return this.#faults.open(this.#vm, stage.of);
    this.#takeAccessFlags(stage.of.calls);
    if (stage.what === "close") return this.#faults.close(this.#vm, stage.of);
    if (stage.place !== undefined) this.#endNotifiers(() => true);
    return this.#faults.handle(this.#vm, stage);
  }

  #takeAccessFlags(calls: readonly LibraryCall[]): void {
    const { tables, tally } = this.#replay;
    if (tables.ha && calls.length > 0)
      tally.undecide("af-from-visits", this.#vm.takeAccessFlags(calls));
  }
}
