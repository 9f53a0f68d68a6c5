import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** The package as its users get it: packed, and installed from the tarball into an empty folder. */
export interface Installed {
  /** The folder with `node_modules/stage2`. */
  folder: string;
  tarball: string;
  /** Paths of the packed files, relative to the package. */
  files: string[];
  remove(): void;
}

export function packAndInstall(): Installed {
  const root = mkdtempSync(join(tmpdir(), "stage2-package-"));
  const folder = join(root, "app");
  mkdirSync(folder);
  const [packed] = JSON.parse(
    npm(REPOSITORY, "pack", "--json", "--ignore-scripts", "--pack-destination", root),
  ) as [{ filename: string; files: { path: string }[] }];
  const tarball = join(root, packed.filename);
  // Offline: whatever the package needed beyond itself would fail the installation.
  npm(folder, "install", "--prefix", folder, "--offline", "--no-audit", "--no-fund", tarball);
  return {
    folder,
    tarball,
    files: packed.files.map((file) => file.path),
    remove: () => rmSync(root, { recursive: true }),
  };
}

function npm(cwd: string, ...args: string[]): string {
  return execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
