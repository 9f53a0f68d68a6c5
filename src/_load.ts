/**
 * Compiles and instantiates the core. Each build is inlined as base64 and compiled once per thread; a module that was
 * compiled elsewhere (posted to a worker, or fetched as `stage2/core.wasm`) can be handed in.
 */
import { single, threads } from "virtual:stage2-core";
import type { Core } from "./_abi.ts";
import { Stage2Error } from "./errors.ts";

/** `threads`: over a shared memory, any number of threads. `single`: over a plain memory. */
export type Mode = "threads" | "single";

const INLINED = { threads, single } as const;
const compiled = new Map<Mode, WebAssembly.Module>();

/** The inlined binary of a build. Node decodes it natively; the loop takes 3 ms in a cold program (measured). */
function coreBytes(mode: Mode): Uint8Array<ArrayBuffer> {
  if (globalThis.Buffer !== undefined) return globalThis.Buffer.from(INLINED[mode], "base64");
  const text = atob(INLINED[mode]);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The module of a build, compiled off the calling thread the first time. */
export async function compileCore(mode: Mode): Promise<WebAssembly.Module> {
  const known = compiled.get(mode);
  if (known !== undefined) return known;
  const module = await WebAssembly.compile(coreBytes(mode));
  compiled.set(mode, module);
  return module;
}

/** The module of a build, at once. Browsers may refuse this on the main thread if the core has not been compiled yet. */
export function compileCoreSync(mode: Mode): WebAssembly.Module {
  const known = compiled.get(mode);
  if (known !== undefined) return known;
  const module = new WebAssembly.Module(coreBytes(mode));
  compiled.set(mode, module);
  return module;
}

/** Instantiates the core over `memory`, which must be shared if and only if `mode` is `threads`. */
export function loadCore(
  mode: Mode,
  memory: WebAssembly.Memory,
  module = compileCoreSync(mode),
): Core {
  try {
    return asCore(new WebAssembly.Instance(module, { env: { memory } }));
  } catch (error) {
    throw linkError(error, memory);
  }
}

/** The same without blocking: browsers limit what the main thread may instantiate at once. */
export async function loadCoreAsync(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Promise<Core> {
  try {
    return asCore(await WebAssembly.instantiate(module, { env: { memory } }));
  } catch (error) {
    throw linkError(error, memory);
  }
}

function asCore({ exports }: WebAssembly.Instance): Core {
  if (typeof exports["engine_init"] === "function") return exports as unknown as Core;
  throw new Stage2Error("BAD_OPTION", "the module is not the core");
}

/** A module that does not link is another program's, or the build for the other kind of memory. */
function linkError(error: unknown, { buffer }: WebAssembly.Memory): unknown {
  if (!(error instanceof WebAssembly.LinkError || error instanceof TypeError)) return error;
  const plain = buffer instanceof ArrayBuffer;
  const message = `the module is not the core for a memory that is ${plain ? "not " : ""}shared`;
  return new Stage2Error("BAD_OPTION", message);
}
