// @ts-check
/** A thread in a browser. */
import { programOf } from "./program/parts.mjs";

addEventListener("message", async ({ data }) => {
  try {
    await programOf(data)((text) => postMessage({ text }));
    postMessage({});
  } catch (error) {
    postMessage({ error: error instanceof Error ? `${error.stack}` : String(error) });
  }
});
