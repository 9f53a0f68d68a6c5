/** Joining a live engine: the handle, the thread slot. */
import type { Core } from "./_abi.ts";
import { checkModule } from "./_engine_options.ts";
import { checkedPatience } from "./_patience.ts";
import { UNIT } from "./_region.ts";
import { EBUSY, EINVAL, EPERM, Stage2Error } from "./errors.ts";
import { knownOptions } from "./range.ts";

/** What another thread needs to attach. It can be posted to a worker. */
export interface EngineHandle {
  readonly kind: "stage2-engine";
  readonly id: string;
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly module?: WebAssembly.Module;
}

/** Offset of the number of thread slots in an engine's header (assembly/layout.ts, H_THREADS). */
const THREADS_WORD = 12;

/** How a thread joins. */
export interface AttachOptions {
  /** Milliseconds that this thread waits for another: {@link EngineOptions.patience}. Default 2,000. */
  patience?: number;
}

/** The patience of a thread that joins. @throws Stage2Error `BAD_OPTION` */
export function checkedAttach(options: AttachOptions): number {
  knownOptions("attach", options, ["patience"]);
  return checkedPatience(options.patience);
}

/** Memory and place that a handle names. @throws Stage2Error `BAD_OPTION`, `NOT_STAGE2_MEMORY` */
export function checkedHandle(handle: EngineHandle): { memory: WebAssembly.Memory; base: number } {
  const candidate: Partial<EngineHandle> | null = handle;
  if (typeof candidate !== "object" || candidate?.kind !== "stage2-engine") {
    throw new Stage2Error("BAD_OPTION", "this is no handle of an engine", {});
  }
  const { memory, base, module } = handle;
  if (module !== undefined) checkModule(module);
  const known = memory instanceof WebAssembly.Memory && Number.isInteger(base) && base >= UNIT;
  if (known && base % 65536 === 0 && base + 65536 <= memory.buffer.byteLength)
    return { memory, base };
  throw new Stage2Error("NOT_STAGE2_MEMORY", "the handle names no engine's memory", { base });
}

/** Takes a thread slot. */
export function join(core: Core, base: number, memory?: WebAssembly.Memory): void {
  const slot = core.engine_attach(base);
  if (slot === -EBUSY) throw noSlot(memory, base);
  if (slot < 0) throw attachError(core, slot, base);
}

/** The header says how many there are: nobody has joined who could ask the core. */
function noSlot(memory: WebAssembly.Memory | undefined, base: number): Stage2Error {
  const maxThreads = memory && new Uint32Array(memory.buffer, base + THREADS_WORD, 1)[0];
  const message =
    "every thread slot is taken; reclaimThread frees those of threads that have ended";
  return new Stage2Error("TOO_MANY_THREADS", message, { maxThreads });
}

function attachError(core: Core, status: number, base: number): Stage2Error {
  if (status === -EINVAL)
    return new Stage2Error("NOT_STAGE2_MEMORY", "there is no engine", { base });
  if (status !== -EPERM) return new Stage2Error("EINVAL", "attach failed", { status }, -status);
  return new Stage2Error("BAD_VERSION", "another version of this library made the engine", {
    found: core.engine_version_at(base),
    expected: core.engine_version(),
  });
}
