/**
 * Serves what is made from the release core as base64 strings: `virtual:stage2-instrumented` (every access announced)
 * and `virtual:stage2-agents` (calls that can be left and taken up again). Each takes seconds to make, so it is kept.
 */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";
import { kept, sourcesIn } from "./kept.ts";

type Make = (binary: Uint8Array) => Uint8Array;

// Binaryen is loaded only if something has to be made.
export function instrumentedCore(release: string): Plugin {
  return serve("instrumented", release, async () => (await import("./instrument.ts")).instrument);
}

export function agentCore(release: string): Plugin {
  return serve("agents", release, async () => (await import("./agents.ts")).agentBuild);
}

function serve(build: string, release: string, maker: () => Promise<Make>): Plugin {
  const name = `virtual:stage2-${build}`;
  return {
    name: `stage2-${build}`,
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    async load(id) {
      if (id !== `\0${name}`) return undefined;
      this.addWatchFile(release);
      const binary = readFileSync(release);
      const sources = sourcesIn(fileURLToPath(new URL(".", import.meta.url)));
      const make = async (): Promise<Uint8Array> => (await maker())(binary);
      const bytes = await kept(build, dirname(release), [binary, ...sources], make);
      return `export const ${build} = "${Buffer.from(bytes).toString("base64")}";`;
    },
  };
}
