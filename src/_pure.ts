/** An instance of the core for pure functions, which belong to no engine. Made when first needed; holds one table page. */
import { Context } from "./_context.ts";
import { compileCoreSync, loadCore } from "./_load.ts";
import { check } from "./errors.ts";

const PAGE = 65536;
/** A table page. */
const UNIT = 4096;
let made: Context | undefined;

export function pureContext(): Context {
  made ??= make();
  return made;
}

function make(): Context {
  const module = compileCoreSync("single");
  const memory = new WebAssembly.Memory({ initial: 1 });
  const core = loadCore("single", memory, module);
  const pages = Math.ceil((core.engine_overhead(1, 1, 1, 1) + UNIT) / PAGE);
  memory.grow(pages);
  check(core.engine_init(PAGE, pages * PAGE, 0, 1, 1, 1, 1, 0), "pure functions");
  check(core.engine_attach(PAGE), "pure functions");
  return new Context(core, memory, module, "pure");
}
