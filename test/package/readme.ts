import { readFileSync } from "node:fs";

export interface Example {
  /** Valid as TypeScript and as JavaScript alike. */
  code: string;
  /** What it prints. */
  output: string;
}

/**
 * The README's example: its first ```ts block, and the ```text block after it, which shows what the
 * example prints.
 */
export function readExample(path: URL): Example {
  const text = readFileSync(path, "utf8");
  const found = /^```ts\n(?<code>.*?)^```$.*?^```text\n(?<output>.*?)^```$/ms.exec(text);
  const { code, output } = found?.groups ?? {};
  if (code === undefined || output === undefined) {
    throw new Error(`${path.pathname} has no ts block followed by a text block with its output`);
  }
  return { code, output };
}

export const README = new URL("../../README.md", import.meta.url);
