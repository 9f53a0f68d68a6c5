/** Work of a VM that is done in steps, of which others come between. */
import { Busy, FIRM, type Work } from "../../vm/_work.ts";

/** A piece of work of the VM that is done step by step. */
export class Steps {
  readonly #work: Work<unknown>;
  #done = false;

  constructor(work: Work<unknown>) {
    this.#work = work;
  }

  get done(): boolean {
    return this.#done;
  }

  /** Goes on until it cannot be taken back any more. */
  untilFirm(): void {
    this.until((pause) => pause === FIRM);
  }

  /** Goes on until `enough` says so after a step, or it is over. */
  until(enough: (pause: unknown) => boolean): void {
    while (!this.#done) {
      const { done, value } = this.#work.next();
      if (value instanceof Busy) throw value.error;
      this.#done = done === true;
      if (this.#done || enough(value)) return;
    }
  }
}
