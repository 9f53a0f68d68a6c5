/** What is expensive to make from files, kept beside the core under a name that says what it was made from. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The file `<build>-<fingerprint of the ingredients>.wasm` in `folder`: from the last time, or made now. */
export async function kept(
  build: string,
  folder: string,
  ingredients: readonly (Uint8Array | string)[],
  make: () => Promise<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const hash = createHash("sha256");
  for (const ingredient of ingredients) hash.update(ingredient);
  const file = `${build}-${hash.digest("hex").slice(0, 16)}.wasm`;
  if (existsSync(join(folder, file))) return new Uint8Array(readFileSync(join(folder, file)));
  const bytes = new Uint8Array(await make());
  const draft = join(folder, `${file}.${process.pid}`);
  writeFileSync(draft, bytes);
  renameSync(draft, join(folder, file)); // whoever looks meanwhile sees all of it or nothing
  const old = new RegExp(`^${build}-[0-9a-f]{16}\\.wasm$`);
  for (const name of readdirSync(folder))
    if (name !== file && old.test(name)) rmSync(join(folder, name), { force: true });
  return bytes;
}

/** The text of every source file in a folder. */
export function sourcesIn(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => name.endsWith(".ts"));
  return names.sort().map((name) => readFileSync(join(folder, name), "utf8"));
}
