/** Workers of tests as one file that Node runs: the sources under test, with no core of their own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Plugin, build } from "vite";

const CORE = "virtual:stage2-core";

/** Workers get the compiled core with the engine's handle. */
const noCore: Plugin = {
  name: "no-core",
  resolveId: (id) => (id === CORE ? `\0${CORE}` : undefined),
  load: (id) => (id === `\0${CORE}` ? 'export const threads = "", single = "";' : undefined),
};

export interface Bundle {
  readonly file: string;
  remove(): void;
}

/** Bundles the worker at `entry`. */
export async function bundleWorker(entry: URL): Promise<Bundle> {
  const outDir = mkdtempSync(join(tmpdir(), "stage2-threads-"));
  await build({
    configFile: false,
    logLevel: "warn",
    plugins: [noCore],
    ssr: { noExternal: true },
    build: {
      target: "node20",
      minify: false,
      outDir,
      emptyOutDir: false,
      copyPublicDir: false,
      reportCompressedSize: false,
      ssr: fileURLToPath(entry),
      rolldownOptions: { output: { entryFileNames: "worker.mjs", codeSplitting: false } },
    },
  });
  return { file: join(outDir, "worker.mjs"), remove: () => rmSync(outDir, { recursive: true }) };
}
