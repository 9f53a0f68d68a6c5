/** A progress bar on standard error, for long work on a terminal. */
import { Presets, SingleBar } from "cli-progress";
import type { Io } from "./shared.ts";

export interface Progress {
  /** One more is done. */
  advance(): void;
  stop(): void;
}

const SILENT: Progress = { advance: () => undefined, stop: () => undefined };

/** A bar up to `total` things of a kind; nothing where standard error is no terminal. */
export function progressBar(io: Io, total: number, what: string): Progress {
  if (!io.tty) return SILENT;
  const format = `{bar} {value}/{total} ${what}`;
  const bar = new SingleBar({ format, clearOnComplete: true }, Presets.shades_classic);
  bar.start(total, 0);
  return { advance: () => bar.increment(), stop: () => bar.stop() };
}
