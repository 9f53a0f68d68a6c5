/** `npm run ghost`: random hypercalls on the hypervisor and on its model. */
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { HELP, Unusable, findingText, jsonOf, parseCommand, summary } from "./command.ts";
import { planted } from "./plants.ts";
import { type Finding, type Report, replay, run } from "./run.ts";
import { BadScript, parseScript } from "./script.ts";
import { shrink } from "./shrink.ts";
import { smallWorld } from "./world.ts";

/** Differences that are made small and shown; there is rarely more than one cause. */
const SHOWN = 3;

async function main(argv: readonly string[]): Promise<number> {
  const command = parseCommand(argv);
  if (command.help) {
    console.log(HELP);
    return 0;
  }
  checkWritable(command.json);
  const options = planted(command.plant);
  if (command.replay !== undefined) return replayFile(command.replay, options);
  const start = performance.now();
  const { calls, seed, generations } = command;
  const worlds = generations.map(smallWorld);
  const report = await run({ calls, seed, worlds, ...options });
  if (command.json !== undefined) writeFileSync(command.json, jsonOf(report));
  await show(report, options);
  console.log(`${summary(report)}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
  return report.findings.length === 0 ? 0 : 1;
}

async function show({ findings }: Report, options: ReturnType<typeof planted>): Promise<void> {
  for (const finding of findings.slice(0, SHOWN))
    console.log(`${findingText(await shrink(finding, options))}\n`);
}

/** Told before the run, not after it. */
function checkWritable(json: string | undefined): void {
  if (json === undefined) return;
  try {
    closeSync(openSync(json, "a"));
  } catch (error) {
    throw new Unusable(`--json: ${(error as Error).message}`);
  }
}

async function replayFile(file: string, options: ReturnType<typeof planted>): Promise<number> {
  const { generation, steps } = readScript(file);
  const world = smallWorld(generation);
  const found = await replay(world, steps, options);
  if (found === undefined) {
    console.log(`${steps.length} hypercalls: no difference`);
    return 0;
  }
  const finding: Finding = {
    world,
    steps: steps.slice(0, found.calls),
    difference: found.difference,
  };
  console.log(findingText(finding));
  return 1;
}

function readScript(file: string): ReturnType<typeof parseScript> {
  try {
    return parseScript(readFileSync(file, "utf8"));
  } catch (error) {
    if (error instanceof BadScript) throw new Unusable(`${file}: ${error.message}`);
    throw new Unusable((error as Error).message);
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Unusable)) throw error;
  console.error(`ghost: ${error.message} (see --help)`);
  process.exitCode = 2;
}
