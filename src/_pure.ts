/** An instance of the core for pure functions, which belong to no engine. Made when first needed; holds one table page. */
import { Context } from "./_context.ts";
import { compileCoreSync, loadCore } from "./_load.ts";
import { check } from "./errors.ts";

const PAGE = 65536;
let made: Context | undefined;

export function pureContext(): Context {
  made ??= make();
  return made;
}

function make(): Context {
  const module = compileCoreSync("single");
  const memory = new WebAssembly.Memory({ initial: 3 });
  const core = loadCore("single", memory, module);
  check(core.engine_init(PAGE, 2 * PAGE, 0, 1, 1, 1, 1, 0), "pure functions");
  check(core.engine_attach(PAGE), "pure functions");
  return new Context(core, memory, module, "pure");
}
