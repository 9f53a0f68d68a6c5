/**
 * Two bundles from one source tree: the library (Node and browsers, readable) and the command line tool (Node, its
 * dependencies bundled). Tests read the same sources and the same inlined core.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Plugin, UserConfig } from "vite";
import { defineConfig } from "vitest/config";
import { agentCore, instrumentedCore } from "./src/instrument/plugin.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const CORE = { threads: path("build/release.wasm"), single: path("build/single.wasm") };

/** Serves the compiled core as base64 strings under the name `virtual:stage2-core`. */
export function inlineCore(): Plugin {
  const name = "virtual:stage2-core";
  return {
    name: "stage2-core",
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load(id) {
      if (id !== `\0${name}`) return undefined;
      return Object.entries(CORE)
        .map(([mode, file]) => {
          if (!existsSync(file)) this.error(`${file} is missing: run "npm run build:core" first`);
          this.addWatchFile(file);
          return `export const ${mode} = "${readFileSync(file, "base64")}";`;
        })
        .join("\n");
    },
  };
}

/** Puts the binaries beside the library, for those who compile once and post the module. */
function exportCore(): Plugin {
  return {
    name: "stage2-core-files",
    apply: "build",
    closeBundle() {
      mkdirSync(path("dist"), { recursive: true });
      copyFileSync(CORE.threads, path("dist/core.wasm"));
      copyFileSync(CORE.single, path("dist/core.single.wasm"));
    },
  };
}

/** The core, and what is made from it when something imports it. */
function cores(): Plugin[] {
  return [inlineCore(), instrumentedCore(CORE.threads), agentCore(CORE.threads)];
}

const library: UserConfig = {
  plugins: [...cores(), exportCore()],
  build: {
    target: "es2022",
    minify: false,
    emptyOutDir: false,
    copyPublicDir: false,
    lib: { entry: path("src/index.ts"), formats: ["es"], fileName: "index" },
  },
};

/** A Node program with everything but Node's own modules bundled. */
function program(entry: string, outDir: string, fileName: string): UserConfig {
  return {
    plugins: cores(),
    ssr: { noExternal: true, external: ["assemblyscript", "binaryen"] },
    build: {
      target: "node20",
      minify: false,
      emptyOutDir: false,
      copyPublicDir: false,
      outDir,
      ssr: path(entry),
      rolldownOptions: {
        output: { entryFileNames: fileName, banner: "#!/usr/bin/env node", codeSplitting: false },
      },
    },
  };
}

export default defineConfig(({ mode }) => {
  if (mode === "cli") return program("src/cli/main.ts", "dist", "cli.js");
  if (mode === "ghost") return program("test/ghost/main.ts", "build", "ghost.js");
  if (mode === "litmus") return program("test/litmus/main.ts", "build", "litmus.js");
  return {
    ...library,
    test: {
      include: ["test/**/*.test.ts"],
      exclude: ["test/browser/**"],
      testTimeout: 60_000,
    },
  };
});
