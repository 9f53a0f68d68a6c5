/** The commands of the `stage2` tool, and what it says about itself. */
import { version } from "../../package.json";
import { conformCommand } from "./conform.ts";
import { dumpCommand } from "./dump.ts";
import { replayCommand } from "./replay.ts";
import { type Command, EXIT, type Io, run, usageError } from "./shared.ts";

const HELP = `Usage: stage2 <command> [options] <file-or-directory>…

Commands
  conform [--json] <file-or-dir>…
      Replays page-table test vectors, each traced and untraced.
  replay [--level pgtable] [--report out.html] [--json] <trace>…
      Replays recorded KVM traces and compares every call, entry and table.
  dump [--regime s2.cpu0] [--expect file] [--json] <tables.json>
      Prints an imported table image as ranges; --expect checks every expectation.

Options
  --json      one JSON document on standard output, nothing else there
  --help      this text
  --version   the version

Exit codes: 0 all holds, 1 something differs, 2 unusable input or arguments.`;

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ["conform", conformCommand],
  ["replay", replayCommand],
  ["dump", dumpCommand],
]);

/** Runs the tool with its arguments; the result is the exit code. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = argv;
  if (name === "--version" || name === "-v") return print(io, version);
  const help = argv.some((word) => word === "--help" || word === "-h");
  if (help || name === "help") return print(io, HELP);
  return run(commandNamed(name), rest, io);
}

function print(io: Io, text: string): number {
  io.out(text);
  return EXIT.HOLDS;
}

function commandNamed(name: string | undefined): Command {
  const command = name === undefined ? undefined : COMMANDS.get(name);
  if (command !== undefined) return command;
  return () => {
    throw usageError(name === undefined ? "no command given" : `unknown command "${name}"`);
  };
}
