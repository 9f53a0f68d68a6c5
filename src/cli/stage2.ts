/** The commands of the `stage2` tool, and what it says about itself. */
import { version } from "../../package.json";
import { conformCommand } from "./conform.ts";
import { dumpCommand } from "./dump.ts";
import { pkvmCommand } from "./pkvm.ts";
import { replayCommand } from "./replay.ts";
import { type Command, EXIT, type Io, run, usageError } from "./shared.ts";
import { translateCommand } from "./translate.ts";

const HELP = `Usage: stage2 <command> [options] <file-or-directory>…

Commands
  conform [--list-arch] [--json] <file-or-dir>…
      Replays test vectors: of page-table operations, each traced and untraced, and of
      hardware walks, each with and without a TLB. --list-arch names the hardware vectors
      with two right answers, and which was given.
  replay [--level pgtable|vm] [--report out.html] [--json] <trace>…
      Replays recorded KVM traces and compares every call, entry and table. With --level vm
      what the hosts were asked for (memslots, aborts, notifiers, dirty logs) is done again,
      and every call of the page-table library is predicted.
  dump [--regime s2.cpu0] [--expect file] [--json] <tables.json>
      Prints an imported table image as ranges; --expect walks it for every expectation.
  translate [--regime guest_ttbr0.cpu0] [--write | --fetch] [--el N] [--json] <tables.json> <address>
      Walks one address through a table image, every descriptor of both stages in turn.
      Without --regime: a virtual address of the guest that was stopped. With s2.cpu0: an
      intermediate physical one, through stage 2 alone.
  translate --trace <trace> [--at record] [--table root] [--write | --fetch] [--json] <ipa>
      Replays a trace up to a record (default: to its end) and walks the table as it is then.
  pkvm --script <file> [--report out.html] [--json]
      Makes the hypercalls of a script on a pKVM machine of its own, says what each answered
      and changed, and at the end who owns physical memory.

Options
  --json      one JSON document on standard output, nothing else there
  --help      this text
  --version   the version

Exit codes: 0 all holds (translate: an address), 1 something differs (a fault), 2 unusable
input or arguments.`;

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ["conform", conformCommand],
  ["replay", replayCommand],
  ["dump", dumpCommand],
  ["translate", translateCommand],
  ["pkvm", pkvmCommand],
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
