// @ts-check
/** The benchmark: `npm run bench -- --help`. */
import { writeFileSync } from "node:fs";
import os from "node:os";
import { Engine } from "stage2";
import { measure } from "./measure.mjs";
import { formatFacts, microFacts } from "./micro.mjs";
import { UsageError, USAGE, parseOptions, selects } from "./options.mjs";
import { formatPkvm, pkvmRows } from "./pkvm/index.mjs";
import { progressReport } from "./progress/report.mjs";
import { figure, formatRows, formatTable, toRow } from "./rows.mjs";
import { scalingRows } from "./scaling.mjs";
import { formatSimulator, simulatorRows } from "./simulator/index.mjs";
import { costs, formatCosts } from "./threads/costs.mjs";
import { formatThreadRows, hasThreadRows, namedThreadRows } from "./threads/rows.mjs";
import { scaleRows } from "./threads/scale.mjs";
import { formatVm, vmRows } from "./vm/index.mjs";
import { allWorkloads } from "./workloads/index.mjs";
import { GUEST_RAM } from "./workloads/two_stage.mjs";
import { Yardstick } from "./yardstick.mjs";

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}

/** @param {string[]} args */
async function main(args) {
  const options = parseOptions(args);
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  console.log(
    `${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, Node ${process.version}\n`,
  );
  const { figures, text } = await figuresOf(options);
  console.log(text);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
  return 0;
}

/** @param {import("./options.mjs").Options} options */
async function figuresOf(options) {
  if (options.micro) {
    const figures = await microFacts(options.reps);
    return { figures, text: formatFacts(figures) };
  }
  if (options.simulator) {
    const figures = await simulatorRows(options.only, options.reps, showProgress);
    return { figures, text: formatSimulator(figures) };
  }
  if (options.threads) return threadFigures();
  if (options.vm) return scenarioFigures(options, vmRows, formatVm);
  if (options.pkvm) return scenarioFigures(options, pkvmRows, formatPkvm);
  if (options.progress) return progressReport();
  if (options.scaling) {
    const figures = await scalingRows(options.reps, showProgress);
    return { figures, text: formatRows(figures) };
  }
  return workloadFigures(options);
}

/** The workloads by their fixed names: of one thread, then those of several. @param {import("./options.mjs").Options} options */
async function workloadFigures(options) {
  const { only, reps } = options;
  const single = await workloadRows(options);
  const several = await namedThreadRows((name) => selects(only, name), reps);
  const texts = [
    ...(single.length > 0 ? [formatRows(single)] : []),
    ...(several.length > 0 ? [formatThreadRows(several, formatTable)] : []),
  ];
  return { figures: [...single, ...several], text: texts.join("\n\n") };
}

async function threadFigures() {
  const found = await costs(showProgress);
  const rows = await scaleRows(showProgress);
  const text = `${formatCosts(found, formatTable, figure)}\n\n${formatThreadRows(rows, formatTable)}`;
  return { figures: { costs: found, scaling: rows }, text };
}

/**
 * Scenarios in phases, and facts beside them.
 *
 * @template {{ rows: readonly object[], facts: readonly object[] }} Found
 * @param {import("./options.mjs").Options} options
 * @param {(only: string, reps: number, progress: typeof showProgress) => Promise<Found>} measureRows
 * @param {(found: Found) => string} format
 */
async function scenarioFigures({ only, reps }, measureRows, format) {
  const found = await measureRows(only, reps, showProgress);
  const figures = [...found.rows, ...found.facts];
  if (figures.length === 0) throw new UsageError(`no scenario is named ${only}`);
  return { figures, text: format(found) };
}

/** @param {import("./options.mjs").Options} options */
async function workloadRows({ only, reps }) {
  const engine = await Engine.create({ guestRam: GUEST_RAM });
  const workloads = allWorkloads(engine).filter(({ name }) => selects(only, name));
  if (workloads.length === 0) {
    engine.dispose();
    if (hasThreadRows(only, selects)) return [];
    throw new UsageError(`no workload is named ${only}`);
  }

  const yardstick = Yardstick.build();
  if (!yardstick)
    console.log("No gcc here: no yardstick, and the goals are not scaled to this machine.\n");
  const { ours, native } = measure(workloads, reps, yardstick, showProgress);
  yardstick?.dispose();
  engine.dispose();
  return workloads.map((workload) => toRow(workload, ours.get(workload.name) ?? [], native));
}

/** @param {number} done @param {number} total */
function showProgress(done, total) {
  if (!process.stderr.isTTY) return;
  process.stderr.write(done === total ? "\r\x1b[K" : `\rround ${done + 1} of ${total}`);
}
