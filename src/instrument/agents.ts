/**
 * The agent build: the release binary instrumented (instrument.ts), and made so that one thread can run several calls of
 * it beside each other.
 *
 *   release ── every access calls `env.step` ── waiting and waking are calls too ── Asyncify ──> agent build
 *
 * A call can be left inside of `env.step`, `wait32`, `wait64` or `notify` and be taken up again there (Binaryen's
 * Asyncify keeps its frames in memory). Waiting must never block the only thread: the host decides what it means. The
 * core's own mutable globals are exported, so that a host can put an instance back to what it was.
 */
import binaryen from "binaryen";
import { type Rewrite, instrumentedModule, number, offsetOf } from "./instrument.ts";
import { GLOBAL } from "./names.ts";
import { type Tree, lists } from "./tree.ts";

const LEAVE = ["step", "wait32", "wait64", "notify"].map((name) => `env.${name}`);

const WAITING: Rewrite = {
  imports: [
    importOf("wait32", ["i32", "i32", "i64"]),
    importOf("wait64", ["i32", "i64", "i64"]),
    importOf("notify", ["i32", "i32"]),
  ],
  code: waitingCall,
  fields: exportGlobals,
};

function importOf(name: string, parameters: readonly string[]): Tree {
  const type: Tree[] = ["func", `$stage2.${name}`, ["param", ...parameters], ["result", "i32"]];
  return ["import", '"env"', `"${name}"`, type];
}

/** (memory.atomic.wait32 offset=4 ADDRESS EXPECTED TIMEOUT) becomes (call $wait32 (i32.add ADDRESS 4) ...). */
function waitingCall(code: readonly Tree[]): Tree | undefined {
  const name = /^memory\.atomic\.(wait32|wait64|notify)$/.exec(String(code[0]))?.[1];
  if (name === undefined) return undefined;
  const [address, ...others] = lists(code) as [Tree[], ...Tree[][]];
  const at = ["i32.add", address, number(offsetOf(code))];
  return ["call", `$stage2.${name}`, at, ...others];
}

function exportGlobals(fields: readonly Tree[]): Tree[] {
  const mutable = fields.filter(
    (field) => field[0] === "global" && Array.isArray(field[2]) && field[2][0] === "mut",
  );
  return mutable.map(([, name], index) => [
    "export",
    `"${GLOBAL}${index}"`,
    ["global", name as Tree],
  ]);
}

/** After Asyncify: fewer locals to keep in frames. A whole optimisation takes twice as long and gains nothing (measured). */
const TIDY = ["simplify-locals", "coalesce-locals", "reorder-locals", "vacuum"];

/** The agent build of a release binary. */
export function agentBuild(binary: Uint8Array): Uint8Array<ArrayBuffer> {
  const module = instrumentedModule(binary, WAITING);
  binaryen.setPassArgument("asyncify-imports", LEAVE.join(","));
  try {
    module.runPasses(["asyncify", ...TIDY]);
    if (!module.validate()) throw new Error("the agent build is not valid");
    return new Uint8Array(module.emitBinary());
  } finally {
    binaryen.clearPassArguments();
    module.dispose();
  }
}
