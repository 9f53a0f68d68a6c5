import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const EXAMPLE = fileURLToPath(new URL("../../examples/threads/main.mjs", import.meta.url));

it("the example of threads ends well, with one worker less", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [EXAMPLE], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^\|[#. ]{48}\|$/m);
  expect(stdout).toMatch(/^thread \d ended in \{/m);
  expect(stdout.match(/served \d+ faults/g)).toHaveLength(2);
  expect(stdout).toMatch(/did not finish$/m);
});
