/** The README's example of pKVM, which must run as it stands, and print what it says. */
import { readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import * as stage2 from "../../../src/index.ts";

const README = new URL("../../../README.md", import.meta.url);

/** The first ```ts block of the section, and the ```text block after it. */
function example(): { code: string; output: string } {
  const section = readFileSync(README, "utf8").split("\n## pKVM\n")[1] ?? "";
  const found = /^```ts\n(?<code>.*?)^```$.*?^```text\n(?<output>.*?)^```$/ms.exec(section);
  const { code, output } = found?.groups ?? {};
  if (code === undefined || output === undefined)
    throw new Error("the README has no example of pKVM");
  return { code, output };
}

it("the README's example of pKVM prints what it says", async () => {
  const { code, output } = example();
  const body = code.replace(/^import \{ (.*) \} from "stage2";$/m, "const { $1 } = stage2;");
  expect(body).not.toBe(code);
  const lines: string[] = [];
  const log = vi.spyOn(console, "log").mockImplementation((...values: unknown[]) => {
    lines.push(values.map(String).join(" "));
  });
  try {
    const run = new Function("stage2", `return (async () => { ${body} })();`) as (
      library: typeof stage2,
    ) => Promise<void>;
    await run(stage2);
  } finally {
    log.mockRestore();
  }
  expect(`${lines.join("\n")}\n`).toBe(output);
});
