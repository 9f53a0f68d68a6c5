import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const EXAMPLE = fileURLToPath(new URL("../../../examples/vm/migrate.mjs", import.meta.url));

it("the example of a VM moves its guest, and loses nothing", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [EXAMPLE], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^0x0000000040000000-0x0000000040400000 +4M PMD R W NX AF BLK$/m);
  expect(stdout).toMatch(/^round 0 +1024 pages$/m);
  expect(stdout).toMatch(/^arrived +after 4776 steps, printed "stage", then " 2 a"$/m);
});
