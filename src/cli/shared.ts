/** What every command of the `stage2` tool shares: where it prints, its arguments, its files, and its exit codes. */
import { readdirSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { type ParseArgsConfig, parseArgs } from "node:util";
import { Stage2Error } from "../errors.ts";
import { inputError } from "../input.ts";

/** Exit codes, the same for every command. */
export const EXIT = {
  /** Everything holds. */
  HOLDS: 0,
  /** Something differs or is violated. */
  DIFFERS: 1,
  /** The arguments or an input cannot be used. */
  UNUSABLE: 2,
} as const;

/** Where a command prints. Tests hand in their own. */
export interface Io {
  /** Writes `text` and a line end to standard output. */
  out(text: string): void;
  /** Writes `text` and a line end to standard error. */
  err(text: string): void;
  /** Whether standard error is a terminal, where progress may be drawn. */
  readonly tty: boolean;
}

/** A command: its arguments without its name, and its exit code. */
export type Command = (argv: readonly string[], io: Io) => Promise<number>;

/** The error for arguments that cannot be used. */
export function usageError(message: string): Stage2Error {
  return new Stage2Error("BAD_INPUT", `${message} (see "stage2 --help")`);
}

type Options = NonNullable<ParseArgsConfig["options"]>;

/** Options and file names of a command line; an unknown option is a {@link usageError}. */
export function parseArguments<O extends Options>(argv: readonly string[], options: O) {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    // Node adds a hint of several sentences; the first one names the option.
    throw usageError(error.message.split(/\. |\n/)[0] as string);
  }
}

function isArgumentError(error: unknown): error is Error {
  const code = (error as NodeJS.ErrnoException).code;
  return error instanceof Error && code !== undefined && code.startsWith("ERR_PARSE_ARGS");
}

/**
 * The files that `paths` stand for: a file stands for itself, a directory for every file below it whose name ends in
 * one of `suffixes`, sorted. A path that does not exist and a directory without such files are errors.
 */
export function expandPaths(paths: readonly string[], suffixes: readonly string[]): string[] {
  return paths.flatMap((path) => {
    const below = filesBelow(path);
    if (below === undefined) return [path];
    const files = below.filter((file) => suffixes.some((end) => file.endsWith(end)));
    if (files.length > 0) return files;
    throw inputError(path, `no ${suffixes.join(" or ")} files in this directory`);
  });
}

/** Every file below a directory, sorted; undefined if `path` is a file. */
function filesBelow(path: string): string[] | undefined {
  try {
    return statSync(path).isDirectory() ? listed(path, []).sort() : undefined;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw inputError(path, missing ? "no such file" : "cannot be read");
  }
}

/** Files below a directory. Links are followed, but not back up to one of the directories `above`. */
function listed(directory: string, above: readonly string[]): string[] {
  const place = realpathSync(directory);
  if (above.includes(place)) return [];
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) return listed(path, [...above, place]);
    return found === undefined || found.isFile() ? [path] : []; // a link to nothing: reading it will tell
  });
}

/** Runs a command. What it cannot use is one line on standard error and exit code 2. */
export async function run(command: Command, argv: readonly string[], io: Io): Promise<number> {
  try {
    return await command(argv, io);
  } catch (error) {
    if (!(error instanceof Stage2Error)) throw error;
    io.err(`stage2: ${error.message}`);
    return EXIT.UNUSABLE;
  }
}
