/** `npm run litmus`: every litmus test on the engine and on its mutants, over as many threads as there are processors. */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import type { Litmus } from "../../src/explorer/litmus.ts";
import { type Turn, parseSchedule } from "../../src/explorer/schedule.ts";
import { catalogue } from "./catalogue/index.ts";
import { type Row, Mutants, check, engineBuild, replayTurns } from "./check.ts";
import { type Command, HELP, Unusable, holds, jsonOf, parseCommand, printRow } from "./command.ts";
import { mutantBuild } from "./mutants.ts";
import { mutants } from "./mutants/index.ts";

/** What a worker is told once. */
interface Shared {
  readonly argv: readonly string[];
  readonly binary: Uint8Array<ArrayBuffer>;
}

function buildsOf({ on }: Command, binary: Uint8Array<ArrayBuffer>) {
  const all = new Mutants(mutants, binary);
  return { all, engine: on === undefined ? engineBuild() : all.build(on) };
}

/** Explores the tests that it is given by name, one after the other. */
function work({ argv, binary }: Shared): void {
  const command = parseCommand(argv, catalogue, mutants);
  const { all, engine } = buildsOf(command, binary);
  parentPort?.on("message", (name: string) => {
    const litmus = command.tests.find((test) => test.name === name);
    if (litmus === undefined) throw new Error(`there is no test ${name}`);
    parentPort?.postMessage(check(litmus, engine, all, command));
  });
}

/** Rows in the order of the tests, each printed as soon as those before it are there. */
async function exploreAll(command: Command, shared: Shared): Promise<Row[]> {
  const rows: (Row | undefined)[] = command.tests.map(() => undefined);
  let begun = 0;
  let printed = 0;
  const done = (index: number, row: Row): void => {
    rows[index] = row;
    for (let next = rows[printed]; next !== undefined; next = rows[++printed])
      console.log(printRow(next, command.traces));
  };
  const count = Math.min(command.workers ?? availableParallelism(), command.tests.length);
  const workers = Array.from({ length: count }, async () => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: shared });
    try {
      while (begun < command.tests.length) {
        const index = begun++;
        done(index, await ask(worker, (command.tests[index] as Command["tests"][number]).name));
      }
    } finally {
      await worker.terminate();
    }
  });
  await Promise.all(workers);
  return rows as Row[];
}

function ask(worker: Worker, name: string): Promise<Row> {
  return new Promise((resolve, reject) => {
    worker.removeAllListeners();
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.postMessage(name);
  });
}

async function main(argv: readonly string[]): Promise<number> {
  const command = parseCommand(argv, catalogue, mutants);
  if (command.help) {
    console.log(HELP);
    return 0;
  }
  const binary = await mutantBuild(mutants, fileURLToPath(new URL("..", import.meta.url)));
  checkWritable(command.json);
  if (command.replay !== undefined) return replayOne(command, command.replay, binary);
  const start = performance.now();
  const rows = await exploreAll(command, { argv, binary });
  if (command.json !== undefined) writeFileSync(command.json, jsonOf(rows));
  const failed = rows.filter((row) => !holds(row)).length;
  const caught = rows.flatMap((row) => row.mutants).filter((mutant) => mutant.caught).length;
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(
    `${rows.length - failed} hold, ${failed} do not; ${caught} mutants caught; ${seconds} s`,
  );
  return failed === 0 ? 0 : 1;
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

function replayOne(
  command: Command,
  { litmus, schedule }: NonNullable<Command["replay"]>,
  binary: Uint8Array<ArrayBuffer>,
): number {
  const turns = turnsFrom(schedule, litmus);
  const { message, report } = replayTurns(litmus, buildsOf(command, binary).engine, turns);
  console.log(report);
  return message === undefined ? 0 : 1;
}

function turnsFrom(schedule: string, { agents }: Litmus): Turn[] {
  try {
    return parseSchedule(schedule, agents);
  } catch (error) {
    throw new Unusable((error as Error).message);
  }
}

if (isMainThread) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    console.error(`litmus: ${error.message} (see --help)`);
    process.exitCode = 2;
  }
} else work(workerData as Shared);
