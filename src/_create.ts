/** Making an engine: a place for it, its layout there, guest memory, this thread's instance of the core. */
import type { Core } from "./_abi.ts";
import { Context } from "./_context.ts";
import { type EngineOptions, checkedOptions } from "./_engine_options.ts";
import { addBanks, checkPlaces, endOfBanks } from "./_guest_ram.ts";
import { join } from "./_join.ts";
import { compileCore, loadCoreAsync } from "./_load.ts";
import { type Place, type Shape, UNIT, adoptedPlace, measuringCore, ownPlace } from "./_region.ts";
import { check } from "./errors.ts";

/** A thread's access to an engine, and where the engine lies. */
export interface Joined {
  readonly context: Context;
  readonly base: number;
}

/** Makes an engine. Nothing of an embedder's memory was touched if it throws for its options. */
export async function createContext(options: EngineOptions): Promise<Joined> {
  const { mode, shape, physical, patience, vmidBits, banks } = checkedOptions(options);
  const module = options.module ?? (await compileCore(mode));
  const measure = measuringCore(mode, module);
  const asked = options.maxTablePages !== undefined;
  const place =
    options.memory === undefined
      ? ownPlace(mode, measure, shape, endOfBanks(banks))
      : adoptedPlace(options.memory, options.region, measure, shape, asked);
  checkPlaces(banks, place, physical);
  const core = await loadCoreAsync(module, place.memory);
  initialise(core, place, { ...shape, units: place.units }, physical);
  join(core, place.base);
  addBanks(core, banks);
  check(core.engine_set_vmid_bits(vmidBits), "Engine.create", { vmidBits });
  const context = new Context(core, place.memory, module, newId());
  context.patience = patience;
  return { context, base: place.base };
}

function initialise(core: Core, place: Place, shape: Shape, physical: number): void {
  const { base, bytes, growable } = place;
  const status = core.engine_init(
    base,
    bytes,
    physical,
    shape.units,
    shape.threads,
    shape.objects,
    shape.events,
    Number(growable),
  );
  check(status, "Engine.create", { base, bytes, maxTablePages: shape.units, unit: UNIT });
}

/** Tells engines apart across threads. No secret: Node takes 5 ms to load its web crypto for the first call (measured). */
export function newId(): string {
  return Array.from({ length: 3 }, () => Math.random().toString(36).slice(2)).join("-");
}
