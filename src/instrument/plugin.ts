/** Serves the instrumented core as a base64 string under the name `virtual:stage2-instrumented`. */
import { readFileSync } from "node:fs";
import type { Plugin } from "vite";
import { instrument } from "./instrument.ts";

export function instrumentedCore(release: string): Plugin {
  const name = "virtual:stage2-instrumented";
  return {
    name: "stage2-instrumented",
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load(id) {
      if (id !== `\0${name}`) return undefined;
      this.addWatchFile(release);
      const bytes = Buffer.from(instrument(readFileSync(release)));
      return `export const instrumented = "${bytes.toString("base64")}";`;
    },
  };
}
