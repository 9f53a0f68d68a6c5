/** The parts of a guest memory as one thread has them, and the way to change page words. */
import type { Engine } from "../../engine.ts";
import { mayBlock } from "../../_patience.ts";
import { ENOMEM, Stage2Error } from "../../errors.ts";
import { type Area, Areas, type Look, areaAt } from "./_areas.ts";
import { FrameBytes } from "./_bytes.ts";
import { Frames } from "./_frames.ts";
import type { State } from "./_layout.ts";
import { Locks, type Waiter } from "./_lock.ts";
import { type HostRange, Notifiers } from "./_notify.ts";
import { BLOCK, pageWord, STATE, stateOf } from "./_page.ts";

/** Page words of one group that belong to a part of an area. */
export interface Stretch {
  readonly area: Area;
  /** Address of the first one. */
  readonly hva: number;
  readonly first: number;
  /** Behind the last one. */
  readonly end: number;
}

export class Space {
  readonly state: State;
  readonly waiter: Waiter;
  readonly frames: Frames;
  readonly bytes: FrameBytes;
  readonly areas: Areas;
  readonly vms: Notifiers;
  readonly locks: Locks;

  constructor(engine: Engine, state: State) {
    this.state = state;
    const { context } = engine; // the engine itself does not answer any more when it ends
    this.waiter = {
      thread: engine.thread,
      get patience() {
        return context.patience;
      },
      blocks: mayBlock(engine.mode),
    };
    this.locks = new Locks(state.words, this.waiter);
    this.frames = new Frames(state);
    this.bytes = new FrameBytes(engine, state);
    this.areas = new Areas(state, this.locks);
    this.vms = new Notifiers(state, this.waiter);
  }

  /** Index of the page word for an address of the area. */
  index(area: Area, hva: number): number {
    return this.state.pages + area.words + Math.floor((hva - area.start) / area.unit);
  }

  /** Whether the page word is one of the area's. */
  holds(area: Area, index: number): boolean {
    const first = this.state.pages + area.words;
    const count = (area.end - area.start) / area.unit;
    return area.kind !== "device" && index >= first && index < first + count;
  }

  /** First address of the paging unit that holds this one. */
  unitAt(area: Area, hva: number): HostRange {
    return { hva: hva - ((hva - area.start) % area.unit), size: area.unit };
  }

  /** Pages that one page word is for. */
  unitPages(area: Area): number {
    return area.unit / this.state.page;
  }

  /** Runs `action` under the lock of the page word's group. */
  locked<T>(index: number, action: () => T): T {
    return this.locks.hold(this.state.lockOf(index), action);
  }

  /** Under its lock, if the word is still `word`, and its area what it was: makes `change` and says so. */
  changed(look: Look, index: number, word: number, change: () => void): boolean {
    return this.locked(index, () => {
      if (!this.areas.still(look) || this.state.load(index) !== word) return false;
      change();
      return true;
    });
  }

  /** Every page word of the range, stretch by stretch, each under its lock. What is unmapped meanwhile is passed over. */
  eachStretch(from: number, to: number, visit: (stretch: Stretch) => void): void {
    for (let hva = from; hva < to;) {
      const look = this.areas.look();
      const area = areaAt(look.areas, hva);
      if (area === undefined || area.kind === "device") {
        hva = area?.end ?? look.areas.find((one) => one.start > hva)?.start ?? to;
        continue;
      }
      const stretch = this.#stretch(area, hva, Math.min(area.end, to));
      const seen = this.locked(stretch.first, () => {
        if (!this.areas.still(look)) return false;
        visit(stretch);
        return true;
      });
      if (seen) hva += (stretch.end - stretch.first) * area.unit;
    }
  }

  /** The same for an area that is being taken away. */
  eachDying(area: Area, visit: (stretch: Stretch) => void): void {
    for (let hva = area.start; hva < area.end;) {
      const stretch = this.#stretch(area, hva, area.end);
      this.locked(stretch.first, () => visit(stretch));
      hva += (stretch.end - stretch.first) * area.unit;
    }
  }

  /** Makes pages of a block that lies only in part in the stretch, or in any case with `whole`. Under the lock. */
  breakBlock({ first, end }: Pick<Stretch, "first" | "end">, whole = true): void {
    const { state } = this;
    if ((state.load(first) & BLOCK) === 0) return;
    if (!whole && end - first === state.blockPages) return;
    const group = state.groupOf(first);
    for (let index = group; index < group + state.blockPages; index++) {
      state.store(index, state.load(index) & ~BLOCK);
    }
    state.count("splits");
  }

  /** Widens a range to the blocks at its edges, which will have to be split. */
  widened(from: number, to: number): HostRange {
    const start = this.#blockEdge(from, false);
    return { hva: start, size: this.#blockEdge(to, true) - start };
  }

  /** A frame for a page that is to be written. @throws Stage2Error `ENOMEM` */
  frame(): number {
    const frame = this.frames.take();
    if (frame >= 0) return frame;
    throw noFrames(1);
  }

  /** Frames of a huge page. @throws Stage2Error `ENOMEM` */
  run(pages: number): number {
    if (pages === 1) return this.frame();
    const frame = this.frames.takeRun(pages);
    if (frame >= 0) return frame;
    throw noFrames(pages);
  }

  /** The word of a page that maps the page of zeros. @throws Stage2Error `ENOMEM` */
  zeroWord(): number {
    const frame = this.frames.zero((one) => this.bytes.zero(one, 1));
    if (frame < 0) throw noFrames(1);
    return pageWord(STATE.ZERO, frame);
  }

  #stretch(area: Area, hva: number, to: number): Stretch {
    const first = this.index(area, hva);
    const group = this.state.groupOf(first) + this.state.blockPages;
    return { area, hva, first, end: Math.min(group, first + (to - hva) / area.unit) };
  }

  #blockEdge(hva: number, up: boolean): number {
    const { state } = this;
    const size = state.blockPages * state.page;
    if (hva % size === 0) return hva;
    const area = areaAt(this.areas.look().areas, hva);
    if (area === undefined || area.kind === "device") return hva;
    const word = state.load(this.index(area, hva));
    if (stateOf(word) !== STATE.PRESENT || (word & BLOCK) === 0) return hva;
    return (up ? Math.ceil(hva / size) : Math.floor(hva / size)) * size;
  }
}

function noFrames(pages: number): Stage2Error {
  const message = pages === 1 ? "no frame is free" : `no ${pages} frames in a row are free`;
  return new Stage2Error("ENOMEM", `guest memory: ${message}`, { pages }, ENOMEM);
}
