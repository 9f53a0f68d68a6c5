/** `stage2 pkvm --script <file> [--report out.html] [--json]`: runs hypercalls from a script, and shows who owns what. */
import { Engine } from "../engine.ts";
import { readText } from "../input.ts";
import type { ScriptResult } from "./pkvm_script/document.ts";
import { parseScript } from "./pkvm_script/parse.ts";
import { runScript } from "./pkvm_script/run.ts";
import type { Script } from "./pkvm_script/syntax.ts";
import { tableBase } from "./pkvm_script/table_pool.ts";
import { resultText } from "./pkvm_script/text.ts";
import { checkReportFile, writeReportFile } from "./report/file.ts";
import { renderPkvmReport } from "./report/pkvm.ts";
import { EXIT, type Io, parseArguments, usageError } from "./shared.ts";

/** Table pages for what fits into a script's machine: 8 bytes a page of memory, in records and tables of host and hypervisor. */
const TABLE_PAGES = 65_536;
const TABLE_PAGE_BYTES = 4096;

/** Exit code 0: every expectation holds; 1: one differs. */
export async function pkvmCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArguments(argv, {
    script: { type: "string" },
    report: { type: "string" },
    json: { type: "boolean" },
  });
  if (values.script === undefined || positionals.length > 0)
    throw usageError("pkvm takes one script: --script <file>");
  const script = parseScript(values.script, readText(values.script));
  if (values.report !== undefined) checkReportFile(values.report, [values.script]);
  const result = await run(script);
  if (values.report !== undefined) writeReportFile(values.report, renderPkvmReport(result));
  io.out(values.json ? JSON.stringify(result, null, 2) : resultText(result, values.report));
  return result.ok ? EXIT.HOLDS : EXIT.DIFFERS;
}

async function run(script: Script): Promise<ScriptResult> {
  const tablePhysicalBase = tableBase(script.machine, TABLE_PAGES * TABLE_PAGE_BYTES);
  const engine = await Engine.create({ maxTablePages: TABLE_PAGES, tablePhysicalBase });
  try {
    return runScript(engine, script);
  } finally {
    engine.dispose();
  }
}
