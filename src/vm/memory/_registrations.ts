/**
 * Ranges that hooks for missing pages are registered for: the hooks of this thread, and how many there are, in the areas.
 *
 * A registration is for the areas that are there when it is made. One that is mapped in their place later has a higher number,
 * and is none of its: neither asked for, nor counted down when the registration ends.
 */
import { type Area, changeBetween, existedAt } from "./_areas.ts";
import type { MissingMode } from "./_fault.ts";
import { HEADER } from "./_layout.ts";
import type { HostRange } from "./_notify.ts";
import type { Space } from "./_space.ts";

/** A range, and whom to ask about it. */
export interface Registered<Hook> {
  readonly from: number;
  readonly to: number;
  readonly mode: MissingMode;
  readonly hook: Hook;
  /** Number of the area that was mapped last before it. */
  readonly birth: number;
}

export class Registrations<Hook> {
  readonly #space: Space;
  readonly #all = new Set<Registered<Hook>>();

  constructor(space: Space) {
    this.#space = space;
  }

  /** Registers a hook. The range is checked. */
  add({ hva, size }: HostRange, mode: MissingMode, hook: Hook): Registered<Hook> {
    const birth = this.#space.state.load(HEADER.AREA_BIRTHS);
    const registered = { from: hva, to: hva + size, mode, hook, birth };
    this.#space.areas.edit((areas) => counted(areas, registered, 1));
    this.#all.add(registered);
    return registered;
  }

  /** Ends one. A second time does nothing. */
  remove(registered: Registered<Hook>): void {
    if (!this.#all.has(registered)) return;
    this.#space.areas.edit((areas) => counted(areas, registered, -1));
    this.#all.delete(registered);
  }

  /** Ends all of this thread, or none if it throws. */
  clear(): void {
    if (this.#all.size === 0) return;
    this.#space.areas.edit((areas) => {
      let next = areas;
      for (const registered of this.#all) next = counted(next, registered, -1);
      return next;
    });
    this.#all.clear();
  }

  /** The one to ask about an address. */
  find(hva: number, mode: MissingMode, area: Area): Registered<Hook> | undefined {
    for (const one of this.#all) {
      const covers = one.mode === mode && hva >= one.from && hva < one.to;
      if (covers && existedAt(area, one.birth)) return one;
    }
    return undefined;
  }

  /** Forgets those of which nothing is left in the range or outside of it: it was unmapped. */
  forgetUnmapped({ hva, size }: HostRange): void {
    const { areas } = this.#space.areas.look();
    for (const one of this.#all) {
      if (one.to <= hva || one.from >= hva + size) continue;
      if (!areas.some((area) => isFor(one, area))) this.#all.delete(one);
    }
  }
}

function isFor({ from, to, birth }: Registered<unknown>, area: Area): boolean {
  return area.start < to && from < area.end && existedAt(area, birth);
}

/** The areas with one registration more or less. */
function counted(areas: readonly Area[], registered: Registered<unknown>, by: 1 | -1): Area[] {
  const { from, to, mode } = registered;
  const change = (area: Area): Area => ({ ...area, [mode]: Math.max(0, area[mode] + by) });
  return areas.flatMap((area) =>
    isFor(registered, area) ? changeBetween([area], from, to, change) : [area],
  );
}
