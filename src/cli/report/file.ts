/** The file of a report: what is there stays until the new report is whole. */
import {
  type Stats,
  accessSync,
  constants,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { inputError } from "../../input.ts";
import { usageError } from "../shared.ts";

const RIGHTS = 0o777;

/**
 * Refuses, before the work, a place that a report cannot be written to, and one that is an input of the run by whatever name
 * (another path, a link). Changes nothing.
 *
 * @throws Stage2Error `BAD_INPUT`
 */
export function checkReportFile(path: string, inputs: readonly string[]): void {
  const there = written(path, () => {
    if (path === "" || path.endsWith("/")) throw new Error("names no file");
    return checkPlace(path);
  });
  if (there === undefined) return;
  const same = inputs.find((input) => isSame(there, statSync(input, { throwIfNoEntry: false })));
  if (same !== undefined) throw usageError(`the report would take the place of ${same}`);
}

/** What is at the path: undefined if nothing is. */
function checkPlace(path: string): Stats | undefined {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory()) throw new Error("is a directory");
  if (there !== undefined) accessSync(path, constants.W_OK);
  if (there?.isFile() !== false) accessSync(folderOf(path, there), constants.W_OK | constants.X_OK);
  return there;
}

/**
 * Writes a report that is there as a whole. A file is written beside its place and then put there, so that a full disk costs no
 * older report; a link stays a link.
 *
 * @throws Stage2Error `BAD_INPUT`
 */
export function writeReportFile(path: string, html: string): void {
  written(path, () => {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile()) return writeFileSync(path, html); // a terminal, a pipe
    const place = there === undefined ? path : realpathSync(path);
    const part = `${place}.${process.pid}.part`;
    try {
      writeFileSync(part, html, { flag: "wx", ...(there && { mode: there.mode & RIGHTS }) });
      renameSync(part, place);
    } catch (error) {
      rmSync(part, { force: true });
      throw error;
    }
  });
}

function folderOf(path: string, there: Stats | undefined): string {
  return dirname(there === undefined ? path : realpathSync(path));
}

function isSame(a: Stats, b: Stats | undefined): boolean {
  return b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

function written<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch {
    throw inputError(path, "cannot be written");
  }
}
