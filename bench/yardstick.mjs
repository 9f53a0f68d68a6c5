// @ts-check
/** The native limit for the same workloads: builds and runs yardstick/yardstick.c. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("yardstick/yardstick.c", import.meta.url));

/** A built yardstick; `run` gives one sample of every row, ns by name. */
export class Yardstick {
  /** @param {string} directory */
  constructor(directory) {
    this.directory = directory;
  }

  get program() {
    return join(this.directory, "yardstick");
  }

  /**
   * Compiles it for this machine; undefined where there is no gcc.
   *
   * @returns {Yardstick | undefined}
   */
  static build() {
    if (spawnSync("gcc", ["--version"]).error) return undefined;

    const yardstick = new Yardstick(mkdtempSync(join(tmpdir(), "yardstick-")));
    execute("gcc", ["-O3", "-march=native", "-o", yardstick.program, SOURCE]);
    return yardstick;
  }

  /** @returns {Map<string, number>} */
  run() {
    /** @type {{ name: string, nsPerOp: number }[]} */
    const rows = JSON.parse(execute(this.program, ["--reps", "1"]));
    return new Map(rows.map((row) => [row.name, row.nsPerOp]));
  }

  dispose() {
    rmSync(this.directory, { recursive: true });
  }
}

/**
 * @param {string} command
 * @param {string[]} args
 */
function execute(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: exit ${status}\n${stderr}`);
  return stdout;
}
