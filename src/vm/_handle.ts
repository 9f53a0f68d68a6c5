/** Attaching to a VM that another thread made. */
import type { Context } from "../_context.ts";
import { disposed } from "../_context.ts";
import type { Shape } from "../_table.ts";
import { isPointer } from "../_view.ts";
import { Stage2Error } from "../errors.ts";
import { flagOption, knownOptions } from "../range.ts";
import { type VmFacts, vmCore } from "./_place.ts";
import { type Backing, checkedBacking } from "./backing.ts";
import { type Bus, checkedBus } from "./bus.ts";

/** What another thread needs to use the VM: {@link Engine.attachVm}. It can be posted. */
export interface VmHandle {
  readonly kind: "stage2-vm";
  readonly engine: string;
  readonly pointer: number;
  /** Tells the VM from others that had its place before. */
  readonly generation: number;
  readonly shape: Shape;
  /** What it was made with, as the core's bits. */
  readonly options: number;
}

/** What is this thread's own: what it asks about memory and devices. */
export interface VmAttachOptions {
  /** What is behind host virtual addresses. */
  memory?: Backing;
  /** Devices that the hypervisor has itself. */
  bus?: Bus;
  /** This object destroys the VM when it is disposed: the thread that made it has ended. Default false. */
  own?: boolean;
}

/** @throws Stage2Error `BAD_OPTION`, `FOREIGN`, `DISPOSED` */
export function attachedFacts(
  context: Context,
  handle: VmHandle,
  options: VmAttachOptions,
): VmFacts {
  knownOptions("attachVm", options, ["memory", "bus", "own"]);
  const owned = flagOption("own", options.own ?? false);
  const [memory, bus] = [checkedBacking(options.memory), checkedBus(options.bus)];
  const { pointer, shape, options: bits } = checkedHandle(context, handle);
  return { pointer, shape, options: bits, owned, memory, bus };
}

function checkedHandle(context: Context, handle: VmHandle): VmHandle {
  const candidate: Partial<VmHandle> | null | undefined = handle;
  const { kind, engine, pointer, generation, shape, options } = candidate ?? {};
  const isComplete = typeof shape === "object" && shape !== null && Number.isInteger(options);
  if (kind !== "stage2-vm" || !isComplete) {
    throw new Stage2Error("BAD_OPTION", "this is no handle of a VM");
  }
  if (engine !== context.id) throw new Stage2Error("FOREIGN", "the VM belongs to another engine");
  const core = vmCore(context);
  const found = isPointer(pointer) ? core.vm_generation(pointer) : 0;
  if (found !== 0 && found === generation) return handle;
  throw disposed("VM");
}
