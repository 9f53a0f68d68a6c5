/** The guest memories that this thread has, engine by engine: two over the same bytes would hand out each frame twice. */
import type { Context } from "../../_context.ts";
import { EEXIST, Stage2Error } from "../../errors.ts";
import type { Shape } from "./_layout.ts";

/** Shapes by the memory that has them. */
const open = new WeakMap<Context, Map<object, Shape>>();

export function remember(context: Context, memory: object, shape: Shape): void {
  const known = open.get(context);
  if (known === undefined) open.set(context, new Map([[memory, shape]]));
  else known.set(memory, shape);
}

export function forget(context: Context, memory: object): void {
  open.get(context)?.delete(memory);
}

/** Refuses bytes that another one has. Frames without bytes may be anywhere. @throws Stage2Error `EEXIST` */
export function refuseTaken(context: Context, shape: Shape): void {
  if (shape.pointer === undefined) return;
  for (const other of open.get(context)?.values() ?? []) {
    if (other.pointer === undefined || !overlap(shape, other)) continue;
    const message = "another guest memory of this engine has these bytes";
    throw new Stage2Error("EEXIST", message, { pa: shape.pa, other: other.pa }, EEXIST);
  }
}

function overlap(a: Shape, b: Shape): boolean {
  return a.pa < endOf(b) && b.pa < endOf(a);
}

function endOf({ pa, frames, pageShift }: Shape): number {
  return pa + frames * 2 ** pageShift;
}
