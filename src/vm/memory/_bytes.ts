/** The bytes of frames: a stretch of the engine's memory, where guests' loads and stores go. Or none, for page states alone. */
import type { Engine } from "../../engine.ts";
import { Stage2Error } from "../../errors.ts";
import type { State } from "./_layout.ts";

export class FrameBytes {
  readonly #engine: Engine;
  readonly #pointer: number | undefined;
  readonly #page: number;

  constructor(engine: Engine, state: State) {
    this.#engine = engine;
    this.#pointer = state.shape.pointer;
    this.#page = state.page;
  }

  get exist(): boolean {
    return this.#pointer !== undefined;
  }

  zero(frame: number, count: number): void {
    if (this.#pointer === undefined) return;
    const from = this.#pointer + frame * this.#page;
    this.#engine.u8.fill(0, from, from + count * this.#page);
  }

  copy(from: number, to: number, count: number): void {
    if (this.#pointer === undefined) return;
    const source = this.#pointer + from * this.#page;
    const end = source + count * this.#page;
    this.#engine.u8.copyWithin(this.#pointer + to * this.#page, source, end);
  }

  /** The bytes from `offset` in a frame on. @throws Stage2Error `ENOSYS` where frames have none. */
  view(frame: number, offset: number, length: number): Uint8Array {
    if (this.#pointer === undefined) throw noBytes();
    const from = this.#pointer + frame * this.#page + offset;
    return this.#engine.u8.subarray(from, from + length);
  }
}

/** The error for bytes where frames have none. */
export function noBytes(): Stage2Error {
  return new Stage2Error("ENOSYS", "this guest memory has frames without bytes", {}, 38);
}
