import { defineConfig } from "vitest/config";

/** The tests that need a browser: apart from the others, so that those run on machines without one. */
export default defineConfig({
  root: import.meta.dirname,
  test: { include: ["**/*.test.ts"], testTimeout: 120_000, hookTimeout: 120_000 },
});
